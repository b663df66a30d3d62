"""Which units of a run to try again, where, and with what; pure.

A unit is judged by its latest try, in the run or in one of its retries. What it is given for the next one
depends on why that one failed: out of memory goes up a class, what lost its machine or never got one goes to
the on-demand queue, what ran out of time gets twice the time. All of it is kept in later retries. A function
has the memory and time it has: on Lambda a unit goes on as before, and what lacked memory is left for Batch.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from glacierflow.errors import UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.manifest import ArrayRange, Manifest, Service, fingerprint, make_run_id
from glacierflow.model.records import Unit
from glacierflow.runs.states import FAILURE_CLASSES, FailureClass
from glacierflow.runs.units import MAX_ARRAY_SIZE
from glacierflow.runs.workload import next_class
from glacierflow.version import __version__

_ONLY_ASKED: dict[FailureClass, str] = {
    "config": "it would end the same way; put the cause right, then retry with --only config",
    "cancelled": "somebody ended it; retry with --only cancelled if it is still wanted",
}
_NO_LARGER_FUNCTION = "a function has no larger memory class; retry with --service batch"
RETRIED_UNASKED: tuple[FailureClass, ...] = tuple(one for one in FAILURE_CLASSES if one not in _ONLY_ASKED)
"""Classes that ``retry`` takes without ``--only``: what may end otherwise and is wanted."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a unit is given to run with."""

    memory_mib: int
    on_demand: bool
    timeout_s: int | None
    """None: as the job definition says."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a slot of the first run stands after its latest try."""

    slot: int
    failure: FailureClass | None
    """None where nothing is wrong."""
    live: bool
    """Whether its latest try has not ended."""
    had: Conditions
    ran_with_timeout_s: int
    """Seconds its latest try was allowed."""
    remake: tuple[str, ...] = ()
    """Damaged products, to be made again."""
    lacking: tuple[Unit, ...] | None = None
    """Its units that are not done, as far as their products were looked at."""


@dataclass(frozen=True, slots=True)
class RetryUnit:
    """A slot of the first run that is tried again."""

    slot: int
    failure: FailureClass
    had: Conditions
    gets: Conditions
    remake: tuple[str, ...] = ()
    lacking: tuple[Unit, ...] | None = None
    """Its units that are not done; the others are found done. None: nobody looked."""


@dataclass(frozen=True, slots=True)
class NotRetried:
    """A slot that something is wrong with and that is left alone."""

    slot: int
    failure: FailureClass
    reason: str


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What is tried again, in the order of the new slots, and what is not."""

    units: tuple[RetryUnit, ...]
    left: tuple[NotRetried, ...]
    live: int
    """Slots whose latest try is still on its way."""

    @property
    def classes(self) -> dict[str, int]:
        """Units tried again, by class."""
        counts = Counter(unit.failure for unit in self.units)
        return {one: counts[one] for one in FAILURE_CLASSES if counts[one]}


def parse_only(text: str | None) -> tuple[FailureClass, ...]:
    """The classes that ``--only oom,spot`` names; without it those that are retried unasked.

    Raises:
        UsageError: there is no such class.
    """
    if text is None:
        return RETRIED_UNASKED
    named = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in named if word not in FAILURE_CLASSES]
    if unknown or not named:
        raise UsageError(
            f"--only = {text} is not accepted: there is no failure class {', '.join(unknown) or 'named'}",
            next_step=f"write one or more of {','.join(FAILURE_CLASSES)}",
        )
    return tuple(one for one in FAILURE_CLASSES if one in named)


def plan_retry(
    standings: Sequence[Standing],
    only: Collection[FailureClass],
    service: Service = "batch",
    *,
    classes: Sequence[int] = MEMORY_CLASSES_MIB,
) -> RetryPlan:
    """Choose the units and what they get, of these memory classes; each group becomes one array."""
    units, left = [], []
    for standing in standings:
        failure = standing.failure
        if failure is None or standing.live:
            continue
        gets = _promoted(standing, failure, classes) if service == "batch" else standing.had
        if failure not in only:
            left.append(NotRetried(standing.slot, failure, _why_left(failure, only)))
        elif failure == "oom" and service == "lambda":
            left.append(NotRetried(standing.slot, failure, _NO_LARGER_FUNCTION))
        elif gets is None:
            reason = f"there is no memory class above {standing.had.memory_mib} MiB"
            left.append(NotRetried(standing.slot, failure, reason))
        else:
            again = standing.remake, standing.lacking
            units.append(RetryUnit(standing.slot, failure, standing.had, gets, *again))
    units.sort(key=lambda unit: (*_group(unit.gets), unit.slot))
    return RetryPlan(tuple(units), tuple(left), sum(standing.live for standing in standings))


def _why_left(failure: FailureClass, only: Collection[FailureClass]) -> str:
    unasked = set(only) == set(RETRIED_UNASKED)
    return _ONLY_ASKED.get(failure, "not named by --only") if unasked else "not named by --only"


def _promoted(standing: Standing, failure: FailureClass, classes: Sequence[int]) -> Conditions | None:
    """What the next try gets; None where there is nothing larger."""
    had = standing.had
    if failure == "oom":
        larger = next_class(had.memory_mib, classes)
        return Conditions(larger, had.on_demand, had.timeout_s) if larger else None
    if failure in {"spot", "capacity"}:
        return Conditions(had.memory_mib, on_demand=True, timeout_s=had.timeout_s)
    if failure == "timeout":
        return Conditions(had.memory_mib, had.on_demand, 2 * standing.ran_with_timeout_s)
    return had


def _group(conditions: Conditions) -> tuple[int, bool, int]:
    """Largest memory first, as those take longest."""
    return -conditions.memory_mib, conditions.on_demand, conditions.timeout_s or 0


def build_retry(
    root: Manifest,
    plan: RetryPlan,
    *,
    image: str | None = None,
    service: Service = "batch",
    now: dt.datetime | None = None,
) -> Manifest:
    """The manifest of a run over a dense remap of the plan's units, with the first run's settings.

    Whatever ran them first, AWS Batch takes them all unless told otherwise: it has no deadline of its own.

    Raises:
        UsageError: the plan has no units.
    """
    if not plan.units:
        raise UsageError("there is nothing to try again", next_step="see `glacierflow batch verify`")
    slots = tuple(root.slots[unit.slot] for unit in plan.units)
    named = {unit.region for slot in slots for unit in slot}
    regions = {name: region for name, region in root.regions.items() if name in named}
    created_at = now or dt.datetime.now(dt.UTC)
    print_of_run = fingerprint(slots, root.settings, image)
    return root.model_copy(
        update={
            "run_id": make_run_id(slots, regions, print_of_run, created_at),
            "created_at": created_at,
            "fingerprint": print_of_run,
            "code_version": __version__,
            "image": image,
            "image_digest": (image.partition("@")[2] or None) if image else root.image_digest,
            "regions": regions,
            "slots": slots,
            "service": service,
            "arrays": _arrays(plan.units),
            "root_run_id": root.run_id,
            "origin_slots": tuple(unit.slot for unit in plan.units),
            "remake": tuple(key for unit in plan.units for key in unit.remake),
        }
    )


def _arrays(units: Sequence[RetryUnit]) -> tuple[ArrayRange, ...]:
    arrays: list[ArrayRange] = []
    for number, unit in enumerate(units):
        last = arrays[-1] if arrays else None
        if last is not None and last.size < MAX_ARRAY_SIZE and units[number - 1].gets == unit.gets:
            arrays[-1] = last.model_copy(update={"size": last.size + 1})
        else:
            gets = unit.gets
            arrays.append(
                ArrayRange(
                    first_slot=number,
                    size=1,
                    memory_mib=gets.memory_mib,
                    on_demand=gets.on_demand,
                    timeout_s=gets.timeout_s,
                )
            )
    return tuple(arrays)
