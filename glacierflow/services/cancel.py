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
        UsageError: the run has no such region, or AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    unknown = sorted(set(regions) - family.root.regions.keys())
    if unknown:
        raise UsageError(
            f"the run {family.root.run_id} has no region {', '.join(unknown)}",
            next_step="see `glacierflow batch status` for its regions",
        )
    # the newest first: what it repeats has ended
    return [_cancel(member, store, cloud, places, regions) for member in reversed(family.members)]


def _cancel(
    member: Member, store: Store, cloud: Cloud, places: Places, regions: Collection[str]
) -> Cancelled:
    manifest = member.manifest
    jobs = find_jobs(manifest, store, cloud, **places.queues)
    view = ask_and_keep(manifest, jobs, store, cloud)
    chosen = [slot for slot in range(len(manifest.slots)) if _is_chosen(manifest, slot, regions)]
    live = {slot for slot in chosen if slot in view.slots and view.slots[slot].state in LIVE_STATES}
    stop_slots(manifest, jobs, live, store, cloud, whole=not regions, reason=CANCEL_REASON)
    submitted = {slot for job in jobs for slot in range(job.first_slot, job.first_slot + job.size)}
    ended = [slot for slot in chosen if slot in submitted and slot not in live]
    return Cancelled(
        run_id=manifest.run_id,
        ended=tuple(sorted(live)),
        before=dict(sorted(Counter(_outcome(member, view, slot) for slot in ended).items())),
        never_submitted=len(set(chosen) - submitted),
    )


def _is_chosen(manifest: Manifest, slot: int, regions: Collection[str]) -> bool:
    return not regions or any(unit.region in regions for unit in manifest.slots[slot])


def _outcome(member: Member, view: BatchView, slot: int) -> str:
    attempts, state = member.attempts.get(slot), view.slots.get(slot)
    if attempts is None or (state is not None and state.state == "FAILED"):
        return "failed"
    return attempts.outcomes[attempts.latest] or "failed"
