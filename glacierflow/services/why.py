"""Gathers what there is to know of one slot and has it put into words."""

from __future__ import annotations

from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError
from glacierflow.runs.states import WAITING
from glacierflow.runs.status import SlotRow
from glacierflow.runs.verdict import Verdict
from glacierflow.runs.why import Explanation, QueueWords, TriedAttempt, explain
from glacierflow.services.doctor.network import judge_subnets
from glacierflow.services.failures import plain_errors
from glacierflow.services.family_look import FamilyLook
from glacierflow.services.logs import LogStream
from glacierflow.services.queues import QueueReport, look_at_queue
from glacierflow.services.quotas import LIFECYCLES, ask_for_more, vcpu_quota
from glacierflow.services.slot import AttemptFacts, SlotFacts, gather_slot, recall_slot

__all__ = ["example_log", "explain_slot", "queue_words"]

_TAIL = 20
_EXAMPLE_LINES = 3
_LONG_S = 900.0
"""By then a machine that Batch has started takes jobs, if it ever does."""
_DEFAULT_LOG_GROUP = "/aws/batch/job"


def explain_slot(look: FamilyLook, row: SlotRow, cloud: Cloud) -> Explanation:
    """Why a slot is as it is; a log or a queue that cannot be read is left out of the explanation.

    Raises:
        UsageError: AWS refuses to say anything of the job.
        UnavailableError: AWS cannot be reached.
    """
    facts = gather_slot(look, row, cloud)
    return explain(
        row,
        facts.state,
        [TriedAttempt(one.number, one.state, one.entry) for one in facts.attempts],
        log_tail=_tail(facts, cloud),
        queue=_queue(facts, cloud),
    )


def example_log(look: FamilyLook, row: SlotRow) -> tuple[str, ...]:
    """The last lines of a slot's log, one call; none where none is known, or it cannot be read."""
    member, latest = look.member_of(row.run_id), recall_slot(look, row).attempt(None)
    if latest is None or latest.log_stream is None:
        return ()
    return tuple(_last_lines(latest, latest.log_stream, member.cloud, lines=_EXAMPLE_LINES))


def _tail(facts: SlotFacts, cloud: Cloud) -> list[str]:
    latest = facts.attempt(None)
    if latest is None or latest.log_stream is None or not (facts.row.wrong or facts.row.failure):
        return []
    return _last_lines(latest, latest.log_stream, cloud, lines=_TAIL)


def _last_lines(attempt: AttemptFacts, stream: str, cloud: Cloud, *, lines: int) -> list[str]:
    try:
        found = LogStream(cloud, attempt.log_group or _DEFAULT_LOG_GROUP, stream).tail(lines)
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
