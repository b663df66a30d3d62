"""One pair's velocities as a CF NetCDF file, a COG of speed, a picture and a STAC item."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.model.records import CRS
from glacierflow.products.cog import file_sha256
from glacierflow.velocity.track import Flag, Posting, Shifts, Tracking
from glacierflow.velocity.units import DAYS_PER_YEAR, Metres
from glacierflow.version import __version__

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray

    from glacierflow.velocity.ground import Ground
    from glacierflow.velocity.pairs import Pair

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SHARES = 100
"""Steps of a correlation in a byte; CF-1.8 has no unsigned ones."""
_EMPTY = -1
_COMPONENTS = {
    "vx": ("land_ice_surface_x_velocity", "velocity along x of the map"),
    "vy": ("land_ice_surface_y_velocity", "velocity along y of the map"),
}


@dataclass(frozen=True, slots=True)
class Velocity:
    """All that a granule tells; arrays of (node rows, node columns)."""

    pair: Pair
    transform: Affine
    """Of the nodes' cells, EPSG:3413."""
    posting: Posting
    shifts: Shifts
    vx: NDArray[np.float64]
    """Metres a year after the shift by stable ground; NaN where the flag says why."""
    vy: NDArray[np.float64]
    ground: Ground
    scale: NDArray[np.float64]
    pixel_m: float
    metres: Metres
    settings: Tracking
    max_speed_m_day: float
    mask: str | None
    """Name of the file that told rock and water."""
    production: str
    """Hash of all that decides it."""

    @property
    def v(self) -> NDArray[np.float64]:
        """Speed, m/yr."""
        return np.asarray(np.hypot(self.vx, self.vy), np.float64)

    @property
    def v_error(self) -> NDArray[np.float64]:
        """One standard deviation of the speed, m/yr, by propagation."""
        along = np.hypot(self.vx * self.ground.x.error, self.vy * self.ground.y.error)
        return np.asarray(along / np.where(self.v > 0, self.v, np.nan), np.float64)

    @property
    def x(self) -> NDArray[np.float64]:
        """Node columns, metres."""
        return np.asarray(
            self.transform.c + (np.arange(self.posting.cols) + 0.5) * self.transform.a, np.float64
        )

    @property
    def y(self) -> NDArray[np.float64]:
        """Node rows, metres."""
        return np.asarray(
            self.transform.f + (np.arange(self.posting.rows) + 0.5) * self.transform.e, np.float64
        )

    @property
    def midpoint(self) -> dt.datetime:
        """Between the two acquisitions."""
        one, two = self.pair.reference.datetime, self.pair.secondary.datetime
        return one + (two - one) / 2


def write_netcdf(path: Path, made: Velocity, *, created: dt.datetime) -> None:
    """Write a granule; equal bytes for equal values but for ``date_created``.

    Args:
        path: file to write.
        made: what it tells.
        created: for ``date_created``.
    """
    import netCDF4

    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.setncatts(_global_attributes(made, created))
        for name, size in (("time", 1), ("y", made.posting.rows), ("x", made.posting.cols), ("nv", 2)):
            file.createDimension(name, size)
        _write_axes(file, made)
        for name, values in (("vx", made.vx), ("vy", made.vy)):
            facts = made.ground.x if name == "vx" else made.ground.y
            standard, said = _COMPONENTS[name]
            told = {key: value for key, value in facts.model_dump().items() if value is not None}
            counts = made.ground.model_dump(exclude={"x", "y"})
            _tenths(file, name, values, {"standard_name": standard, "long_name": said, **told, **counts})
        _tenths(file, "v", made.v, {"long_name": "speed"})
        _tenths(file, "v_error", made.v_error, {"long_name": "one standard deviation of the speed"})
        _write_quality(file, made)


def _write_axes(file: Any, made: Velocity) -> None:  # noqa: ANN401 - netCDF4 is untyped
    import pyproj

    crs = file.createVariable("crs", "i4")
    grid = made.transform
    crs.setncatts(pyproj.CRS(CRS).to_cf())
    # PROJ defines the pole by the standard parallel; CF asks for it by name
    crs.latitude_of_projection_origin = 90.0
    crs.GeoTransform = f"{grid.c} {grid.a} 0 {grid.f} 0 {grid.e}"
    for name, values in (("x", made.x), ("y", made.y)):
        axis = file.createVariable(name, "f8", (name,))
        axis.setncatts(
            {
                "standard_name": f"projection_{name}_coordinate",
                "long_name": f"{name} of cell centres",
                "units": "m",
                "axis": name.upper(),
            }
        )
        axis[:] = values
    time = file.createVariable("time", "f8", ("time",))
    time.setncatts(
        {
            "standard_name": "time",
            "long_name": "midpoint of the two acquisitions",
            "units": "days since 1970-01-01T00:00:00Z",
            "calendar": "proleptic_gregorian",
            "axis": "T",
            "bounds": "time_bnds",
        }
    )
    time[:] = _days(made.midpoint)
    bounds = file.createVariable("time_bnds", "f8", ("time", "nv"))
    bounds[0, :] = [_days(clip.datetime) for clip in (made.pair.reference, made.pair.secondary)]


def _days(moment: dt.datetime) -> float:
    return (moment - _EPOCH).total_seconds() / 86_400


def _variable(file: Any, name: str, kind: str, fill: Any, attributes: dict[str, Any]) -> Any:  # noqa: ANN401
    variable = file.createVariable(
        name, kind, ("time", "y", "x"), zlib=True, complevel=4, shuffle=True, fill_value=fill
    )
    variable.setncatts({**attributes, "grid_mapping": "crs"})
    variable.set_auto_maskandscale(False)
    return variable


def _tenths(file: Any, name: str, values: NDArray[np.float64], attributes: dict[str, Any]) -> None:  # noqa: ANN401
    """A velocity as float32 in tenths of a metre a year: more digits are noise, and do not compress."""
    variable = _variable(file, name, "f4", np.float32(np.nan), {"units": "m yr-1", **attributes})
    variable[0] = np.round(values, 1).astype(np.float32)


def _write_quality(file: Any, made: Velocity) -> None:  # noqa: ANN401 - netCDF4 is untyped
    shifts = made.shifts
    for name, values, said in (
        ("correlation", shifts.correlation, "correlation of the two chips at the shift"),
        ("peak_ratio", shifts.peak_ratio, "second highest peak of the correlation over the highest"),
    ):
        variable = _variable(
            file,
            name,
            "i1",
            np.int8(_EMPTY),
            {"long_name": said, "units": "1", "scale_factor": np.float32(1 / _SHARES)},
        )
        steps = np.clip(np.rint(np.nan_to_num(values) * _SHARES), 0, _SHARES)
        variable[0] = np.where(np.isfinite(values), steps, _EMPTY).astype(np.int8)
    chip = _variable(file, "chip_size", "i2", np.int16(0), {"long_name": "side of the chip", "units": "m"})
    chip[0] = np.rint(shifts.chip * made.pixel_m).astype(np.int16)
    flag = _variable(
        file,
        "flag",
        "i1",
        None,
        {
            "long_name": "why a node has a velocity, or none",
            "standard_name": "quality_flag",
            "flag_values": np.array([int(one) for one in Flag], np.int8),
            "flag_meanings": " ".join(one.name.lower() for one in Flag),
            "comment": unused_flags(made),
        },
    )
    flag[0] = shifts.flag.astype(np.int8)
    scale = file.createVariable("map_scale", "f4", ("y", "x"), zlib=True, complevel=4, shuffle=True)
    scale.setncatts(
        {"long_name": "metres of EPSG:3413 a metre on the ground", "units": "1", "grid_mapping": "crs"}
    )
    scale[:] = made.scale.astype(np.float32)


def unused_flags(made: Velocity) -> str:
    """Which flags cannot occur, and why."""
    cloud = "No classification of clouds was read, so cloud does not occur"
    if made.mask is None:
        return f"{cloud}. No mask was given, so water and rock do not occur."
    return f"{cloud}. Water and rock are those of {made.mask}."


def _global_attributes(made: Velocity, created: dt.datetime) -> dict[str, Any]:
    one, two = made.pair.reference, made.pair.secondary
    clips = {"1": one, "2": two}
    attributes = {
        "Conventions": "CF-1.8",
        "title": f"Surface velocity of {one.region}, {one.datetime:%Y-%m-%d} to {two.datetime:%Y-%m-%d}",
        "institution": "made by a user of glacierflow",
        "source": f"glacierflow {__version__}, from clips of {one.platform} and {two.platform}",
        "history": f"{created:%Y-%m-%dT%H:%M:%SZ} glacierflow velocity run",
        "references": "glacierflow docs/how-to/velocity.md",
        "date_created": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "region": one.region,
        "orbit": one.orbit,
        "date_dt": made.pair.days,
        "days_per_year": DAYS_PER_YEAR,
        "velocity_metres": made.metres,
        "resampling": one.resampling,
        "max_speed_metres_per_day": made.max_speed_m_day,
        "tracking": made.settings.model_dump_json(),
        "stable_ground": _ground_words(made),
        "production": made.production,
    }
    if one.resampling == "nearest":
        attributes["comment"] = (
            "The clips were resampled by nearest neighbour: velocities may be off by half a pixel over the "
            "time between the images, which stable ground does not show."
        )
    for number, clip in clips.items():
        attributes |= {
            f"id_img{number}": ", ".join(clip.items) or clip.stem,
            f"clip_img{number}": clip.key,
            f"clip_production_img{number}": clip.production or "made by another program",
            f"acquisition_date_img{number}": f"{clip.datetime:%Y-%m-%dT%H:%M:%SZ}",
            f"satellite_img{number}": clip.platform,
            f"baseline_img{number}": clip.baseline or "not told",
        }
    return attributes


def _ground_words(made: Velocity) -> str:
    ground = made.ground
    return (
        "not shifted: too few nodes; the error is modelled",
        f"shifted by the median of {ground.stable_count_stationary} nodes on rock of {made.mask}",
        f"shifted by the median of the slowest quarter, {ground.stable_count_slow} nodes, which may be ice",
    )[ground.stable_shift_flag]


def write_speed(path: Path, made: Velocity) -> None:
    """Speed as a Cloud-Optimized GeoTIFF, float32, m/yr, NaN where there is none."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession
    from rasterio.shutil import copy

    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "height": made.posting.rows,
        "width": made.posting.cols,
        "crs": CRS,
        "transform": made.transform,
        "nodata": float("nan"),
    }
    with rasterio.Env(session=DummySession()), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(np.round(made.v, 1).astype(np.float32), 1)
            target.update_tags(units="m yr-1", velocity_metres=made.metres, production=made.production)
        copy(memory.name, str(path), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", OVERVIEWS="NONE")


def make_item(made: Velocity, stem: str, files: dict[str, Path], sources: list[str]) -> dict[str, Any]:
    """The STAC item of a granule, with both of its sources.

    Args:
        made: what it tells.
        stem: of its file names.
        files: the files beside it, by their endings.
        sources: where the STAC items of the two clips are.
    """
    from pyproj import Transformer

    cols, rows = made.posting.cols, made.posting.rows
    ring = [made.transform @ corner for corner in ((0, rows), (cols, rows), (cols, 0), (0, 0), (0, rows))]
    transform = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform
    outline = [[round(value, 6) for value in transform(*point)] for point in ring]
    longitudes, latitudes = zip(*outline, strict=True)
    clips, stamp = (made.pair.reference, made.pair.secondary), "%Y-%m-%dT%H:%M:%SZ"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
        "id": stem,
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "bbox": [min(longitudes), min(latitudes), max(longitudes), max(latitudes)],
        "properties": {
            "datetime": f"{made.midpoint:{stamp}}",
            "start_datetime": f"{clips[0].datetime:{stamp}}",
            "end_datetime": f"{clips[1].datetime:{stamp}}",
            "proj:code": CRS,
            "proj:shape": [made.posting.rows, made.posting.cols],
            "proj:transform": list(made.transform)[:6],
            "glacierflow:region": clips[0].region,
            "glacierflow:production": made.production,
            "glacierflow:days": round(made.pair.days, 6),
            "glacierflow:velocity_metres": made.metres,
            "glacierflow:stable_ground": made.ground.model_dump(mode="json"),
            "glacierflow:measured": round(float((made.shifts.chip > 0).mean()), 6),
            "glacierflow:clips": [clip.key for clip in clips],
        },
        "assets": {
            name: {
                "href": f"./{stem}{ending}",
                "type": media,
                "roles": roles,
                "file:size": files[ending].stat().st_size,
                "file:checksum": f"1220{file_sha256(files[ending])}",
            }
            for ending, (name, media, roles) in ENDINGS.items()
        },
        "links": [{"rel": "derived_from", "href": href, "type": "application/geo+json"} for href in sources],
    }


ENDINGS: dict[str, tuple[str, str, list[str]]] = {
    ".nc": ("velocity", "application/netcdf", ["data"]),
    "_v.tif": ("speed", "image/tiff; application=geotiff; profile=cloud-optimized", ["data"]),
    ".png": ("picture", "image/png", ["thumbnail"]),
}
"""What lies beside a granule's STAC item, by the ending of its name."""
