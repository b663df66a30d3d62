"""A region's images as one lazy array, for a notebook or any dask cluster."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from glacierflow import __version__, lineage
from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.grid import geobox_of
from glacierflow.imagery.access import require_paid_access
from glacierflow.imagery.lattice import CELL
from glacierflow.model import SATELLITES, Acquisition, Region, Satellite, StepSettings, Unit
from glacierflow.regions import load_catalogue
from glacierflow.search import Found, search_unit
from glacierflow.workers import MosaicJob

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.model import Scene

__all__ = ["open_region"]

_LARGEST_CHUNK = 4096
"""Pixels on a side: most regions are one chunk an acquisition, and no block of a source is read twice."""
_LONG_NAME = {"sentinel2": "Sentinel-2 band 8 (near infrared)", "landsat": "Landsat panchromatic band"}

Day = dt.date | str


def open_region(
    region: str | Region,
    satellite: Satellite = "sentinel2",
    date1: Day | tuple[Day, Day] | None = None,
    date2: Day | None = None,
    *,
    dates: tuple[Day, Day] | None = None,
    regions_file: str | Path | None = None,
    chunks: int | None = None,
    cloud: Cloud | None = None,
    **settings: Any,  # noqa: ANN401 - any field of StepSettings
) -> xr.DataArray:
    """The images of a region as a dask array (time, y, x): searched now, read when computed.

    Pixels are those of the products that ``glacierflow run`` writes: digital numbers of the archive (uint16,
    0 is nodata) on the region's grid in EPSG:3413. Acquisitions that cover little of the region are there
    too, because that is known only once they are read.

    Args:
        region: a name of the catalogue, such as ``134_Arsuk``, or a Region.
        satellite: ``sentinel2`` (10 m) or ``landsat`` (15 m).
        date1: first day, a date or ``YYYY-MM-DD``; or both days as a pair.
        date2: last day, included; ``date1`` where it is left out.
        dates: both days, instead of ``date1`` and ``date2``.
        regions_file: another catalogue.
        chunks: pixels on a side of one dask chunk, rounded up to a multiple of 64; by default a whole
            acquisition is one, up to 4096 pixels. Small chunks read blocks at their borders more than once.
        cloud: where AWS credentials for requester-pays images come from.
        **settings: any of ``StepSettings``, e.g. ``resampling="nearest"`` or ``sentinel2_stac_url="..."``.

    Returns:
        A DataArray named after the region, with ``spatial_ref`` for odc-geo and rioxarray, and for each
        acquisition its time, stem, item ids, platform, processing baseline, cloud cover, orbit and sun. What
        the search left out, and why, is JSON in ``attrs["left_out"]``; ``attrs["notes"]`` is about the whole.

    Raises:
        UsageError: a name, day or setting is not accepted.
        CredentialsError: Landsat needs credentials, and there are none, or its bucket refuses them.
        UnavailableError, DataError: the search failed.
    """
    import xarray as xr
    from odc.geo.xr import xr_coords

    chosen, made = _region(region, regions_file), _settings(settings)
    unit = _unit(chosen, satellite, date1, date2, dates)
    geobox = geobox_of(chosen, satellite)
    places = _Places(*(_pieces(size, chunks) for size in geobox.shape))
    cloud = cloud or Cloud()
    if satellite == "landsat":
        require_paid_access(cloud, made)
    found = search_unit(unit, chosen, made)
    data = _lazy(found.acquisitions, geobox, MosaicJob.new(cloud, made), places)
    coords: dict[Any, Any] = _coordinates(found.acquisitions) | dict(xr_coords(geobox))
    array = xr.DataArray(
        data, coords, ("time", "y", "x"), chosen.name, _attributes(chosen, unit, made, found)
    )
    array.encoding["grid_mapping"] = "spatial_ref"
    for axis in ("y", "x"):
        array[axis].attrs |= {"standard_name": f"projection_{axis}_coordinate", "units": "m"}
    return array


def _region(region: str | Region, regions_file: str | Path | None) -> Region:
    if isinstance(region, Region):
        return region
    catalogue = load_catalogue(None if regions_file is None else Path(regions_file))
    (found,) = catalogue.select([region], None).regions
    return found


def _settings(given: dict[str, Any]) -> StepSettings:
    try:
        return StepSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        accepted = ", ".join(sorted(StepSettings.model_fields))
        raise UsageError(
            f"{name} = {first['input']} is not accepted: {first['msg']}", next_step=f"settings are {accepted}"
        ) from error


def _unit(
    region: Region,
    satellite: Satellite,
    date1: Day | tuple[Day, Day] | None,
    date2: Day | None,
    dates: tuple[Day, Day] | None,
) -> Unit:
    if satellite not in SATELLITES:
        raise UsageError(f"satellite = {satellite} is not known", next_step="write sentinel2 or landsat")
    pair = date1 if isinstance(date1, tuple) else dates
    if pair is not None and sum(given is not None for given in (date1, date2, dates)) > 1:
        raise UsageError("dates and date1, date2 say the same", next_step="leave one out")
    if isinstance(date1, tuple):
        date1, date2 = date1
    elif dates is not None:
        date1, date2 = dates
    if date1 is None:
        raise UsageError("no date is given", next_step='write e.g. date1="2024-07-01", date2="2024-07-31"')
    first, last = _day(date1), _day(date1 if date2 is None else date2)
    if last < first:
        raise UsageError(f"date2 = {last} is before date1 = {first}", next_step="write the earlier one first")
    return Unit(satellite=satellite, region=region.name, date1=first, date2=last)


def _day(day: Day) -> dt.date:
    if isinstance(day, dt.datetime):
        return day.date()
    if isinstance(day, dt.date):
        return day
    try:
        return dt.date.fromisoformat(day)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{day} is not a day", next_step="write YYYY-MM-DD") from error


def _lazy(acquisitions: Sequence[Acquisition], geobox: GeoBox, job: MosaicJob, places: _Places) -> Any:  # noqa: ANN401
    """One task a chunk, none of which needs another's result."""
    import dask.array as da

    if not acquisitions:
        return da.zeros((0, *geobox.shape), np.uint16, chunks=((0,), places.rows, places.cols))
    return da.map_blocks(
        _compute,
        chunks=((1,) * len(acquisitions), places.rows, places.cols),
        dtype=np.uint16,
        meta=np.empty((0, 0, 0), np.uint16),
        name=f"glacierflow-{job.token}",
        job=job,
        scenes=tuple(_slim(acquisition.scenes) for acquisition in acquisitions),
        geobox=geobox,
        places=places,
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Sizes of the chunks along y and x, pixels."""

    rows: tuple[int, ...]
    cols: tuple[int, ...]

    def part_of(self, geobox: GeoBox, i: int, j: int) -> GeoBox:
        """The grid of one chunk."""
        top, left = sum(self.rows[:i]), sum(self.cols[:j])
        return geobox[top : top + self.rows[i], left : left + self.cols[j]]


def _compute(
    block_id: tuple[int, int, int],
    job: MosaicJob,
    scenes: tuple[tuple[Scene, ...], ...],
    geobox: GeoBox,
    places: _Places,
) -> NDArray[np.uint16]:
    """One chunk, of one acquisition."""
    number, i, j = block_id
    return job.mosaic(scenes[number], places.part_of(geobox, i, j))[np.newaxis]


def _pieces(size: int, chunk: int | None) -> tuple[int, ...]:
    """Sizes of the chunks along one axis: of the size asked for, else of nearly equal ones."""
    if chunk is None:
        chunk = math.ceil(size / math.ceil(size / _LARGEST_CHUNK))
    elif chunk < 1:
        raise UsageError(f"chunks = {chunk} is not a number of pixels", next_step="write e.g. chunks=2048")
    # whole cells of the lattice, so that no two chunks compute the same one
    step = math.ceil(chunk / CELL) * CELL
    return tuple(min(step, size - start) for start in range(0, size, step))


def _slim(scenes: Iterable[Scene]) -> tuple[Scene, ...]:
    """Without what only the search needed: the graph travels to every worker."""
    return tuple(
        scene.model_copy(update={"properties": {}, "footprint": {"type": "Polygon", "coordinates": []}})
        for scene in scenes
    )


def _coordinates(acquisitions: Sequence[Acquisition]) -> dict[str, Any]:
    """What is known of each acquisition, along time."""
    times = [np.datetime64(a.datetime.replace(tzinfo=None), "ns") for a in acquisitions]
    views = [lineage.view_of(acquisition) for acquisition in acquisitions]
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


def _attributes(region: Region, unit: Unit, settings: StepSettings, found: Found) -> dict[str, Any]:
    return {
        "long_name": f"{_LONG_NAME[unit.satellite]}, digital numbers",
        "units": "1",
        "nodata": 0,
        "_FillValue": np.uint16(0),
        "region": region.name,
        "satellite": unit.satellite,
        "resampling": settings.resampling,
        "left_out": json.dumps([entry.model_dump() for entry in found.left_out]),
        "notes": json.dumps([note.model_dump() for note in found.notes]),
        "attribution": "; ".join(sorted({lineage.attribution(a) for a in found.acquisitions})),
        "glacierflow_version": __version__,
    }
