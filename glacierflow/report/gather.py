"""All that a report tells, asked for once, as ``status``, ``cost``, ``verify`` and ``methods`` ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glacierflow.cloud import Cloud
from glacierflow.cost.gather import report_cost
from glacierflow.cost.prices import PriceBook
from glacierflow.cost.report import CostReport
from glacierflow.errors import DataError, GlacierflowError
from glacierflow.live.family import FamilyLook
from glacierflow.live.slot import example_log
from glacierflow.runs.family import Family, read_joined
from glacierflow.runs.methods import Methods, methods_of
from glacierflow.runs.progress import group_failures
from glacierflow.runs.status import RunStatus
from glacierflow.runs.verify import VerifyReport, verify_run

_MOST_LOGS = 8
"""Kinds of failure of a run whose example's log is read, a call each."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one run, or of several that are shown as one."""

    statuses: tuple[RunStatus, ...]
    """One a first run, its retries in it, as ``status`` shows it."""
    family: Family
    """All of them, as ``verify`` and ``cost`` join them."""
    cost: CostReport | str
    """Or why nobody can tell."""
    verified: VerifyReport
    methods: Methods
    logs: Mapping[tuple[str, int], Sequence[str]]
    """How the log of a failure's example ends, by the first run and the slot in it."""
    seen_at: dt.datetime

    @property
    def run_id(self) -> str:
        """The first run; the page lies in its folder."""
        return self.statuses[0].run_id


def gather_facts(
    looks: Sequence[FamilyLook],
    cloud: Cloud,
    queues: Mapping[str, str],
    prices: PriceBook,
) -> Facts:
    """Look at runs and read what their attempts left; products are compared by existence and size.

    Args:
        looks: one a first run.
        cloud: asked for ends of attempts and logs.
        queues: those that jobs may be in, as ``Places.queues`` names them.
        prices: the table.

    Raises:
        RunError: the runs pack the same units in different ways.
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
        StoreError: a record cannot be understood.
    """
    statuses = tuple(look.now() for look in looks)
    store = looks[0].store
    family = read_joined(store, [status.run_id for status in statuses])
    cost: CostReport | str
    try:
        cost, _ = report_cost(family, store, cloud, queues, prices)
    except DataError as error:
        cost = error.message
    ends: dict[tuple[str, int], Sequence[str]] = {}
    for look, status in zip(looks, statuses, strict=True):
        for group in group_failures(status.rows)[:_MOST_LOGS]:
            ends[status.run_id, group.slot] = _log(look, status, group.slot)
    return Facts(
        statuses=statuses,
        family=family,
        cost=cost,
        verified=verify_run(family, store, depth="quick"),
        methods=methods_of(family),
        logs=ends,
        seen_at=dt.datetime.now(dt.UTC),
    )


def _log(look: FamilyLook, status: RunStatus, slot: int) -> Sequence[str]:
    """A log that cannot be read is no reason to have no page."""
    try:
        return example_log(look, status.rows[slot])
    except GlacierflowError:
        return ()
