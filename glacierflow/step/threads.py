"""Work in threads that a stop may end: one piece, or several in flight whose results come in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from glacierflow.errors import InterruptedAttempt

_T = TypeVar("_T")
_R = TypeVar("_R")

_LOOK_S = 0.2
"""Seconds between two looks at the stop."""


class _Grace:
    """The time that running work is still given once it was asked to stop."""

    def __init__(self, stop: threading.Event, grace_s: float) -> None:
        self._stop, self._grace_s = stop, grace_s
        self._deadline: float | None = None

    def awaits(self, future: Future[_T]) -> bool:
        """Wait for a future; False if the grace period ends first."""
        while not wait([future], timeout=self._look_s()).done:
            if self._stop.is_set():
                if self._deadline is None:
                    self._deadline = time.monotonic() + self._grace_s
                if time.monotonic() >= self._deadline:
                    return False
        return True

    def _look_s(self) -> float:
        """Seconds to the next look: after the end nothing is waited for, however many are still pending."""
        if self._deadline is None:
            return _LOOK_S
        return min(_LOOK_S, max(0.0, self._deadline - time.monotonic()))


def unless_stopped(work: Callable[[], _T], stop: threading.Event, dropped: str) -> _T:
    """Do some work, which is dropped at once when asked to stop.

    Raises:
        InterruptedAttempt: it was not finished by then. Its thread is left behind.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="step")
    try:
        future = pool.submit(work)
        if not _Grace(stop, 0.0).awaits(future):
            raise InterruptedAttempt(f"asked to stop; {dropped}")
        return future.result()
    finally:
        pool.shutdown(wait=False)


def in_order(
    work: Callable[[_T], _R], items: Sequence[_T], *, limit: int, stop: threading.Event, grace_s: float
) -> Iterator[_R]:
    """Work on several items at a time; results come in the items' order, those of finished ones always.

    Nothing new is begun after a stop or a failure; what is in hand is finished first, after a stop within the
    grace period.

    Args:
        work: what is done with an item, in a thread.
        items: what is to be done.
        limit: items in hand at a time, at least 1.
        stop: set when everything should end.
        grace_s: seconds for what is in hand after a stop.

    Raises:
        InterruptedAttempt: not all was done before the stop. Threads that did not end are left behind.
        Exception: the first that ``work`` raised.
    """
    failed = threading.Event()

    def begin(item: _T) -> _R:
        if stop.is_set() or failed.is_set():
            raise InterruptedAttempt("asked to stop; the acquisitions that are finished are saved")
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(limit, thread_name_prefix="step")
    grace = _Grace(stop, grace_s)
    first: BaseException | None = None
    try:
        for future in [pool.submit(begin, item) for item in items]:
            if not grace.awaits(future):
                first = first or InterruptedAttempt("asked to stop; unfinished acquisitions were dropped")
                continue
            error = future.exception()
            if error is None:
                yield future.result()
            elif first is None or isinstance(first, InterruptedAttempt):
                first = error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if first is not None:
        raise first
