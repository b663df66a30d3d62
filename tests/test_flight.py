"""Several in flight, results in order, and what a stop or a failure does to them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from typing import Any

import pytest

from glacierflow.errors import InterruptedAttempt, StoreError
from glacierflow.step import threads
from glacierflow.step.threads import in_order, unless_stopped


def test_results_come_in_order_whatever_ends_first() -> None:
    seconds = [0.3, 0.0, 0.1, 0.0]

    def work(number: int) -> int:
        time.sleep(seconds[number])
        return number

    assert list(in_order(work, range(4), limit=4, stop=threading.Event(), grace_s=1)) == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_than_the_limit_are_in_hand_and_that_many_are(limit: int) -> None:
    together = threading.Barrier(limit)
    now, most, lock = [0], [0], threading.Lock()

    def work(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(10)
        with lock:
            now[0] -= 1
        return number

    assert len(list(in_order(work, range(6), limit=limit, stop=threading.Event(), grace_s=1))) == 6
    assert most[0] == limit


def test_after_a_stop_what_is_in_hand_is_finished_and_nothing_begun() -> None:
    stop, begun = threading.Event(), []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            stop.set()
            time.sleep(0.5)
        return number

    done: list[int] = []
    with pytest.raises(InterruptedAttempt):
        done.extend(in_order(work, range(5), limit=1, stop=stop, grace_s=30))
    assert begun == [0, 1]
    assert done == [0, 1]


def test_what_does_not_end_within_the_grace_period_is_dropped_but_the_finished_counts() -> None:
    stop, never = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            never.wait(30)
        else:
            stop.set()
        return number

    done: list[int] = []
    start = time.monotonic()
    with pytest.raises(InterruptedAttempt, match="dropped"):
        done.extend(in_order(work, range(2), limit=2, stop=stop, grace_s=0.5))
    never.set()
    assert done == [1]
    assert time.monotonic() - start < 10


def test_after_the_grace_period_nothing_pending_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes 10 s after it: 58 acquisitions that were never begun must not take a look each."""
    stop, never, both = threading.Event(), threading.Event(), threading.Barrier(2)
    waited: dict[Future[int], float] = {}

    def counting(futures: list[Future[int]], timeout: float) -> Any:
        waited[futures[0]] = waited.get(futures[0], 0.0) + timeout
        return wait(futures, timeout=timeout)

    monkeypatch.setattr(threads, "wait", counting)

    def work(number: int) -> int:
        both.wait(30)
        stop.set()
        never.wait(30)
        return number

    with pytest.raises(InterruptedAttempt, match="dropped"):
        list(in_order(work, range(60), limit=2, stop=stop, grace_s=0))
    never.set()
    assert len(waited) == 60
    _, *pending = waited.values()
    assert sum(pending) == 0


def test_a_failure_ends_it_after_what_is_in_hand() -> None:
    """The finished ones are told before the failure is raised, and the failure itself, not its echo."""
    failing = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            failing.set()
            raise StoreError("disk full")
        if number == 0:
            failing.wait(10)
            time.sleep(0.3)
        return number

    done: list[int] = []
    with pytest.raises(StoreError, match="disk full"):
        done.extend(in_order(work, range(6), limit=2, stop=threading.Event(), grace_s=1))
    assert done == [0]


def test_one_piece_of_work_is_dropped_at_once() -> None:
    stop, never = threading.Event(), threading.Event()
    assert unless_stopped(lambda: 7, stop, "the search was dropped") == 7
    stop.set()
    with pytest.raises(InterruptedAttempt, match="the search was dropped"):
        unless_stopped(lambda: never.wait(30), stop, "the search was dropped")
    never.set()
