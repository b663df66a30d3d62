"""All there is to know of one slot of a run: where it stands, its attempts, and where each one's log is."""

from __future__ import annotations

from dataclasses import dataclass

from glacierflow.attempts import AttemptEntry
from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.runs.evidence import LIVE_STATES
from glacierflow.runs.records import JobRecord
from glacierflow.runs.states import AttemptState, SlotState
from glacierflow.runs.status import RunStatus, SlotRow
from glacierflow.services.family_look import FamilyLook
from glacierflow.services.jobs import describe_slots
from glacierflow.services.look import RunLook
from glacierflow.services.views import batch_jobs, view_of

__all__ = ["AttemptFacts", "SlotFacts", "find_slot", "gather_slot", "other_slots", "recall_slot"]

_TASK_STREAM = "glacierflow/child"
"""Prefix and container of the task definitions in ``batch/ecs.yaml``."""


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt, by Batch and by what it left."""

    number: int
    state: AttemptState | None
    """What Batch says; None where it has forgotten, or runs it now."""
    entry: AttemptEntry | None
    """What it left in the store; None where it never started."""
    log_group: str | None
    log_stream: str | None

    @property
    def reason(self) -> str:
        """Why there is no log, in Batch's words."""
        texts = [self.state.status_reason, self.state.reason] if self.state else []
        return "; ".join(text.rstrip(".") for text in texts if text) or "Batch gives no reason"


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """One slot of a run, as its latest retry left it."""

    row: SlotRow
    state: SlotState | None
    """What Batch says of it now, or said before it forgot."""
    job: JobRecord | None
    attempts: tuple[AttemptFacts, ...]
    """Of the run it is from, the oldest first."""

    @property
    def live(self) -> bool:
        """Whether something more happens to it by itself."""
        return self.state is not None and self.state.state in LIVE_STATES

    def attempt(self, number: int | None) -> AttemptFacts | None:
        """One attempt, or the latest; None where there is none at all yet.

        Raises:
            UsageError: there is no such attempt.
        """
        if number is None:
            return self.attempts[-1] if self.attempts else None
        for attempt in self.attempts:
            if attempt.number == number:
                return attempt
        there = ", ".join(str(attempt.number) for attempt in self.attempts) or "none"
        raise UsageError(
            f"slot {self.row.slot} has no attempt {number}", next_step=f"attempts there are: {there}"
        )


def find_slot(status: RunStatus, *, region: str | None, slot: int | None) -> SlotRow:
    """The row of a slot number, or of the only slot of a region; of several the first that went wrong.

    Raises:
        UsageError: there is no such slot or region, or neither was named.
    """
    if (region is None) == (slot is None):
        raise UsageError(
            "name one slot" if slot is None else "a region and a slot exclude each other",
            next_step="give a region's name, or --slot N",
        )
    if slot is not None:
        if not 0 <= slot < len(status.rows):
            raise UsageError(
                f"the run has no slot {slot}", next_step=f"it has slots 0 to {len(status.rows) - 1}"
            )
        return status.rows[slot]
    rows = [row for row in status.rows if region in row.regions]
    if not rows:
        raise UsageError(
            f"the region {region} is not in the run {status.run_id}", next_step=_nearest(region or "", status)
        )
    return next((row for row in rows if row.wrong), rows[0])


def other_slots(status: RunStatus, row: SlotRow, region: str | None) -> list[SlotRow]:
    """The slots of a region besides the one that was taken; none where no region was named."""
    return [one for one in status.rows if region in one.regions and one.slot != row.slot]


def _nearest(region: str, status: RunStatus) -> str:
    import difflib

    names = [name for row in status.rows for name in row.regions]
    close = difflib.get_close_matches(region, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "`glacierflow batch status --json` names all of its regions"


def gather_slot(look: FamilyLook, row: SlotRow, cloud: Cloud) -> SlotFacts:
    """Ask the service that runs it about the slot, and put it beside what its attempts left.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    member = look.member_of(row.run_id)
    member.read_slot(row.run_slot)
    job = _job_of(member, row)
    if job is None or job.on_batch:
        own = batch_jobs(member.manifest, member.jobs, cloud)
        said = describe_slots(own, [row.run_slot], cloud).get(row.run_slot)
    else:
        view = view_of(member.manifest, [job], member.store, cloud, reader=member.reader)
        said = view.slots.get(row.run_slot)
    return _facts(member, row, job, said)


def recall_slot(look: FamilyLook, row: SlotRow) -> SlotFacts:
    """What the look knows of a slot already, without a call."""
    member = look.member_of(row.run_id)
    return _facts(member, row, _job_of(member, row), None)


def _job_of(member: RunLook, row: SlotRow) -> JobRecord | None:
    return next((job for job in member.jobs if 0 <= row.run_slot - job.first_slot < job.size), None)


def _facts(member: RunLook, row: SlotRow, job: JobRecord | None, said: SlotState | None) -> SlotFacts:
    kept = member.ledger.slots.get(row.run_slot)
    state = said or (kept.state_of() if kept else None)
    entries = {
        number: entry for (slot, number), entry in member.ledger.attempts.items() if slot == row.run_slot
    }
    return SlotFacts(row, state, job, tuple(_attempts(row.run_slot, state, entries, job)))


def _attempts(
    slot: int, state: SlotState | None, entries: dict[int, AttemptEntry], job: JobRecord | None
) -> list[AttemptFacts]:
    said = list(state.attempts) if state else []
    streams = [attempt.log_stream for attempt in said]
    running = state.log_stream if state is not None and state.log_stream not in streams else None
    numbers = {*range(1, len(said) + (2 if running else 1)), *entries}
    found = []
    for number in sorted(numbers):
        of_batch = said[number - 1] if number <= len(said) else None
        entry = entries.get(number)
        machine = entry.machine if entry else None
        stream = of_batch.log_stream if of_batch else running if number == len(said) + 1 else None
        group = (machine.log_group if machine else None) or (job.log_group if job else None)
        stream = stream or (machine.log_stream if machine else None) or _stream_of_task(job, slot)
        found.append(AttemptFacts(number, of_batch, entry, group, stream))
    return found


def _stream_of_task(job: JobRecord | None, slot: int) -> str | None:
    """The stream of a slot's ECS task, as the task definitions name it."""
    if job is None or not job.tasks:
        return None
    task = job.tasks[slot - job.first_slot]
    return f"{_TASK_STREAM}/{task.rpartition('/')[2]}" if task else None
