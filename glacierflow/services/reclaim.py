"""A rehearsal of a spot reclaim: a child is stopped, killed, started again, and its products counted."""

from __future__ import annotations

import dataclasses
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from glacierflow.containers import Exit
from glacierflow.errors import DataError
from glacierflow.receipt import Receipt
from glacierflow.runs.records import ReceiptReader, list_attempts
from glacierflow.services.child_container import ChildRun, run_child
from glacierflow.store import Store

__all__ = ["Rehearsal", "rehearse"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it."""

    first: Exit
    second: Exit
    attempts: tuple[str, ...]
    """Outcome of each attempt; ``killed`` where it left no receipt."""
    products: int
    problems: tuple[str, ...]
    """Why the products are not what an undisturbed run would have left; empty where they are."""


def rehearse(
    child: ChildRun, store: Store, tell: Callable[[str], None], *, after_s: float, grace_s: float
) -> Rehearsal:
    """Start a child, end it as a reclaimed instance would, start it again, and check what lies in the store.

    Args:
        child: what to start.
        store: the run's.
        tell: called with each line of both attempts.
        after_s: seconds from the first line of the log to SIGTERM.
        grace_s: seconds from SIGTERM to SIGKILL.
    """
    stop = threading.Event()
    timer = threading.Timer(after_s, stop.set)

    def heard(line: str) -> None:
        if not timer.is_alive() and not timer.finished.is_set():
            timer.start()
        tell(line)

    first = run_child(child, heard, stop=stop, grace_s=grace_s)
    timer.cancel()
    tell(f"-- the first attempt ended with exit code {first.exit_code}; starting the second")
    second = run_child(dataclasses.replace(child, attempt=child.attempt + 1), tell)
    return _check(child, store, first, second)


def _check(child: ChildRun, store: Store, first: Exit, second: Exit) -> Rehearsal:
    run_id = child.manifest.run_id
    attempts = {slot: found for slot, found in list_attempts(store, run_id).items() if slot == child.slot}
    receipts = ReceiptReader(store, run_id).every(attempts)
    outcomes = attempts[child.slot].outcomes if attempts else {}
    problems = [] if second.exit_code == 0 else [f"the second attempt ended with {second.exit_code}"]
    problems += _doubled(receipts) + _damaged(receipts, store)
    if receipts:
        last, keys = receipts[-1].counts, _keys(receipts)
        if last.failed:
            problems.append(f"{last.failed} acquisitions could not be read")
        # what was there before this run is skipped by both attempts
        if last.kept != last.written + last.skipped + last.failed:
            problems.append(
                f"{last.kept} acquisitions were to be made, {last.written + last.skipped} are there"
            )
        return Rehearsal(first, second, _names(outcomes), len(keys), tuple(problems))
    return Rehearsal(first, second, _names(outcomes), 0, (*problems, "no attempt left a receipt"))


def _names(outcomes: dict[int, str | None]) -> tuple[str, ...]:
    return tuple(outcomes[number] or "killed" for number in sorted(outcomes))


def _keys(receipts: list[Receipt]) -> set[str]:
    return {product.key for receipt in receipts for product in receipt.products}


def _doubled(receipts: list[Receipt]) -> list[str]:
    """Acquisitions that became more than one product."""
    made: dict[tuple[int, str], set[str]] = defaultdict(set)
    for receipt in receipts:
        for product in receipt.products:
            made[product.unit, product.acquisition].add(product.key)
    return [f"{name} was made twice: {sorted(keys)}" for (_, name), keys in made.items() if len(keys) > 1]


def _damaged(receipts: list[Receipt], store: Store) -> list[str]:
    """Products that are not there, or not whole."""
    problems = []
    expected = {product.key: product.sha256 for receipt in receipts for product in receipt.products}
    for key, sha256 in expected.items():
        try:
            found = store.sha256(key)
        except DataError as error:
            problems.append(error.message)
            continue
        if found is None:
            problems.append(f"{key} is not there")
        elif found != sha256:
            problems.append(f"{key} holds other bytes than its receipt says")
    return problems
