"""A region's images as one lazy array, for a notebook or any dask cluster."""

from __future__ import annotations

import datetime as dt
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError, UsageError
from glacierflow.imagery.compute import Computer
from glacierflow.imagery.lazy import square_chunks
from glacierflow.imagery.mosaic import require_paid_access
from glacierflow.model.records import SATELLITES, LeftOut, Note, Region, Satellite, StepSettings, Unit
from glacierflow.regions import load_catalogue
from glacierflow.search import items
from glacierflow.search.acquisitions import search_unit
from glacierflow.step.images import UnitImages, all_left_out, least_coverage, why_cloudy, why_uncovered

if TYPE_CHECKING:
    import xarray as xr


_OF_FILES = {"folder_structure", "base_path", "keep_downloads", "quicklooks", "overviews", "reprocess"}
"""Settings about what is written and where; an array has no such thing."""

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

    Images and pixels are those of the products that ``glacierflow run`` writes with the same settings:
    digital numbers of the archive (uint16, 0 is nodata) on the region's grid in EPSG:3413. What a threshold
    leaves out must be known before: by default dask reads every Sentinel-2 image once for its coverage, and
    again when it is computed. With ``sentinel2_min_coverage=0`` nothing is read before, and an image without
    a single valid pixel stays, which ``run`` leaves out; so it is for Landsat, which has no such threshold.

    Args:
        region: a name of the catalogue, such as ``134_Arsuk``, or a Region.
        satellite: ``sentinel2`` (10 m) or ``landsat`` (15 m).
        date1: first day, a date or ``YYYY-MM-DD``; or both days as a pair.
        date2: last day, included; ``date1`` where it is left out.
        dates: both days, instead of ``date1`` and ``date2``.
        regions_file: another catalogue.
        chunks: pixels on a side of one dask chunk, rounded up to a multiple of 64; by default a whole
            acquisition is one, or as many rows as ``memory_mb`` has room for. A chunk of a later computation
            reads blocks at its borders again.
        cloud: where AWS credentials for requester-pays images come from.
        **settings: of ``StepSettings``, e.g. ``resampling="nearest"`` or ``max_region_cloud=0.2``; not those
            that are about files.

    Returns:
        A DataArray named after the region, with ``spatial_ref`` for odc-geo and rioxarray, and for each
        acquisition its time, stem, item ids, platform, processing baseline, cloud cover, orbit and sun, and
        ``coverage`` and ``region_cloud`` (0..1) where they had to be known. What was left out, and why, is
        JSON in ``attrs["left_out"]``; ``attrs["notes"]`` is about the whole.

    Raises:
        UsageError: a name, day or setting is not accepted.
        CredentialsError: Landsat needs credentials, and there are none, or its bucket refuses them.
        UnavailableError, DataError: the search failed, or what a threshold needs could not be read now.
    """
    chosen, made = _region(region, regions_file), _settings(settings)
    unit = _unit(chosen, satellite, date1, date2, dates)
    if chunks is not None:
        square_chunks((1, 1), chunks)
    cloud = cloud or Cloud()
    if satellite == "landsat":
        require_paid_access(cloud, made)
    found = search_unit(unit, chosen, made)
    images = UnitImages(
        unit, chosen, made, cloud, found, Computer(configured=True), lasting=True, side=chunks
    )
    return _as_run_has_them(images)


def _as_run_has_them(images: UnitImages) -> xr.DataArray:
    """The array without the images that ``glacierflow run`` would leave out, for the same reasons."""
    found, least = images.found, least_coverage(images.unit, images.settings)
    array = images.array
    if not found.acquisitions or not (images.measures_cloud or least):
        return array
    with ThreadPoolExecutor(images.in_hand, thread_name_prefix="look") as pool:
        looked = list(pool.map(functools.partial(_look, images, least), range(len(found.acquisitions))))
    stay = [number for number, one in enumerate(looked) if not one.left_out]
    array = array.isel(time=stay)
    for name, values in (
        ("coverage", [one.coverage for one in looked]),
        ("region_cloud", [one.cloud for one in looked]),
    ):
        if any(value is not None for value in values):
            known = [np.nan if values[number] is None else values[number] for number in stay]
            array = array.assign_coords({name: ("time", np.array(known, np.float64))})
    left_out = [*found.left_out, *(entry for one in looked for entry in one.left_out)]
    notes = [*found.notes, *(note for one in looked for note in one.notes)]
    array.attrs["left_out"] = json.dumps([entry.model_dump() for entry in left_out])
    array.attrs["notes"] = json.dumps([note.model_dump() for note in notes])
    kept = [found.acquisitions[number] for number in stay]
    array.attrs["attribution"] = "; ".join(sorted({items.attribution(a) for a in kept}))
    return array


@dataclass
class _Looked:
    """What had to be known of an image before it could be offered."""

    cloud: float | None = None
    coverage: float | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[Note, ...] = ()


def _look(images: UnitImages, least: float, number: int) -> _Looked:
    """Cloud and coverage of an image, as far as a threshold or the user asks for them.

    Raises:
        UnavailableError, CredentialsError: it could not be read now.
    """
    acquisition, looked = images.found.acquisitions[number], _Looked()
    if images.measures_cloud:
        looked.cloud, looked.notes = images.cloud_or_note(number)
        looked.left_out = why_cloudy(acquisition, looked.cloud, images.settings)
    if least and not looked.left_out:
        try:
            looked.coverage = images.coverage(number)
        except DataError as error:
            looked.left_out = all_left_out(acquisition, "unreadable", error.message)
        else:
            looked.left_out = why_uncovered(acquisition, looked.coverage, least)
    return looked


def _region(region: str | Region, regions_file: str | Path | None) -> Region:
    if isinstance(region, Region):
        return region
    catalogue = load_catalogue(None if regions_file is None else Path(regions_file))
    (found,) = catalogue.select([region], None).regions
    return found


def _settings(given: dict[str, Any]) -> StepSettings:
    for name in sorted(given.keys() & _OF_FILES):
        raise UsageError(
            f"{name} = {given[name]} is about files, and an array has none",
            next_step=f"leave {name} out; glacierflow run takes it",
        )
    try:
        return StepSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        accepted = ", ".join(sorted(StepSettings.model_fields.keys() - _OF_FILES))
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
