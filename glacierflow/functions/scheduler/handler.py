"""The entry of the scheduler's zip function. It needs boto3 and pydantic, and no geospatial stack.

``{"do": "prepare" | "assess" | "verify", ...}`` come from the state machine (see ``rounds``);
``{"do": "schedule", ...}`` comes from a clock, and a message of a data provider's topic from SNS (see
``fresh``).

State passes through as one JSON object: ``run_id``, ``via`` (``batch`` or ``lambda``), ``round``, ``rounds``,
and what the machine is to start next: ``arrays`` (SubmitJob parameters in the spelling of Step Functions) or
``items`` (bucket and key of a list of slots for a Distributed Map over Lambda).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from glacierflow.aws.names import find_targets
from glacierflow.errors import UsageError
from glacierflow.functions.scheduler import new_scenes
from glacierflow.functions.scheduler.planning import Office, make_manifest, open_office
from glacierflow.launch import find_launcher
from glacierflow.launch.batch import write_manifest
from glacierflow.launch.lambda_ import find_function, function_name
from glacierflow.launch.launcher import manifest_uri
from glacierflow.launch.stepfunctions import read_unsent
from glacierflow.live.retry import find_retry, prepare_retry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.family import read_family
from glacierflow.runs.plan import submit_requests
from glacierflow.runs.records import read_run_manifest
from glacierflow.runs.retry import RETRIED_UNASKED
from glacierflow.runs.verify import VerifyReport, verify_run
from glacierflow.store import split_s3_uri

Json = dict[str, Any]


def assess(office: Office, event: Mapping[str, Any]) -> Json:
    """After a round: what is tried again, as a retry of its own; nothing where all is well or rounds are up.

    What Lambda did not manage goes to AWS Batch, which has no deadline of fifteen minutes. Jobs that Batch
    did not take were not submitted: nothing of them is waited for.
    """
    work: Json = dict(event["work"]) | {"arrays": [], "items": None}
    if work["via"] == "lambda":
        office.store.put(RunLayout(work["run_id"]).mapped, b"{}")
    _note_unsent(office, work)
    family = read_family(office.store, work["run_id"])
    plan = find_retry(family, office.store, office.cloud, office.places, RETRIED_UNASKED)
    work["live"] = plan.live
    if plan.live:
        # the machine lost sight of jobs that go on; it waits and asks again, but not until its events run out
        work["pauses"] = int(work.get("pauses", 0)) + 1
        return work if work["pauses"] <= MOST_PAUSES else work | {"live": 0}
    work["round"] = int(work["round"]) + 1
    if not plan.units or work["round"] > int(work["rounds"]):
        return work
    find = partial(find_launcher, "batch", office.cloud, office.loaded, office.places, tags={})
    manifest, _ = prepare_retry(family, plan, office.store, find)
    return work | {"via": "batch"} | _start(office, manifest, "batch")


def _note_unsent(office: Office, work: Json) -> None:
    """Write down which jobs of the last round Batch did not take, for everybody who looks at the run."""
    unsent = {
        str(one["JobName"]): f"{one['Error']}: {one['Cause']}"
        for one in work.pop("ended", None) or []
        if "Error" in one
    }
    if unsent:
        known = read_unsent(office.store, work["run_id"])
        office.store.put(RunLayout(work["run_id"]).unsent, json.dumps(known | unsent).encode())


def prepare(office: Office, event: Mapping[str, Any]) -> Json:
    """The first round: of a manifest that lies in the bucket, or of a selection, which is planned here.

    Raises:
        UsageError: the input names neither, or a queue or definition is missing.
    """
    given: Mapping[str, Any] = event.get("input") or {}
    via, rounds = str(given.get("via", "batch")), int(given.get("rounds", _ROUNDS))
    if via not in {"batch", "lambda"}:
        raise UsageError(f"via = {via} is not known", next_step="accepted: batch, lambda")
    if "manifest" in given:
        run_id = RunLayout.parse_run_id(split_s3_uri(str(given["manifest"]))[1])
        if run_id is None:
            raise UsageError(f"manifest = {given['manifest']} is none of a run")
        manifest = read_run_manifest(office.store, run_id)
    else:
        office, manifest = make_manifest(given.get("selection") or {}, "stepfunctions")
    start = _start(office, manifest, via)
    if "manifest" not in given:
        # what does not fit the service leaves no run
        write_manifest(manifest, office.store)
    return {"run_id": manifest.run_id, "via": via, "round": 0, "rounds": rounds} | start


def verify(office: Office, event: Mapping[str, Any]) -> Json:
    """The end: products against receipts, and the sentences for whoever is told."""
    run_id = str(event["work"]["run_id"])
    report = verify_run(read_family(office.store, run_id), office.store)
    complete = report.exit_code == 0
    return {
        "run_id": run_id,
        "complete": complete,
        "states": report.states,
        "subject": f"glacierflow: {'complete' if complete else 'not complete'}: {run_id}"[:100],
        "message": _sentences(report, complete=complete),
    }


_TASKS: dict[str, Callable[[Office, Mapping[str, Any]], Json]] = {
    "prepare": prepare,
    "assess": assess,
    "verify": verify,
    "schedule": new_scenes.submit_fresh,
}

MOST_PAUSES = 1440
"""Minutes for which it waits for jobs it lost sight of: a day. An execution has 25,000 events, a pause ten
of them (Step Functions' quotas)."""
_ROUNDS = 2
"""How often failures are tried again where the input does not say."""
_PLAIN = {"Tags", "Parameters"}
"""Maps whose keys are the user's own words."""


def handler(event: Mapping[str, Any], _: object) -> Json:
    """Answer one invocation.

    Raises:
        UsageError: the event asks for nothing that is known here.
    """
    logging.getLogger().setLevel(logging.INFO)
    if "Records" in event:
        return new_scenes.submit_announced(open_office(), event)
    task = _TASKS.get(str(event.get("do")))
    if task is None:
        raise UsageError(f"do = {event.get('do')} is not known", next_step=f"accepted: {', '.join(_TASKS)}")
    return task(open_office(), event)


def _sentences(report: VerifyReport, *, complete: bool) -> str:
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in report.states.items())
    lines = [
        f"Run {report.run_id} with {len(report.retries)} retries: {len(report.units)} units, {counts}.",
        f"{report.products} products.",
    ]
    if not complete:
        wrong = [unit for unit in report.units if unit.state not in {"complete", "no_data"}]
        lines += [
            f"{unit.unit.region} {unit.unit.date1} to {unit.unit.date2}: {unit.reason}" for unit in wrong[:20]
        ]
        lines.append(f"Look: glacierflow batch why {report.run_id} REGION")
    return "\n".join(lines)


def _start(office: Office, manifest: Manifest, via: str) -> Json:
    """What the machine starts next, for all slots of a manifest."""
    if via == "lambda":
        key = f"{RunLayout(manifest.run_id).prefix}items.json"
        slots: list[Json] = [
            {"manifest": manifest_uri(manifest), "slot": slot} for slot in range(len(manifest.slots))
        ]
        function = find_function(office.cloud, function_name(office.cloud, office.loaded))
        function.check(manifest)
        office.store.put(key, json.dumps(slots).encode())
        where = {"bucket": office.places.bucket, "key": key, "function": function.name}
        return {"arrays": [], "items": where}
    targets = find_targets(office.cloud, office.places, manifest.arrays)
    tags = {"owner": manifest.owner} if manifest.owner else {}
    requests = submit_requests(manifest, targets.destination, tags=tags)
    # Step Functions' own SubmitJob knows no propagateTags; the job definitions say it
    said = [{key: one for key, one in request.items() if key != "propagateTags"} for request in requests]
    return {"arrays": [pascal_case(request) for request in said], "items": None}


def pascal_case(value: Any) -> Any:  # noqa: ANN401 - whatever a request holds
    """A boto3 request in the spelling of Step Functions: ``jobName`` becomes ``JobName``, at every depth."""
    if isinstance(value, Mapping):
        return {
            (name := key[:1].upper() + key[1:]): one if name in _PLAIN else pascal_case(one)
            for key, one in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [pascal_case(one) for one in value]
    return value
