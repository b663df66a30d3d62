"""Chunks of lazy arrays computed by dask: in the thread that asks, or by the workers of a cluster."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from glacierflow.errors import UnavailableError
from glacierflow.imagery.lazy import MosaicJob, each_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distributed import Client
    from numpy.typing import NDArray

    from glacierflow.imagery.mosaic import Imagery


_ME = uuid.uuid4().hex
"""Tells worker processes apart, wherever they run."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one process has read for a job so far."""

    process: str
    bytes_read: int
    requests: int
    seconds: dict[str, float]

    @classmethod
    def of(cls, imagery: Imagery) -> _Reading:
        return cls(_ME, imagery.bytes_read, imagery.requests, dict(imagery.seconds))


def _read_so_far(_: NDArray[Any], job: MosaicJob) -> _Reading:
    return _Reading.of(job.imagery)


@dataclass
class Readings:
    """What all processes have read for a job; each tells its sum so far with every chunk."""

    job: MosaicJob
    _known: dict[str, _Reading] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def of_chunks(self, data: Any) -> Any:  # noqa: ANN401
        """A dask array with one reading a chunk, for ``add``."""
        return each_chunk(data, _read_so_far, job=self.job)

    def add(self, reading: _Reading) -> None:
        """Those of one process may arrive out of order."""
        with self._lock:
            known = self._known.get(reading.process)
            if known is None or reading.requests >= known.requests:
                self._known[reading.process] = reading

    def add_own(self, imagery: Imagery) -> None:
        """What this process has read, what failed included."""
        if imagery.requests:
            self.add(_Reading.of(imagery))

    @property
    def bytes_read(self) -> int:
        """Bytes received by all processes."""
        return sum(reading.bytes_read for reading in self._known.values())

    @property
    def requests(self) -> int:
        """Range requests sent by all processes."""
        return sum(reading.requests for reading in self._known.values())

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, of all processes together."""
        total: dict[str, float] = {}
        for reading in self._known.values():
            for phase, value in reading.seconds.items():
                total[phase] = total.get(phase, 0.0) + value
        return total


def tasks_of(*arrays: Any) -> dict[Any, Any]:  # noqa: ANN401 - dask arrays
    """The tasks of dask arrays, in one graph that ``Computer.compute`` takes parts of."""
    return {key: task for array in arrays for key, task in array.__dask_graph__().items()}


class Computer:
    """Computes chunks of lazy arrays; safe to share between threads, which wait for what they asked for."""

    def __init__(self, client: Client | None = None, *, configured: bool = False) -> None:
        """Nothing is started.

        Args:
            client: of the scheduler whose workers compute; None is the thread that asks.
            configured: whether dask's own configuration decides instead, as in a notebook.
        """
        self._client: Any = client
        self._configured = configured

    @property
    def workers(self) -> int | None:
        """Chunks that workers elsewhere make at a time, at least 1; None where this process makes them."""
        if self._client is None:
            return None
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def compute(self, tasks: Mapping[Any, Any], keys: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The values of some tasks.

        Only what they need of the graph is looked at, so that one graph serves all images of a unit.

        Args:
            tasks: of all arrays, as ``tasks_of`` has them.
            keys: of those that are wanted.

        Raises:
            UnavailableError: the cluster lost them.
            DataError, CredentialsError: as ``Imagery.mosaic``.
        """
        from dask.optimization import cull

        needed, _ = cull(tasks, list(keys))
        if self._client is None:
            return list(self._here(needed, list(keys)))
        from concurrent.futures import CancelledError

        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        try:
            return list(self._client.get(needed, list(keys)))
        except (KilledWorker, FutureCancelledError, CancelledError, OSError) as error:
            raise UnavailableError(
                f"the dask scheduler lost the work: {error}",
                next_step="look at its workers, then run the same command again",
            ) from error

    @property
    def _here(self) -> Callable[..., Any]:
        """A scheduler without a client.

        The threads that ask make images side by side, and of each image one chunk after another: a pool would
        only add threads that wait for each other, each with memory of its own.
        """
        from dask.base import get_scheduler
        from dask.local import get_sync
        from dask.threaded import get

        if not self._configured:
            return get_sync
        return get_scheduler() or get
