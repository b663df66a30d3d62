"""A region's images as one lazy array (time, y, x): what ``open_region`` returns and a child computes.

Every chunk is one task that needs nothing but itself: ``Imagery.mosaic`` of one acquisition on its own part
of the grid. All that travels can be pickled; nothing is opened before a task runs, and a process that runs
tasks keeps one ``Imagery`` for each job, so that its connections are used again.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import UsageError
from glacierflow.host import memory_budget_mb
from glacierflow.imagery.budget import most_kept_mb
from glacierflow.imagery.cache import Shared
from glacierflow.imagery.grid import Chunks
from glacierflow.imagery.lattice import CELL
from glacierflow.imagery.mosaic import Imagery
from glacierflow.search import items
from glacierflow.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from numpy.typing import NDArray

    from glacierflow.cloud import Cloud
    from glacierflow.model.records import Acquisition, LeftOut, Note, Region, Scene, StepSettings, Unit


_LONG_NAME = {"sentinel2": "Sentinel-2 band 8 (near infrared)", "landsat": "Landsat panchromatic band"}
_JOBS = 4
"""Jobs of others whose ``Imagery`` a worker process keeps."""


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

    def serve(self, imagery: Imagery) -> None:
        """Have this process's tasks use this engine, until ``withdraw``."""
        with _lock:
            _served[self.token] = imagery

    def withdraw(self) -> None:
        """The end of ``serve``."""
        with _lock:
            _served.pop(self.token, None)

    @property
    def imagery(self) -> Imagery:
        """This process's engine for the job; two threads that ask at once get the same."""
        with _lock:
            return _served.get(self.token) or _opened(self)


_lock = threading.Lock()
_served: dict[str, Imagery] = {}


@functools.lru_cache(maxsize=_JOBS)
def _opened(job: MosaicJob) -> Imagery:
    room = most_kept_mb(memory_budget_mb(job.settings.memory_mb))
    return Imagery(job.cloud, job.settings, shared=Shared(chunk_room=room * 1e6))


def square_chunks(shape: tuple[int, int], side: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes along y and x of chunks of a size asked for, rounded up to whole cells of the lattice.

    Raises:
        UsageError: it is not a number of pixels.
    """
    if side < 1:
        raise UsageError(f"chunks = {side} is not a number of pixels", next_step="write e.g. chunks=2048")
    step = math.ceil(side / CELL) * CELL
    rows, cols = (tuple(min(step, size - start) for start in range(0, size, step)) for size in shape)
    return rows, cols


def lazy_region(
    unit: Unit,
    region: Region,
    acquisitions: Sequence[Acquisition],
    job: MosaicJob,
    chunks: Chunks,
    *,
    left_out: Iterable[LeftOut] = (),
    notes: Iterable[Note] = (),
) -> xr.DataArray:
    """The images of a unit, none of them read yet.

    Args:
        unit: what was searched for.
        region: where.
        acquisitions: what the images are made of, one each, in order of time.
        job: makes them.
        chunks: the region's grid, and its parts.
        left_out: what is not among them, and why.
        notes: about the whole.

    Returns:
        (time, y, x) uint16, 0 where nothing is valid; a dask array with one task a chunk.
    """
    import xarray as xr
    from odc.geo.xr import xr_coords

    data = lazy_mosaics(job, [acquisition.scenes for acquisition in acquisitions], chunks)
    coords: dict[Any, Any] = _coordinates(acquisitions) | dict(xr_coords(chunks.geobox))
    attributes = {
        "long_name": f"{_LONG_NAME[unit.satellite]}, digital numbers",
        "units": "1",
        "nodata": 0,
        "_FillValue": np.uint16(0),
        "region": region.name,
        "satellite": unit.satellite,
        "resampling": job.settings.resampling,
        "left_out": json.dumps([entry.model_dump() for entry in left_out]),
        "notes": json.dumps([note.model_dump() for note in notes]),
        "attribution": "; ".join(sorted({items.attribution(a) for a in acquisitions})),
        "glacierflow_version": __version__,
    }
    array = xr.DataArray(data, coords, ("time", "y", "x"), region.name, attributes)
    array.encoding["grid_mapping"] = "spatial_ref"
    for axis in ("y", "x"):
        array[axis].attrs |= {"standard_name": f"projection_{axis}_coordinate", "units": "m"}
    return array


def lazy_mosaics(job: MosaicJob, images: Sequence[Sequence[Scene]], chunks: Chunks) -> Any:  # noqa: ANN401
    """A dask array (image, row, column) of mosaics, each of its own scenes.

    Args:
        job: makes them.
        images: the scenes of each, in merge order.
        chunks: the grid of all, and its parts.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    if not images:
        return da.zeros((0, *chunks.geobox.shape), np.uint16, chunks=((0,), chunks.rows, chunks.cols))
    name = f"glacierflow-{job.token}"
    slim = [_slim(scenes) for scenes in images]
    tasks: dict[Any, Any] = {
        # a task without arguments: dask looks for names of other tasks in those, scene by scene
        (name, number, i, j): (functools.partial(_make, job, scenes, chunks, i, j),)
        for number, scenes in enumerate(slim)
        for i in range(len(chunks.rows))
        for j in range(len(chunks.cols))
    }
    return da.Array(
        HighLevelGraph.from_collections(name, tasks),
        name,
        ((1,) * len(images), chunks.rows, chunks.cols),
        meta=np.empty((0, 0, 0), np.uint16),
    )


def _make(job: MosaicJob, scenes: tuple[Scene, ...], chunks: Chunks, i: int, j: int) -> NDArray[np.uint16]:
    """One chunk, of one acquisition."""
    return job.imagery.mosaic(scenes, chunks.part(i, j), chunks)[np.newaxis]


def each_chunk(
    data: Any,  # noqa: ANN401
    what: Callable[..., Any],
    *,
    tops: Sequence[int] | None = None,
    **more: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """What a function says of each chunk, as a dask array with one element a chunk.

    It is computed where the chunk is, which need not travel for it.

    Args:
        data: a dask array of three dimensions.
        what: called with the pixels of a chunk (rows, columns).
        tops: the number of each chunk's first row, by its place along y; where given, the function gets it
            as ``top``.
        **more: passed to the function.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    name = f"{what.__name__}-{uuid.uuid4().hex}"
    # written out: dask's own way of mapping makes a further task for the place of each chunk
    tasks: dict[Any, Any] = {
        (name, *place): (_element, (data.name, *place), functools.partial(what, **_top(tops, place), **more))
        for place in np.ndindex(*data.numblocks)
    }
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[data])
    ones = tuple((1,) * number for number in data.numblocks)
    return da.Array(graph, name, ones, meta=np.empty((0, 0, 0), object))


def _top(tops: Sequence[int] | None, place: tuple[int, ...]) -> dict[str, int]:
    return {} if tops is None else {"top": tops[place[1]]}


def _element(chunk: NDArray[Any], what: Callable[[NDArray[Any]], Any]) -> NDArray[Any]:
    answer = np.empty((1, 1, 1), object)
    answer[0, 0, 0] = what(chunk[0])
    return answer


def _slim(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Without what only the search needed: tasks travel to workers."""
    return tuple(
        scene.model_copy(update={"properties": {}, "footprint": {"type": "Polygon", "coordinates": []}})
        for scene in scenes
    )


def _coordinates(acquisitions: Sequence[Acquisition]) -> dict[str, Any]:
    """What is known of each acquisition, along time."""
    times = [np.datetime64(a.datetime.replace(tzinfo=None), "ns") for a in acquisitions]
    views = [items.view_of(acquisition) for acquisition in acquisitions]
    names = sorted({name for view in views for name in view})
    coords: dict[str, Any] = {
        "time": ("time", np.array(times, "datetime64[ns]"), {"standard_name": "time", "long_name": "UTC"}),
        "stem": ("time", [a.stem for a in acquisitions]),
        "item_ids": ("time", [" ".join(scene.item_id for scene in a.scenes) for a in acquisitions]),
        "platform": ("time", [a.platform for a in acquisitions]),
    }
    baselines = [" ".join(scene.baseline or "" for scene in a.scenes).strip() for a in acquisitions]
    if any(baselines):
        coords["s2:processing_baseline"] = ("time", baselines)
    for name in names:
        values = [view.get(name) for view in views]
        is_text = any(isinstance(value, str) for value in values)
        missing: Any = "" if is_text else np.nan
        coords[name] = ("time", [missing if value is None else value for value in values])
    return coords
