"""One look at a run: its manifest, what AWS says or said of it, and what lies in the store, joined.

What has been seen once is kept in the run's ledger, so that the next look, by anybody, need not ask again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from glacierflow.aws.batch import describe_slots, find_jobs
from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.live.states import batch_jobs, stop_slots, view_of
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.runs.facts import SlotFact, slot_fact
from glacierflow.runs.ledger import AttemptKey, EntryReader, Ledger, SlotEntry, keep_ledger, read_ledger
from glacierflow.runs.records import Attempts, JobRecord, list_attempts
from glacierflow.runs.states import FINAL_STATES, FORGOTTEN, LIVE_STATES, NOT_SUBMITTED, BatchView, SlotState
from glacierflow.runs.status import RunStatus, is_on_lambda, join_status, unended_attempts
from glacierflow.store import Store

_FEW = 200
"""As many receipts as a quick look reads one by one: those that no name tells of; of more it reads none."""

_LARGE = 1000
"""Attempts that one LIST tells of."""

_FEW_FAILED = 500
"""Failed children a quick look asks Batch about, in five calls; the looks after it ask about more."""

_NEED_BATCH = {None: 0, "interrupted": 1}
"""Outcomes that leave open why a child failed, those that tell least first."""

_KEEP_EVERY_S = 60.0
"""Seconds between two writes of the ledger while a run is watched."""

_LONGEST_REASON = 256
"""Characters of a reason that Batch shows."""


class RunLook:
    """Looks at one run again and again; what cannot change any more is asked for once."""

    def __init__(
        self,
        manifest: Manifest,
        jobs: list[JobRecord],
        store: Store,
        cloud: Cloud,
        *,
        ledger: Ledger | None = None,
    ) -> None:
        self.manifest = manifest
        self.jobs = jobs
        self.store = store
        self.notice: str | None = None
        """Why the ledger cannot be kept, where it cannot."""
        self.cloud = cloud
        self.reader = EntryReader(store, manifest.run_id)
        """Has every attempt that was read so far."""
        self._ledger = ledger or Ledger(manifest.run_id)
        self._ledger.size = len(manifest.slots)
        self._ledger.root_run_id = manifest.root_run_id
        self._news = False
        self._kept_at = 0.0

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        store: Store,
        cloud: Cloud,
        *,
        job_queue: str,
        ondemand_job_queue: str | None = None,
    ) -> RunLook:
        """Look at a run submitted earlier; jobs it sent without recording them are found by name."""
        run_id, notice = manifest.run_id, None
        try:
            ledger = read_ledger(store, run_id)
        except StoreError as error:
            ledger, notice = Ledger(run_id), error.message
        jobs = find_jobs(manifest, store, cloud, job_queue=job_queue, ondemand_job_queue=ondemand_job_queue)
        look = cls(manifest, jobs, store, cloud, ledger=ledger)
        look.notice = notice
        return look

    def now(self, *, quick: bool = False) -> RunStatus:
        """The run as it is.

        Batch is asked first: a child it calls finished has its receipt in the store by then.

        Args:
            quick: do with few calls: where many receipts that no name tells of (an earlier version's
                children left none) were not read yet, leave them; the listing tells their outcomes, and
                their products are counted by a look that is not quick.
                Of many failed children Batch is asked about some each look, those without a receipt first.
        """
        if self._ledger.complete:
            return self._join(self._kept_view(), self._ledger.listed)
        view = self._view(explain=not quick)
        attempts = list_attempts(self.store, self.manifest.run_id)
        live = any(state.state in LIVE_STATES for state in view.slots.values())
        self._read(attempts, quick=quick, live=live)
        view = self._explain_some(view, attempts) if quick else _all_asked(view)
        status = self._join(view, attempts)
        if status.finished and (not quick or len(self._unexplained(attempts)) <= _FEW_FAILED):
            self._explain(attempts)
            kept = {slot: state for slot, state in self._kept_view().slots.items() if state.explained}
            view = BatchView({**view.slots, **kept})
            status = self._join(view if quick else _all_asked(view), attempts)
        if status.finished and not status.unread and not self._unclear(status):
            self._news |= not self._ledger.complete
            self._ledger.complete = not self._unexplained(attempts)
        if quick or status.finished or time.monotonic() - self._kept_at > _KEEP_EVERY_S:
            self.keep()
        return status

    def read_slot(self, slot: int) -> None:
        """Read what the attempts of one slot left, which a quick look may have passed over."""
        if not self._ledger.complete:
            self._read(list_attempts(self.store, self.manifest.run_id, slot=slot), quick=False, live=False)

    def stop(self, reason: str) -> None:
        """End what is left of the run; what has ended stays as it is.

        Raises:
            UsageError: AWS refuses.
            UnavailableError: AWS cannot be reached.
        """
        view = self._view()
        live = {slot for slot, state in view.slots.items() if state.state in LIVE_STATES}
        why = f"Stopped by glacierflow: {reason}"[:_LONGEST_REASON]
        stop_slots(self.manifest, self.jobs, live, self.store, self.cloud, whole=True, reason=why)

    def keep(self) -> None:
        """Write down what was seen; where that is not possible, say why in ``notice`` and go on."""
        if not self._news or self.notice is not None:
            return
        try:
            self._news = not keep_ledger(self.store, self._ledger)
        except (UsageError, StoreError) as error:
            self.notice = f"the ledger of the run cannot be kept: {error.message}"
        self._kept_at = time.monotonic()

    def receipts(self) -> list[Receipt]:
        """Every receipt of the run, also those of earlier attempts."""
        return self.reader.records.every(list_attempts(self.store, self.manifest.run_id))

    @property
    def ledger(self) -> Ledger:
        """What is known of attempts and ended children so far."""
        return self._ledger

    def _view(self, *, explain: bool = True) -> BatchView:
        """Batch's answer, completed by what it said earlier and has forgotten since."""
        view, news = ask_and_remember(
            self._ledger,
            self.manifest,
            self.jobs,
            self.store,
            self.cloud,
            explain=explain,
            reader=self.reader,
        )
        self._news |= news
        return view

    def _kept_view(self) -> BatchView:
        return kept_view(self._ledger)

    def _read(self, attempts: Mapping[int, Attempts], *, quick: bool, live: bool) -> None:
        """Take the receipts that nobody has read yet into the ledger, and the starts of killed attempts.

        While a large run goes on, a quick look leaves the starts: they say where an attempt runs, no more.
        """
        known = self._ledger.attempts
        ended: list[AttemptKey] = [
            (slot, number, outcome)
            for slot, of_slot in attempts.items()
            for number, outcome in of_slot.outcomes.items()
            if outcome is not None and ((slot, number) not in known or known[slot, number].outcome is None)
        ]
        starts: list[AttemptKey] = [(*key, None) for key in unended_attempts(attempts) if key not in known]
        listed = sum(len(of_slot.outcomes) for of_slot in attempts.values())
        if quick and live and listed > _LARGE:
            starts = []
        for entry in self.reader.read([*ended, *starts], attempts=listed, at_most=_FEW if quick else None):
            self._news |= self._ledger.add_attempt(entry)

    def _unexplained(self, attempts: Mapping[int, Attempts]) -> list[int]:
        """Good slots with attempts only Batch can tell of, not asked about yet; failed ones always are."""
        return [
            slot
            for slot, entry in self._ledger.slots.items()
            if entry.state == "SUCCEEDED"
            and not entry.explained
            and (slot not in attempts or not attempts[slot].told)
        ]

    def _explain_some(self, view: BatchView, attempts: Mapping[int, Attempts]) -> BatchView:
        """Ask why children failed, those first whose receipts do not tell; a few calls."""
        failed = [
            slot for slot, state in view.slots.items() if state.state == "FAILED" and not state.explained
        ]
        if not failed:
            return view

        def outcome(slot: int) -> str | None:
            return attempts[slot].outcomes[attempts[slot].latest] if slot in attempts else None

        failed.sort(key=lambda slot: _NEED_BATCH.get(outcome(slot), len(_NEED_BATCH)))
        own = batch_jobs(self.manifest, self.jobs, self.cloud)
        asked = failed[:_FEW_FAILED]
        said = describe_slots(own, asked, self.cloud)
        news = [self._ledger.add_slot(SlotEntry.of(slot, state)) for slot, state in said.items()]
        self._news |= any(news)
        silent = {slot: replace(view.slots[slot], explained=True) for slot in asked if slot not in said}
        return BatchView({**view.slots, **said, **silent})

    def _explain(self, attempts: Mapping[int, Attempts]) -> None:
        unexplained = self._unexplained(attempts)
        if not unexplained:
            return
        own = batch_jobs(self.manifest, self.jobs, self.cloud)
        for slot, state in describe_slots(own, unexplained, self.cloud).items():
            self._news |= self._ledger.add_slot(SlotEntry.of(slot, state))

    def _join(self, view: BatchView, attempts: Mapping[int, Attempts]) -> RunStatus:
        return join_status(self.manifest, view, attempts, self._ledger.attempts, jobs=self.jobs)

    def fact_of(self, slot: int, said: SlotState | None, *, log_tail: tuple[str, ...] = ()) -> SlotFact:
        """What is known of one slot: by what Batch says of it now, or else said before it forgot."""
        kept, entries = self._ledger.slots.get(slot), self._ledger.entries_of(slot)
        job = next((job for job in self.jobs if slot in job.slots), None)
        known = Attempts({number: entry.outcome for number, entry in entries.items()}) if entries else None
        missing = NOT_SUBMITTED if job is None and known is None else FORGOTTEN
        return slot_fact(
            self.manifest.run_id,
            slot,
            said or (kept.state_of() if kept else SlotState(missing, "")),
            known,
            entries,
            on_lambda=is_on_lambda(self.manifest, job),
            log_tail=log_tail,
        )

    def _unclear(self, status: RunStatus) -> bool:
        """Whether some slots ended only as far as this look can tell: another look may know more."""
        slots = self._ledger.slots
        guessed = (row for row in status.rows if row.wrong and row.state == "FAILED")
        return any(row.state in {FORGOTTEN, NOT_SUBMITTED} for row in status.rows) or any(
            row.slot not in slots or not slots[row.slot].explained for row in guessed
        )


def _all_asked(view: BatchView) -> BatchView:
    """The view of one who has asked about all: what is still without a reason has none, Batch forgot it."""
    return BatchView(
        {
            slot: replace(state, explained=True) if state.unasked else state
            for slot, state in view.slots.items()
        }
    )


def kept_view(ledger: Ledger) -> BatchView:
    """What Batch said of the children that had ended."""
    return BatchView({slot: entry.state_of() for slot, entry in ledger.slots.items()})


def ask_and_remember(
    ledger: Ledger,
    manifest: Manifest,
    jobs: Sequence[JobRecord],
    store: Store,
    cloud: Cloud,
    *,
    explain: bool = True,
    reader: EntryReader | None = None,
) -> tuple[BatchView, bool]:
    """Batch's answer, completed from the ledger, which gets what is new; whether there was any news.

    Without ``explain``, Batch is not asked why children failed; ``reader`` has read what
    attempts wrote at their starts before.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    known = kept_view(ledger)
    explained = {slot: state for slot, state in known.slots.items() if state.explained}
    asked = BatchView(explained)
    view = view_of(manifest, jobs, store, cloud, known=asked, explain=explain, reader=reader)
    ended = (SlotEntry.of(slot, state) for slot, state in view.slots.items() if state.state in FINAL_STATES)
    news = [ledger.add_slot(entry) for entry in ended]
    return BatchView({**known.slots, **view.slots}), any(news)


def ask_and_keep(manifest: Manifest, jobs: Sequence[JobRecord], store: Store, cloud: Cloud) -> BatchView:
    """The same for a run whose ledger is in the store; where that cannot be read or written, without it.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    ledger, readable = Ledger(manifest.run_id), True
    try:
        ledger = read_ledger(store, manifest.run_id)
    except StoreError:
        readable = False
    view, news = ask_and_remember(ledger, manifest, jobs, store, cloud)
    if news and readable:
        with contextlib.suppress(UsageError, StoreError):
            keep_ledger(store, ledger)
    return view
