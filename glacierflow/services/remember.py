"""What AWS Batch, or another service, says of a run, put together with what it said before it forgot."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from glacierflow.aws import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.manifest import Manifest
from glacierflow.runs.entries import EntryReader
from glacierflow.runs.ledger import Ledger, SlotEntry, keep_ledger, read_ledger
from glacierflow.runs.records import JobRecord
from glacierflow.runs.states import BatchView
from glacierflow.services.views import view_of
from glacierflow.store import Store

__all__ = ["ask_and_keep", "ask_and_remember", "kept_view"]

_ENDED = {"SUCCEEDED", "FAILED"}


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
    ended = (SlotEntry.of(slot, state) for slot, state in view.slots.items() if state.state in _ENDED)
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
