"""All there is to know of one slot: where it stands, its attempts and logs, and why it went as it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from glacierflow.aws.account import LIFECYCLES, ask_for_more, judge_subnets, vcpu_quota
from glacierflow.aws.batch import describe_slots
from glacierflow.aws.errors import plain_errors
from glacierflow.aws.logs import LogStream
from glacierflow.aws.queues import QueueReport, look_at_queue
from glacierflow.cloud import Cloud
from glacierflow.errors import GlacierflowError, UsageError
from glacierflow.live.family import FamilyLook
from glacierflow.live.look import RunLook
from glacierflow.live.states import batch_jobs, view_of
from glacierflow.runs.facts import AttemptFact, SlotFact
from glacierflow.runs.records import JobRecord
from glacierflow.runs.states import LIVE_STATES, WAITING, SlotState, Verdict
from glacierflow.runs.status import RunStatus, SlotRow
from glacierflow.runs.why import Explanation, QueueWords, explain

_TASK_STREAM = "glacierflow/child"
"""Prefix and container of the task definitions in ``batch/ecs.yaml``."""

_TAIL = 20
_EXAMPLE_LINES = 3
_LONG_S = 900.0
"""By then a machine that Batch has started takes jobs, if it ever does."""
DEFAULT_LOG_GROUP = "/aws/batch/job"


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One attempt, by Batch and by what it left."""

    fact: AttemptFact
    log_group: str | None
    log_stream: str | None

    @property
    def number(self) -> int:
        """From 1."""
        return self.fact.number

    @property
    def reason(self) -> str:
        """Why there is no log, in Batch's words."""
        said = self.fact.said
        texts = [said.status_reason, said.reason] if said else []
        return "; ".join(text.rstrip(".") for text in texts if text) or "Batch gives no reason"


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """One slot of a run, as its latest retry left it."""

    row: SlotRow
    fact: SlotFact
    """What is known of it in the run that it is from, by what Batch says now or said before it forgot."""
    job: JobRecord | None
    attempts: tuple[AttemptFacts, ...]
    """Of the run it is from, the oldest first."""

    @property
    def live(self) -> bool:
        """Whether something more happens to it by itself."""
        return self.fact.state.state in LIVE_STATES

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
    return next((job for job in member.jobs if row.run_slot in job.slots), None)


def _facts(member: RunLook, row: SlotRow, job: JobRecord | None, said: SlotState | None) -> SlotFacts:
    fact = member.fact_of(row.run_slot, said)
    return SlotFacts(row, fact, job, tuple(_with_logs(fact, row.run_slot, job)))


def _with_logs(fact: SlotFact, slot: int, job: JobRecord | None) -> Iterator[AttemptFacts]:
    """Each attempt with where it logs: by Batch, by its own record, or as ECS names streams."""
    for one in fact.attempts:
        machine = one.entry.machine if one.entry else None
        group = (machine.log_group if machine else None) or (job.log_group if job else None)
        named = one.said.log_stream if one.said else None
        if one.said is None and one.number == len(fact.state.attempts) + 1:
            named = fact.state.log_stream
        stream = named or (machine.log_stream if machine else None) or _stream_of_task(job, slot)
        yield AttemptFacts(one, group, stream)


def _stream_of_task(job: JobRecord | None, slot: int) -> str | None:
    """The stream of a slot's ECS task, as the task definitions name it."""
    if job is None or not job.tasks:
        return None
    task = job.tasks[slot - job.first_slot]
    return f"{_TASK_STREAM}/{task.rpartition('/')[2]}" if task else None


def explain_slot(
    look: FamilyLook, row: SlotRow, cloud: Cloud, *, usual_group: str = DEFAULT_LOG_GROUP
) -> Explanation:
    """Why a slot is as it is; a log or a queue that cannot be read is left out of the explanation.

    The log of an attempt that does not say where it wrote is looked for in ``usual_group``.

    Raises:
        UsageError: AWS refuses to say anything of the job.
        UnavailableError: AWS cannot be reached.
    """
    facts = gather_slot(look, row, cloud)
    tail = _tail(facts, cloud, usual_group)
    fact = look.member_of(row.run_id).fact_of(row.run_slot, facts.fact.state, log_tail=tuple(tail))
    return explain(row, fact, log_tail=tail, queue=_queue(facts, cloud))


def example_log(look: FamilyLook, row: SlotRow) -> tuple[str, ...]:
    """The last lines of a slot's log, one call; none where none is known, or it cannot be read."""
    member, latest = look.member_of(row.run_id), recall_slot(look, row).attempt(None)
    if latest is None or latest.log_stream is None:
        return ()
    return tuple(
        _last_lines(latest, latest.log_stream, member.cloud, DEFAULT_LOG_GROUP, lines=_EXAMPLE_LINES)
    )


def _tail(facts: SlotFacts, cloud: Cloud, usual_group: str) -> list[str]:
    latest = facts.attempt(None)
    if latest is None or latest.log_stream is None or not (facts.row.wrong or facts.row.failure):
        return []
    return _last_lines(latest, latest.log_stream, cloud, usual_group, lines=_TAIL)


def _last_lines(
    attempt: AttemptFacts, stream: str, cloud: Cloud, usual_group: str, *, lines: int
) -> list[str]:
    try:
        found = LogStream(cloud, attempt.log_group or usual_group, stream).tail(lines)
    except GlacierflowError:
        return []
    return [line.text for line in found if line.text.strip()]


def _queue(facts: SlotFacts, cloud: Cloud) -> QueueWords:
    if facts.row.state not in WAITING or facts.job is None or not facts.job.on_batch:
        return QueueWords()
    try:
        queue = look_at_queue(facts.job.job_queue, cloud)
    except GlacierflowError as error:
        return QueueWords((f"The queue could not be asked: {error.message}",))
    words = queue_words(queue, facts.row.job_id)
    if facts.row.state != "RUNNABLE" or cloud.embedded:
        return words
    quota = _quota_words(queue, cloud)
    # Batch itself does not know of quotas: where it names a cause without certainty, this is it
    certain = words.verdict if words.verdict is not None and words.verdict.failure == "config" else None
    network = QueueWords() if certain or quota.verdict else _network_words(queue, cloud)
    return QueueWords(
        words.sentences + quota.sentences + network.sentences,
        certain or quota.verdict or network.verdict or words.verdict,
    )


def _network_words(queue: QueueReport, cloud: Cloud) -> QueueWords:
    """Whether machines that are there, and have taken no job for long, can reach ECS at all."""
    head = queue.head
    waited = 0.0 if head is None else head.age_s or 0.0 if head.at_head_s is None else head.at_head_s
    busy = queue.depth.get("STARTING", 0) + queue.depth.get("RUNNING", 0)
    started = [one for one in queue.environments if one.vcpus and one.kind in LIFECYCLES]
    if busy or waited < _LONG_S or not started:
        return QueueWords()
    subnets = dict.fromkeys(subnet for one in started for subnet in one.subnets)
    if not subnets:
        return QueueWords()
    try:
        with plain_errors("look at the network", service="EC2"):
            findings = list(judge_subnets(cloud, [(subnet, None) for subnet in subnets]))
    except GlacierflowError as error:
        return QueueWords((f"The network could not be looked at: {error.message}",))
    for finding in findings:
        if finding.verdict == "problem":
            text = f"AWS Batch has started machines, and they do not get to it: {finding.text}"
            return QueueWords(verdict=Verdict("config", text, finding.next_step or "`glacierflow doctor`"))
    return QueueWords(
        (
            f"Nothing has started for {waited / 60:.0f} min, though AWS Batch wants machines; "
            "the routes of its subnets look right",
        )
    )


def _quota_words(queue: QueueReport, cloud: Cloud) -> QueueWords:
    """Whether Batch wants more machines than the account may have."""
    sentences, verdict = [], None
    for one in queue.environments:
        lifecycle = LIFECYCLES.get(one.kind)
        if lifecycle is None or not one.vcpus:
            continue
        try:
            quota = vcpu_quota(cloud, lifecycle)
        except GlacierflowError as error:
            sentences.append(f"The {lifecycle} vCPU quota could not be asked: {error.message}")
            continue
        if one.vcpus > quota:
            text = (
                f"AWS Batch wants machines for {one.vcpus} vCPUs, and the {lifecycle} vCPU quota is {quota:g}"
            )
            verdict = verdict or Verdict("config", text, ask_for_more(cloud, lifecycle))
    return QueueWords(tuple(sentences), verdict)


def queue_words(queue: QueueReport, job_id: str | None) -> QueueWords:
    """What a queue has to do with a slot that waits in it."""
    depth = ", ".join(f"{count} {state}" for state, count in queue.depth.items())
    sentences = [f"The queue {queue.name} has {depth or 'nothing else'}"]
    verdict = None
    if queue.state != "ENABLED":
        verdict = Verdict("config", f"the queue {queue.name} is {queue.state}", "enable the queue")
    for one in queue.environments:
        used = "" if one.vcpus is None else f", machines for {one.vcpus} of {one.max_vcpus} vCPUs"
        health = "" if one.healthy else f", which is why nothing starts there: {one.reason or 'no reason'}"
        sentences.append(f"Its environment {one.name} is {one.state} and {one.status}{used}{health}")
    if queue.environments and not any(one.healthy for one in queue.environments):
        step = "enable or mend a compute environment: `glacierflow batch queue` shows their state"
        verdict = Verdict("config", f"no compute environment of the queue {queue.name} can take jobs", step)
    if queue.head is not None and queue.head.failure is not None and queue.head.sentence is not None:
        whose = "It stands" if queue.head.job_id == job_id else f"{queue.head.job_id} stands"
        sentences.append(f"{whose} at the head of the queue and blocks it: {queue.head.sentence}")
        verdict = verdict or Verdict(queue.head.failure, queue.head.sentence, queue.head.next_step or "")
    return QueueWords(tuple(sentences), verdict)
