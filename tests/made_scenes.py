"""Made-up scenes on the true grids of the real ones, for a checkout that has no real scenes beside it.

Two images of a Sentinel-2 tile in UTM zone 33 and two Landsat scenes in zone 7, with items of the real shape
and the same names, so that every test of the real archive can run on them. The second image of a pair is the
first one moved by a known part of a pixel. The same bytes every time.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

__all__ = ["MOVED_PX", "REGIONS", "landsat_item", "made_archive", "sentinel2_item"]

MOVED_PX = {"sentinel2": (0.31, -0.17), "landsat": (-0.22, 0.36)}
"""(columns, rows) by which the second image of a pair shows the ground moved."""

_PERIOD = 768
"""Pixels after which the ground repeats, so that it can be moved exactly."""
_FILLED = 1536
"""Pixels on a side, around the region, that are not nodata."""
_BLOCK = 1024

REGIONS = """region,mgrs_tiles,xmin,ymin,xmax,ymax
901_Yahtse,07VDJ,-3282300,364500,-3276300,370500
902_Berlin,33UUU,3525300,-2236200,3534300,-2227200
"""
_MIDDLE = {"landsat": (-3279300, 367500), "sentinel2": (3529800, -2231700)}


@dataclass(frozen=True)
class _Grid:
    """Of a whole scene: as Copernicus and USGS cut it."""

    epsg: int
    left: float
    top: float
    pixel: int
    rows: int
    cols: int

    @property
    def transform(self) -> rasterio.Affine:
        return rasterio.Affine(self.pixel, 0, self.left, 0, -self.pixel, self.top)

    @property
    def outline(self) -> list[list[float]]:
        """Corners in longitude and latitude, closed."""
        right, bottom = self.left + self.cols * self.pixel, self.top - self.rows * self.pixel
        corners = [(right, bottom), (right, self.top), (self.left, self.top), (self.left, bottom)]
        to_degrees = Transformer.from_crs(self.epsg, 4326, always_xy=True).transform
        return [[round(value, 7) for value in to_degrees(*corner)] for corner in [*corners, corners[0]]]

    def projection(self) -> dict[str, Any]:
        return {"proj:shape": [self.rows, self.cols], "proj:transform": list(self.transform)[:6]}


_TILE = _Grid(32633, 300000, 5900040, 10, 10980, 10980)
_PATH_ROW = _Grid(32607, 336892.5, 6785707.5, 15, 16561, 16421)


@functools.cache
def made_archive() -> Path:
    """The archive, drawn once for a session; removed when Python ends."""
    # a plain function at the end, for a TemporaryDirectory object warns when it is cleaned up late
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="made-scenes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "regions.csv").write_text(REGIONS)
    for number, (day, orbit) in enumerate((("20160529", 4866), ("20160608", 5009))):
        item = sentinel2_item(day, orbit)
        place = folder / item["collection"] / item["id"]
        _draw(place / "B08.tif", "sentinel2", _TILE, number)
        (place / f"{item['id']}.json").write_text(json.dumps(item))
    for number, (day, of_year) in enumerate((("20160718", 200), ("20160803", 216))):
        item = landsat_item(day, of_year)
        place = folder / item["collection"] / item["id"]
        _draw(place / f"{item['id']}_B8.TIF", "landsat", _PATH_ROW, number)
        (place / f"{item['id']}.json").write_text(json.dumps(item))
    return folder


def _draw(path: Path, satellite: str, grid: _Grid, number: int) -> None:
    path.parent.mkdir(parents=True)
    east, north = Transformer.from_crs(3413, grid.epsg, always_xy=True).transform(*_MIDDLE[satellite])
    col, row = (int(value) - _FILLED // 2 for value in ~grid.transform @ (east, north))
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=1, height=grid.rows, width=grid.cols, nodata=0,
        crs=f"EPSG:{grid.epsg}", transform=grid.transform, compress="deflate", predictor=2, zlevel=1,
        tiled=True, blockxsize=_BLOCK, blockysize=_BLOCK, sparse_ok=True,
    ) as out:  # fmt: skip
        out.write(_ground(satellite, number), 1, window=Window(col, row, _FILLED, _FILLED))


def _ground(satellite: str, number: int) -> NDArray[np.uint16]:
    """Rough at every scale, like ice and rock, with a little noise that is each image's own."""
    seed = {"sentinel2": 2, "landsat": 8}[satellite]
    noise = np.random.default_rng(seed).normal(size=(_PERIOD, _PERIOD))
    rows, cols = np.meshgrid(np.fft.fftfreq(_PERIOD), np.fft.rfftfreq(_PERIOD), indexing="ij")
    spectrum = np.fft.rfft2(noise) / np.maximum(np.hypot(rows, cols), 0.004)
    spectrum[0, 0] = 0
    right, down = (number * value for value in MOVED_PX[satellite])
    spectrum *= np.exp(-2j * np.pi * (cols * right + rows * down))
    ground = np.fft.irfft2(spectrum, s=noise.shape)
    own = np.random.default_rng([seed, number]).normal(0, 40, ground.shape)
    image = 7000 + 1500 * ground / ground.std() + own
    repeats = _FILLED // _PERIOD
    return np.tile(np.rint(image).clip(1, 65535).astype(np.uint16), (repeats, repeats))


def sentinel2_item(day: str = "20160529", orbit: int = 4866) -> dict[str, Any]:
    """As Earth Search v1 answers."""
    date, item_id = f"{day[:4]}-{day[4:6]}-{day[6:]}", f"S2A_33UUU_{day}_0_L2A"
    properties = {
        "created": "2023-10-09T01:25:21.658Z",
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": 0.0,
        "proj:epsg": _TILE.epsg,
        "mgrs:utm_zone": 33,
        "mgrs:latitude_band": "U",
        "mgrs:grid_square": "UU",
        "grid:code": "MGRS-33UUU",
        "view:sun_azimuth": 164.1,
        "view:sun_elevation": 42.6,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": "02.02",
        "s2:product_uri": f"S2A_MSIL2A_{day}T101032_N0202_R022_T33UUU_{day}T153631.SAFE",
        "s2:generation_time": "2023-10-08T23:31:54.000000Z",
        "s2:datatake_id": f"GS2A_{day}T101032_{orbit:06d}_N02.02",
        "s2:datatake_type": "INS-NOBS",
        "s2:reflectance_conversion_factor": 1.0,
        "datetime": f"{date}T10:10:32.027Z",
        "s2:sequence": "0",
        "earthsearch:s3_path": f"s3://sentinel-cogs/sentinel-s2-l2a-cogs/33/U/UU/2016/{int(day[4:6])}/{item_id}",
        "earthsearch:boa_offset_applied": True,
        "updated": "2023-10-09T01:25:21.658Z",
    }
    band = {"nodata": 0, "data_type": "uint16", "spatial_resolution": 10, "scale": 0.0001, "offset": -0.1}
    asset = {
        "href": "./B08.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": "NIR 1 (band 8) - 10m",
        "eo:bands": [{"name": "nir", "common_name": "nir", "center_wavelength": 0.842}],
        "gsd": 10,
        "raster:bands": [band],
        "roles": ["data", "reflectance"],
    }
    return _feature(item_id, "sentinel-2-l2a", _TILE, properties, {"nir": asset | _TILE.projection()})


def landsat_item(day: str = "20160718", of_year: int = 200) -> dict[str, Any]:
    """As USGS landsatlook answers."""
    date, item_id = f"{day[:4]}-{day[4:6]}-{day[6:]}", f"LC08_L1TP_063018_{day}_20200906_02_T1"
    properties = {
        "datetime": f"{date}T20:37:06.339158Z",
        "eo:cloud_cover": 44.14,
        "view:sun_azimuth": 156.8,
        "view:sun_elevation": 39.0,
        "platform": "LANDSAT_8",
        "instruments": ["OLI", "TIRS"],
        "view:off_nadir": 0,
        "landsat:cloud_cover_land": 4.19,
        "landsat:wrs_type": "2",
        "landsat:wrs_path": "063",
        "landsat:wrs_row": "018",
        "landsat:scene_id": f"LC80630182016{of_year}LGN00",
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L1TP",
        "proj:epsg": _PATH_ROW.epsg,
        # of the 30 m bands: the panchromatic one lies half a pixel of its own within
        "proj:shape": [(_PATH_ROW.rows + 1) // 2, (_PATH_ROW.cols + 1) // 2],
        "proj:transform": [30, 0, _PATH_ROW.left - 7.5, 0, -30, _PATH_ROW.top + 7.5],
        "created": "2022-11-29T05:12:35.905Z",
        "updated": "2022-11-29T05:12:35.905Z",
    }
    file = f"{item_id}_B8.TIF"
    folder = f"collection02/level-1/standard/oli-tirs/2016/063/018/{item_id}"
    paid = {
        "storage:platform": "AWS",
        "storage:requester_pays": True,
        "href": f"s3://usgs-landsat/{folder}/{file}",
    }
    asset = {
        "href": f"./{file}",
        "type": "image/vnd.stac.geotiff; cloud-optimized=true",
        "title": "Panchromatic Band (B8)",
        "eo:bands": [{"name": "B8", "common_name": "pan", "gsd": 15, "center_wavelength": 0.59}],
        "alternate": {"s3": paid},
        "roles": ["data"],
    }
    return _feature(item_id, "landsat-c2l1", _PATH_ROW, properties, {"pan": asset | _PATH_ROW.projection()})


def _feature(
    item_id: str, collection: str, grid: _Grid, properties: dict[str, Any], assets: dict[str, Any]
) -> dict[str, Any]:
    outline = grid.outline
    xs, ys = ([corner[axis] for corner in outline] for axis in (0, 1))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "links": [],
        "assets": assets,
        "bbox": [round(edge, 6) for edge in (min(xs), min(ys), max(xs), max(ys))],
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "collection": collection,
    }
