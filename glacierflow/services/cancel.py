"""End what is still on its way of a run and its retries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.manifest import Manifest
from glacierflow.runs.evidence import LIVE_STATES
from glacierflow.runs.family import Family, Member
from glacierflow.runs.records import JobRecord
from glacierflow.runs.states import BatchView
from glacierflow.services.jobs import find_jobs
from glacierflow.services.places import Places
from glacierflow.services.remember import ask_and_keep
from glacierflow.services.stopping import stop_slots
from glacierflow.store import Store

__all__ = ["CANCEL_REASON", "Cancelled", "cancel_family"]

CANCEL_REASON = "Cancelled with glacierflow batch cancel"
"""What Batch is told, and says of the job from then on."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What was ended of one run of the family, and what had ended before."""

    run_id: str
    ended: tuple[int, ...]
    """Its slots that were on their way."""
    before: dict[str, int]
    """Slots that had ended already, by outcome; ``failed`` also where there was none."""
    never_submitted: int
    goes_on: tuple[int, ...] = ()
    """Its slots whose invocation of Lambda runs, which nobody can end."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run of the family, and which of its chosen slots are on their way."""

    member: Member
    jobs: list[JobRecord]
    view: BatchView
    chosen: list[int]
    live: set[int]

    @property
    def on_lambda(self) -> set[int]:
        """Live slots that run there, or wait to."""
        there = [job for job in self.jobs if job.service == "lambda" or job.over_lambda]
        places = [(job.first_slot, job.first_slot + job.size) for job in there]
        return {slot for slot in self.live if any(first <= slot < end for first, end in places)}


def cancel_family(
    family: Family, store: Store, cloud: Cloud, places: Places, *, regions: Collection[str] = ()
) -> list[Cancelled]:
    """Terminate the jobs of a run and of its retries; terminating is right in every state, cancelling is not.

    Jobs that were sent without being recorded are found by name.

    Args:
        family: the run and its retries.
        store: where their job records lie.
        cloud: whose AWS Batch.
        places: the queues jobs may be in.
        regions: only the slots of these regions; none means all.

    Raises:
        UsageError: the run has no such region, Lambda has it, or AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    unknown = sorted(set(regions) - family.root.regions.keys())
    if unknown:
        raise UsageError(
            f"the run {family.root.run_id} has no region {', '.join(unknown)}",
            next_step="see `glacierflow batch status` for its regions",
        )
    # the newest first: what it repeats has ended
    seen = [_look(member, store, cloud, places, regions) for member in reversed(family.members)]
    if regions and any(one.on_lambda for one in seen):
        raise UsageError(
            f"--region {', '.join(sorted(regions))}: an invocation of Lambda cannot be ended by itself",
            next_step="wait, or cancel the whole run: those of it that have not begun will then do nothing",
        )
    return [_cancel(one, store, cloud, whole=not regions) for one in seen]


def _look(member: Member, store: Store, cloud: Cloud, places: Places, regions: Collection[str]) -> _Seen:
    manifest = member.manifest
    jobs = find_jobs(manifest, store, cloud, **places.queues)
    view = ask_and_keep(manifest, jobs, store, cloud)
    chosen = [slot for slot in range(len(manifest.slots)) if _is_chosen(manifest, slot, regions)]
    live = {slot for slot in chosen if slot in view.slots and view.slots[slot].state in LIVE_STATES}
    return _Seen(member, jobs, view, chosen, live)


def _cancel(seen: _Seen, store: Store, cloud: Cloud, *, whole: bool) -> Cancelled:
    manifest, live = seen.member.manifest, seen.live
    stop_slots(manifest, seen.jobs, live, store, cloud, whole=whole, reason=CANCEL_REASON)
    submitted = {slot for job in seen.jobs for slot in range(job.first_slot, job.first_slot + job.size)}
    before = [slot for slot in seen.chosen if slot in submitted and slot not in live]
    goes_on = {slot for slot in seen.on_lambda if seen.view.slots[slot].state == "RUNNING"}
    return Cancelled(
        run_id=manifest.run_id,
        ended=tuple(sorted(live - goes_on)),
        before=dict(sorted(Counter(_outcome(seen.member, seen.view, slot) for slot in before).items())),
        never_submitted=len(set(seen.chosen) - submitted),
        goes_on=tuple(sorted(goes_on)),
    )


def _is_chosen(manifest: Manifest, slot: int, regions: Collection[str]) -> bool:
    return not regions or any(unit.region in regions for unit in manifest.slots[slot])


def _outcome(member: Member, view: BatchView, slot: int) -> str:
    attempts, state = member.attempts.get(slot), view.slots.get(slot)
    if attempts is None or (state is not None and state.state == "FAILED"):
        return "failed"
    return attempts.outcomes[attempts.latest] or "failed"
