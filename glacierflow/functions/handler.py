"""The Lambda function: the same unit of work as a Batch child, with a deadline instead of a reclaim.

Three events are answered:

* ``{"manifest": "s3://bucket/runs/.../manifest.json", "slot": 3}``: one slot of a submitted run. A slot that
  went wrong raises, so that Lambda's metrics and its queue for failures tell; one that was stopped before
  the deadline returns, with ``outcome`` ``interrupted``. With ``"rounds": 2`` it first starts another
  invocation for what is left, whose event says ``"rounds": 1``; the last one says nothing and starts none.
* ``{"check": "BUCKET"}``: what the function finds around itself, without processing anything.
* the predecessor's ``satellite``, ``region`` or ``regions``, ``date1``, ``date2``, ``s3_bucket``,
  ``s3_base_path``, ``job_name``: answered as it did, with ``statusCode`` and a JSON ``body``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from glacierflow.cloud import Cloud, cloud_of_child
from glacierflow.errors import GlacierflowError, UsageError
from glacierflow.functions.event import answer_event, is_old_event
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.store import open_store
from glacierflow.sync.push import CONFIG, PREFIX
from glacierflow.task import process_slot, read_manifest
from glacierflow.version import __version__

log = logging.getLogger("glacierflow")

_RESERVE_S = 30.0
"""Seconds before the deadline at which work stops: the acquisition in hand may take 20 of them. A function
with little time keeps a third of it."""


class SlotFailed(GlacierflowError):  # noqa: N818 - the name is what Lambda reports
    """A slot ended wrong; its receipt says how."""


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one invocation.

    Raises:
        UsageError: the event is none of the three, or names what is not there.
        SlotFailed: the slot of a run ended wrong.
    """
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)
    if "check" in event:
        return answer_check(str(event["check"]), cloud_of_child(os.environ), context)
    with _stopped_before(context) as stop:
        if "manifest" in event:
            return _answer_slot(event, stop)
        if is_old_event(event):
            return answer_event(event, context.get_remaining_time_in_millis, stop)
    given = ", ".join(sorted(event)) or "nothing"
    raise UsageError(
        f"the event has {given}; expected manifest and slot, or satellite and region",
        next_step="see docs/how-to/lambda.md",
    )


@contextmanager
def _stopped_before(context: LambdaContext) -> Iterator[threading.Event]:
    """An event that is set in time for progress to be saved and a receipt to be written."""
    stop = threading.Event()
    left = context.get_remaining_time_in_millis() / 1000
    seconds = max(0.0, left - min(_RESERVE_S, left / 3))
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield stop
    finally:
        timer.cancel()


def _answer_slot(event: Mapping[str, Any], stop: threading.Event) -> dict[str, Any]:
    slot, rounds = _whole(event, "slot"), _whole(event, "rounds", 0)
    cloud = cloud_of_child(os.environ)
    manifest = read_manifest(str(event["manifest"]), cloud)
    store = open_store(manifest.store, cloud)
    if store.exists(RunLayout(manifest.run_id).cancelled):
        return {"run_id": manifest.run_id, "slot": slot, "outcome": "cancelled"}
    again = _sender(cloud, manifest, slot, rounds) if rounds else None
    receipt = process_slot(manifest, slot, store, cloud, stop=stop, send_on=again)
    if receipt.exit_code and receipt.outcome != "interrupted":
        ended = f"{receipt.outcome}, exit code {receipt.exit_code}"
        raise SlotFailed(f"slot {slot} of {receipt.run_id}: {ended}: {receipt.error}")
    if rounds and receipt.outcome == "interrupted" and not receipt.sent_on:
        raise SlotFailed(f"slot {slot} of {receipt.run_id}: what is left could not be sent on")
    return _summary(receipt)


def _sender(cloud: Cloud, manifest: Manifest, slot: int, rounds: int) -> Callable[[], bool]:
    """What starts another invocation of this very function, and tells whether that was possible."""
    # most events say nothing of rounds; those that do have no time for it at the deadline
    from glacierflow.launch.lambda_ import MOST_ROUNDS, send_on

    if not 0 < rounds <= MOST_ROUNDS:
        raise UsageError(f"rounds = {rounds} is not between 0 and {MOST_ROUNDS}")

    def send() -> bool:
        try:
            send_on(cloud, os.environ["AWS_LAMBDA_FUNCTION_NAME"], manifest, slot, rounds - 1)
        except GlacierflowError as error:
            log.error("%s; `glacierflow batch retry %s` goes on", error.message, manifest.run_id)
            return False
        return True

    return send


def _whole(event: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = event.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} = {value} is not a whole number", next_step="count from 0")
    return value


def _summary(receipt: Receipt) -> dict[str, Any]:
    return {
        "run_id": receipt.run_id,
        "slot": receipt.slot,
        "attempt": receipt.attempt,
        "outcome": receipt.outcome,
        "sent_on": receipt.sent_on,
        "exit_code": receipt.exit_code,
        "written": receipt.counts.written,
        "skipped": receipt.counts.skipped,
        "failed": receipt.counts.failed,
        "error": receipt.error,
    }


class LambdaContext(Protocol):
    """What Lambda tells of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


def answer_check(bucket: str, cloud: Cloud, context: LambdaContext) -> dict[str, Any]:
    """Answer in the predecessor's form: 200, or 500 where the bucket cannot be used.

    The body tells ``version``, ``regions`` (of the catalogue in the image), ``settings`` (where they
    are from), ``s3_bucket``, ``seconds``, ``memory_mb`` and ``tmp_mb`` (free), and ``error``.
    """
    from glacierflow.regions import load_catalogue

    body: dict[str, Any] = {
        "version": __version__,
        "regions": len(load_catalogue().regions),
        "s3_bucket": bucket,
        "seconds": round(context.get_remaining_time_in_millis() / 1000, 1),
        "memory_mb": int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")),
        "tmp_mb": shutil.disk_usage(tempfile.gettempdir()).free // 10**6,
    }
    try:
        store = open_store(f"s3://{bucket}", cloud)
        there = store.exists(f"{PREFIX}{CONFIG}")
        body["settings"] = (
            f"s3://{bucket}/{PREFIX}{CONFIG}" if there else "defaults: the bucket has no config.ini"
        )
        next(iter(store.list("runs/")), None)
    except GlacierflowError as error:
        body["error"] = error.message
    return {"statusCode": 500 if "error" in body else 200, "body": json.dumps(body)}
