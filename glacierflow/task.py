"""A child: environment in, one slot processed, receipt written, exit code out.

``python -m glacierflow.task`` reads ``GLACIERFLOW_MANIFEST`` (an s3:// URI or a path) and
``AWS_BATCH_JOB_ARRAY_INDEX``, or ``GLACIERFLOW_INDEX`` for a plain job; ``GLACIERFLOW_SLOT_OFFSET`` is added.
Without a manifest it makes its own from settings, and the index is the region's in the catalogue.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import os
import platform
import resource
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError

from glacierflow.cloud import Cloud, cloud_of_child
from glacierflow.errors import GlacierflowError, InterruptedAttempt, StoreError, UnavailableError, UsageError
from glacierflow.host import find_machine, give_memory_back, memory_budget_mb, stop_when_told
from glacierflow.imagery.budget import shared_room_mb
from glacierflow.imagery.cache import Shared
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.mosaic import require_paid_access
from glacierflow.model.attempts import AttemptEntry, name_of_entry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import BatchPlace, Counts, Outcome, Receipt, Started, UnitEnd
from glacierflow.step.context import Progress, StepContext, UnitResult
from glacierflow.step.threads import unless_stopped
from glacierflow.step.unit import process_unit
from glacierflow.store import Store, open_store, split_s3_uri
from glacierflow.version import __version__

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger("glacierflow")

EXIT_DONE, EXIT_USAGE, EXIT_DATA, EXIT_BUG, EXIT_AGAIN = 0, 64, 65, 70, 75


def main() -> int:
    """Process the slot that the environment names; returns the exit code of the child."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # else a line for each client
    stop = threading.Event()
    stop_when_told(stop)
    try:
        cloud = cloud_of_child(os.environ)
        where = os.environ.get("GLACIERFLOW_MANIFEST", "")
        manifest = read_manifest(where, cloud) if where else None
        slot = slot_of_child(os.environ)
        if manifest is None:
            from glacierflow.step.single import begin_single  # children of a run need none of it

            begun = begin_single(slot, os.environ, cloud)
            if begun is None:
                return EXIT_DONE
            (manifest, cloud), slot = begun, 0
        receipt = process_slot(manifest, slot, open_store(manifest.store, cloud), cloud, stop=stop)
    except GlacierflowError as error:
        log.error("%s", error.message)
        if error.next_step:
            log.error("next: %s", error.next_step)
        return error.exit_code
    except Exception:
        log.exception("this is a bug in glacierflow")
        return EXIT_BUG
    return receipt.exit_code


def read_manifest(where: str, cloud: Cloud) -> Manifest:
    """The manifest at an s3:// URI or a path.

    Raises:
        UsageError: it is not named, not there, or not a manifest.
    """
    if not where:
        raise UsageError(
            "GLACIERFLOW_MANIFEST is not set", next_step="set it to the s3:// URI or path of a manifest.json"
        )
    if where.startswith("s3://"):
        bucket, key = split_s3_uri(where)
        content = open_store(f"s3://{bucket}", cloud).get(key)
    else:
        path = Path(where)
        content = path.read_bytes() if path.is_file() else None
    if content is None:
        raise UsageError(f"GLACIERFLOW_MANIFEST = {where}: there is no such object")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where} is not a manifest: {place}: {first['msg']}") from error


def slot_of_child(environ: Mapping[str, str]) -> int:
    """Offset plus array index; an array child has Batch's own variable, everything else ours.

    Raises:
        UsageError: neither variable is set, or one is not a number.
    """
    index = environ.get("AWS_BATCH_JOB_ARRAY_INDEX", environ.get("GLACIERFLOW_INDEX"))
    if index is None:
        raise UsageError(
            "neither AWS_BATCH_JOB_ARRAY_INDEX nor GLACIERFLOW_INDEX is set",
            next_step="set GLACIERFLOW_INDEX to the slot to process, counted from 0; without"
            " GLACIERFLOW_MANIFEST it is the region's index in the catalogue",
        )
    offset = environ.get("GLACIERFLOW_SLOT_OFFSET", "0")
    for name, value in (("array index", index), ("GLACIERFLOW_SLOT_OFFSET", offset)):
        if not value.isdecimal():
            raise UsageError(f"{name} = {value} is not a whole number from 0")
    return int(offset) + int(index)


def process_slot(
    manifest: Manifest,
    slot: int,
    store: Store,
    cloud: Cloud,
    *,
    stop: threading.Event,
    tell: Callable[[Progress], None] | None = None,
    cluster: Client | None = None,
    send_on: Callable[[], bool] | None = None,
) -> Receipt:
    """Process all units of a slot and leave two objects: one when it starts, one when it ends.

    With a ``distributed.Client`` its workers make the mosaics, and this process writes them. ``send_on`` is
    called where something is left because ``stop`` was set, before the receipt is written: it starts another
    attempt, and returns whether it could, which the receipt tells.

    Raises:
        UsageError: the run has no such slot, or the store refuses to be written.
        StoreError: the receipt itself could not be written.
    """
    give_memory_back()
    units = manifest.units_of(slot)
    run = RunLayout(manifest.run_id)
    started = _start(manifest, slot, store, run)
    log.info("run %s slot %d attempt %d", manifest.run_id, slot, started.attempt)
    context = StepContext(
        manifest.settings,
        store,
        cloud,
        run,
        stop,
        tell or _log_progress,
        frozenset(manifest.remake),
        cluster,
        _shared(manifest, slot),
    )
    results = [UnitResult(number) for number in range(len(units))]
    error: Exception | None = None
    begun = 0
    try:
        if any(unit.satellite == "landsat" for unit in units):
            work = functools.partial(require_paid_access, cloud, manifest.settings)
            unless_stopped(work, stop, "nothing was searched")
        for unit, result in zip(units, results, strict=True):
            begun += 1
            region = manifest.regions[unit.region]
            log.info(
                "%s region %d %s %s to %s", unit.satellite, region.index, region.name, unit.date1, unit.date2
            )
            process_unit(unit, region, context, result)
    except GlacierflowError as expected:
        error = expected
    except Exception as bug:
        log.exception("this is a bug in glacierflow")
        error = bug
    receipt = _receipt(started, results, error, begun)
    if receipt.outcome == "interrupted" and send_on is not None:
        # first: a receipt never changes, and one that says so is believed
        receipt = receipt.model_copy(update={"sent_on": send_on()})
    store.put(run.receipt(slot, started.attempt, receipt.outcome), _json(receipt))
    _tell(receipt, store, run)
    (log.error if receipt.exit_code else log.info)("%s: %s", receipt.outcome, receipt.error or receipt.counts)
    return receipt


def _shared(manifest: Manifest, slot: int) -> Shared:
    """Room for what the slot's units have in common, within the memory there is."""
    units = [(unit, manifest.regions[unit.region]) for unit in manifest.units_of(slot)]
    shapes = [geobox_of(region, unit.satellite).shape for unit, region in units]
    largest = max(rows * cols for rows, cols in shapes)
    budget_mb = memory_budget_mb(manifest.settings.memory_mb)
    return Shared(units, room=shared_room_mb(largest, budget_mb) * 1e6)


def _start(manifest: Manifest, slot: int, store: Store, run: RunLayout) -> Started:
    """Claim an attempt number: Batch's own where it is free, else the next free one."""
    attempt = int(os.environ.get("AWS_BATCH_JOB_ATTEMPT", "1"))
    machine = find_machine(os.environ)
    while True:
        started = Started(
            run_id=manifest.run_id,
            slot=slot,
            attempt=attempt,
            units=manifest.units_of(slot),
            started_at=dt.datetime.now(dt.UTC),
            host=platform.node(),
            code_version=__version__,
            image_digest=(machine.image_digest if machine else None) or manifest.image_digest,
            batch=_place(os.environ),
            machine=machine,
        )
        if store.put(run.started(slot, attempt), _json(started), if_absent=True):
            _tell(started, store, run)
            return started
        attempt += 1


def _tell(record: Started, store: Store, run: RunLayout) -> None:
    """Repeat a record in the name of an empty object; where that cannot be done, looks read the record."""
    name = name_of_entry(run, AttemptEntry.of(record)) if store.remote else None
    try:
        if name is not None:
            store.put(name, b"")
    except GlacierflowError as error:
        log.warning("%s; a look at the run reads the record itself", error.message)


def _place(environ: Mapping[str, str]) -> BatchPlace:
    attempt = environ.get("AWS_BATCH_JOB_ATTEMPT")
    return BatchPlace(
        job_id=environ.get("AWS_BATCH_JOB_ID"),
        job_queue=environ.get("AWS_BATCH_JQ_NAME"),
        compute_environment=environ.get("AWS_BATCH_CE_NAME"),
        attempt=int(attempt) if attempt else None,
    )


def _receipt(started: Started, results: Sequence[UnitResult], error: Exception | None, begun: int) -> Receipt:
    counts = _sum_counts(results)
    outcome, exit_code, sentence = _outcome(results, counts, error)
    seconds: dict[str, float] = {}
    for result in results:
        for phase, value in result.seconds.items():
            seconds[phase] = round(seconds.get(phase, 0.0) + value, 3)
    return Receipt(
        **started.model_dump(),
        ended_at=dt.datetime.now(dt.UTC),
        outcome=outcome,
        exit_code=exit_code,
        counts=counts,
        unit_ends=_unit_ends(results, error, begun) if len(results) > 1 else (),
        left_out=tuple(entry for result in results for entry in result.left_out),
        notes=tuple(note for result in results for note in result.notes),
        products=tuple(product for result in results for product in result.products),
        already_there=tuple(product for result in results for product in result.already_there),
        error=sentence,
        seconds=seconds,
        bytes_read=sum(result.bytes_read for result in results),
        requests=sum(result.requests for result in results),
        # Linux counts kilobytes
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    )


def _unit_ends(results: Sequence[UnitResult], error: Exception | None, begun: int) -> tuple[UnitEnd, ...]:
    """Of several units each by itself: what stopped the attempt concerns the one in hand and all after it."""
    ends = []
    for place, result in enumerate(results, 1):
        outcome, _, sentence = _outcome([result], result.counts, error if place >= begun else None)
        ends.append(
            UnitEnd(
                outcome=outcome,
                counts=result.counts,
                left_out=len(result.left_out),
                notes=len(result.notes),
                error=sentence if place <= begun else f"not begun: {sentence}",
            )
        )
    return tuple(ends)


def _outcome(
    results: Sequence[UnitResult], counts: Counts, error: Exception | None
) -> tuple[Outcome, int, str | None]:
    """Outcome, exit code and sentence of an attempt.

    What time may heal is another attempt's, which makes only what is missing. A scene that will never be
    readable is that scene's failure (``partial``, exit 0); only where nothing at all came out of a slot does
    the worst of its failures decide.
    """
    if isinstance(error, InterruptedAttempt):
        return "interrupted", EXIT_AGAIN, error.message
    if _passes(error):
        return "unavailable", EXIT_AGAIN, str(error)
    if isinstance(error, GlacierflowError):
        return "failed", error.exit_code, error.message
    if error is not None:
        return "failed", EXIT_BUG, f"a bug in glacierflow: {type(error).__name__}: {error}"
    failures = [failure for result in results for failure in result.failures]
    if not failures:
        return ("done" if counts.kept else "no_data"), EXIT_DONE, None
    passing = [failure for failure in failures if _passes(failure)]
    example = (passing or failures)[0].message
    sentence = f"{len(failures)} of {counts.kept} acquisitions could not be read: {example}"
    if passing:
        return "unavailable", EXIT_AGAIN, sentence
    if counts.written or counts.skipped:
        return "partial", EXIT_DONE, sentence
    code = EXIT_USAGE if any(isinstance(failure, UsageError) for failure in failures) else EXIT_DATA
    return "failed", code, sentence


def _passes(error: Exception | None) -> bool:
    """Whether time may heal what stopped an attempt or cost a scene."""
    return isinstance(error, UnavailableError | StoreError)


def _sum_counts(results: Sequence[UnitResult]) -> Counts:
    fields = ("found", "kept", "written", "skipped", "failed")
    return Counts(**{name: sum(getattr(result.counts, name) for result in results) for name in fields})


def _log_progress(progress: Progress) -> None:
    log.info("%s %d/%d %s", progress.unit.region, progress.done, progress.total, progress.text)


def _json(record: Started) -> bytes:
    return record.model_dump_json(indent=1).encode()


def leave(code: int) -> NoReturn:
    """End the process now: an acquisition dropped after SIGTERM may still hold a thread."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
