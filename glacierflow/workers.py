"""Mosaics made by dask workers: all that travels can be pickled, and nothing is opened before it arrives.

A worker process keeps one ``Imagery`` for each job, so that its connections are used again.
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from glacierflow.errors import UnavailableError
from glacierflow.imagery.read import Imagery

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.aws import Cloud
    from glacierflow.model import Scene, StepSettings

__all__ = ["ClusterImagery", "MosaicJob"]

_ME = uuid.uuid4().hex
"""Tells worker processes apart, wherever they run."""


@dataclass(frozen=True, slots=True)
class MosaicJob:
    """How mosaics are made, wherever that is."""

    cloud: Cloud
    settings: StepSettings
    token: str
    """Tells jobs apart that use the same workers."""

    @classmethod
    def new(cls, cloud: Cloud, settings: StepSettings) -> MosaicJob:
        """A job of its own."""
        return cls(cloud, settings, uuid.uuid4().hex)

    def mosaic(self, scenes: Sequence[Scene], geobox: GeoBox) -> NDArray[np.uint16]:
        """``Imagery.mosaic``, with this process's Imagery for the job."""
        return _imagery(self).mosaic(scenes, geobox)

    def counted_mosaic(
        self, scenes: Sequence[Scene], geobox: GeoBox
    ) -> tuple[NDArray[np.uint16], str, _Counts]:
        """The same, with this process's name and what it has read for the job so far."""
        imagery = _imagery(self)
        image = imagery.mosaic(scenes, geobox)
        return image, _ME, _Counts(imagery.bytes_read, imagery.requests, dict(imagery.seconds))


@dataclass(frozen=True, slots=True)
class _Counts:
    """What one process has read for a job."""

    bytes_read: int
    requests: int
    seconds: dict[str, float]


@functools.lru_cache(maxsize=4)
def _cached_imagery(job: MosaicJob) -> Imagery:
    return Imagery(job.cloud, job.settings)


_one_at_a_time = threading.Lock()


def _imagery(job: MosaicJob) -> Imagery:
    """This process's Imagery for a job; two threads that ask at once get the same."""
    with _one_at_a_time:
        return _cached_imagery(job)


@dataclass
class ClusterImagery:
    """``Imagery`` whose mosaics are made by the workers of a dask scheduler."""

    cloud: Cloud
    settings: StepSettings
    client: Any
    """A distributed.Client."""
    _counts: dict[str, _Counts] = field(default_factory=dict)
    """By worker process; each tells the sum so far."""

    def __post_init__(self) -> None:
        self._job = MosaicJob.new(self.cloud, self.settings)

    @property
    def threads(self) -> int:
        """Mosaics that the workers make at a time, at least 1."""
        threads: dict[str, int] = self.client.nthreads()
        return max(1, sum(threads.values()))

    @property
    def bytes_read(self) -> int:
        """Bytes received by all workers."""
        return sum(counts.bytes_read for counts in self._counts.values())

    @property
    def requests(self) -> int:
        """Range requests sent by all workers."""
        return sum(counts.requests for counts in self._counts.values())

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, of all workers together."""
        total: dict[str, float] = {}
        for counts in self._counts.values():
            for phase, value in counts.seconds.items():
                total[phase] = total.get(phase, 0.0) + value
        return total

    def mosaic(self, scenes: Sequence[Scene], geobox: GeoBox) -> NDArray[np.uint16]:
        """``Imagery.mosaic`` on some worker; returns when it is done.

        Raises:
            UnavailableError: the cluster lost it.
            DataError, CredentialsError: as ``Imagery.mosaic``.
        """
        from concurrent.futures import CancelledError

        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        future = self.client.submit(self._job.counted_mosaic, tuple(scenes), geobox, pure=False)
        try:
            image, worker, counts = future.result()
        except (KilledWorker, FutureCancelledError, CancelledError, OSError) as error:
            raise UnavailableError(
                f"the dask scheduler lost the work: {error}",
                next_step="look at its workers, then run the same command again",
            ) from error
        known = self._counts.get(worker)
        # several answers of one worker may arrive out of order
        if known is None or counts.requests >= known.requests:
            self._counts[worker] = counts
        return image  # type: ignore[no-any-return]

    def close(self) -> None:
        """The client belongs to whoever made it."""
