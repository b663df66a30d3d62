"""Make the benchmarks' archive: Sentinel-2 tiles as large and as full as real ones, and their STAC items.

Tiles lie on their true UTM grids (10980 pixels of 10 m, Cloud-Optimized, blocks of 1024, DEFLATE with
predictor 2, overviews) and compress like real ones, to about 180 MB. Three images of each tile are made, the
third cut by the edge of the swath; 24 acquisitions, one every second day, take turns with them by hard links.

    python benchmarks/archive.py [--dir DIR] [--regions 134_Arsuk ...] [--sparse]
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from cases import ACQUISITIONS, CASES, day_of
from numpy.typing import NDArray

from glacierflow.local.sample import frames
from glacierflow.local.sample.frames import Grid, Pass, project, sentinel2_grid, transformer
from glacierflow.local.sample.items import sentinel2_id, sentinel2_item
from glacierflow.local.sample.scene import SceneStats
from glacierflow.model.records import CRS, Region
from glacierflow.regions import load_catalogue

IMAGES = 3
"""Different images of each tile; the last is cut by the swath."""

_MEAN, _CONTRAST, _NOISE = 6900, 100, 6
"""DN, of a snowy scene; blocks then compress by 1.84, and a file with its overviews to 180 MB."""
_NOISE_SIZE = 4096
_SWATH_NORMAL = (12 / 13, 5 / 13)
"""Unit vector in EPSG:3413."""
_SWATH_REACH = 0.3
"""The swath ends at this share of the way from the middle of a region to its far corner."""
_SPARSE_MARGIN_M = 2000.0


def default_directory() -> Path:
    """The platform's cache folder."""
    return platformdirs.user_cache_path("glacierflow") / "benchmark-archive"


def make_archive(directory: Path, regions: tuple[Region, ...], *, sparse: bool, images: int) -> None:
    """Make what is missing; a second call with the same arguments does nothing.

    Args:
        directory: of the archive; sparse and full ones must not share it.
        regions: whose tiles to make.
        sparse: leave blocks away from the region empty: small, for trying things out, not for measuring.
        images: different images of each tile, at most ``IMAGES``.
    """
    for region in regions:
        for tile in region.mgrs_tiles:
            grid = sentinel2_grid(tile)
            for image in range(images):
                path = _image(directory, region, tile, image)
                if not path.exists():
                    print(f"making {path}", flush=True)
                    write_tile(path, grid, region, image, sparse=sparse)
            for number in range(ACQUISITIONS):
                add_item(directory, _image(directory, region, tile, number % images), grid, number)


def _image(directory: Path, region: Region, tile: str, image: int) -> Path:
    return directory / "images" / f"{region.name}_{tile}_{image}.tif"


def add_item(directory: Path, image: Path, grid: Grid, number: int) -> None:
    """One acquisition of a tile: its item, and the image under the name it has there."""
    start = dt.datetime.combine(day_of(number), dt.time(15, 20, number), dt.UTC)
    overflight = Pass("sentinel2", "S2A", start, 40_000 + number, False, False, False)
    folder = directory / "sentinel-2-l2a" / sentinel2_id(grid.name, overflight, 0)
    item_file = folder / f"{folder.name}.json"
    if item_file.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "B08.tif"
    link.unlink(missing_ok=True)
    os.link(image, link)
    footprint = project(grid.outline(), CRS, 4326)
    item = sentinel2_item(grid, overflight, 0, SceneStats(1.0, 0.05), footprint, ())
    item_file.write_text(json.dumps(item))


def write_tile(path: Path, grid: Grid, region: Region, image: int, *, sparse: bool) -> None:
    """Write one image whole or not at all."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".part-{path.name}")
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "nodata": 0,
        "height": grid.rows,
        "width": grid.columns,
        "crs": f"EPSG:{grid.epsg}",
        "transform": from_origin(grid.left, grid.top, grid.pixel, grid.pixel),
    }
    with rasterio.Env(GDAL_CACHEMAX=512), MemoryFile() as memory:
        with memory.open(**profile) as target:
            for row, column, pixels in _strips(grid, region, image, sparse=sparse):
                target.write(pixels, 1, window=Window(column, row, pixels.shape[1], pixels.shape[0]))
        with memory.open() as source:
            copy(
                source,
                str(aside),
                driver="COG",
                COMPRESS="DEFLATE",
                PREDICTOR="STANDARD",
                BLOCKSIZE=str(grid.block),
                OVERVIEW_RESAMPLING="AVERAGE",
                NUM_THREADS="ALL_CPUS",
                SPARSE_OK="YES" if sparse else "NO",
            )
    aside.replace(path)


def _strips(
    grid: Grid, region: Region, image: int, *, sparse: bool
) -> Iterator[tuple[int, int, NDArray[np.uint16]]]:
    """(row, column, pixels) of the parts of an image that hold something."""
    bounds = grid.bounds
    if sparse:
        xmin, ymin, xmax, ymax = region.bounds
        x = np.linspace(xmin - _SPARSE_MARGIN_M, xmax + _SPARSE_MARGIN_M, 50)
        y = np.linspace(ymin - _SPARSE_MARGIN_M, ymax + _SPARSE_MARGIN_M, 50)
        east, north = transformer(CRS, grid.epsg).transform(*np.meshgrid(x, y))
        bounds = east.min(), north.min(), east.max(), north.max()
    for row, column, rows, columns in grid.chunks(bounds):
        pixels = _ground(grid, image, row, column, rows, columns)
        if image == IMAGES - 1:
            pixels[_outside_swath(grid, region, row, column, rows, columns)] = 0
        yield row, column, pixels


def _ground(grid: Grid, image: int, row: int, column: int, rows: int, columns: int) -> NDArray[np.uint16]:
    """Ground and noise depend on the UTM coordinates alone: tiles of one zone agree where they overlap."""
    down = np.arange(rows) + row - round(grid.top / grid.pixel)
    right = np.arange(columns) + column + round(grid.left / grid.pixel)
    size = frames.TEXTURE_SIZE
    pixels = _ground_table()[np.ix_(down % size, right % size)]
    pixels += _noise_table()[np.ix_((down + 1013 * image) % _NOISE_SIZE, (right + 577 * image) % _NOISE_SIZE)]
    return pixels.clip(1).astype(np.uint16)


@functools.cache
def _ground_table() -> NDArray[np.int16]:
    node = np.arange(frames.TEXTURE_SIZE) * frames.TEXTURE_PIXEL_M
    return np.rint(_MEAN + _CONTRAST * frames.texture(*np.meshgrid(node, node))).astype(np.int16)


@functools.cache
def _noise_table() -> NDArray[np.int16]:
    noise = np.random.default_rng(20240701).standard_normal((_NOISE_SIZE, _NOISE_SIZE), np.float32)
    return np.rint(noise * _NOISE).astype(np.int16)


def _outside_swath(
    grid: Grid, region: Region, row: int, column: int, rows: int, columns: int
) -> NDArray[np.bool_]:
    """Pixels beyond the edge of the swath, which is straight between the corners of each part."""
    left, top = grid.left + column * grid.pixel, grid.top - row * grid.pixel
    right, bottom = left + columns * grid.pixel, top - rows * grid.pixel
    x, y = transformer(grid.epsg, CRS).transform(*np.meshgrid([left, right], [top, bottom]))
    (nx, ny), (xmin, ymin, xmax, ymax) = _SWATH_NORMAL, region.bounds
    edge = (xmin + xmax) / 2 * nx + (ymin + ymax) / 2 * ny
    edge += _SWATH_REACH * ((xmax - xmin) * nx + (ymax - ymin) * ny) / 2
    beyond = x * nx + y * ny - edge
    down, across = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, columns)[None, :]
    upper = beyond[0, 0] + (beyond[0, 1] - beyond[0, 0]) * across
    lower = beyond[1, 0] + (beyond[1, 1] - beyond[1, 0]) * across
    return np.asarray(upper + (lower - upper) * down > 0)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which archive is meant."""
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where the archive lies")
    parser.add_argument("--regions", nargs="+", default=[case.region for case in CASES])
    parser.add_argument("--sparse", action="store_true", help="small files, to try things out")
    parser.add_argument("--images", type=int, default=IMAGES, choices=(1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments(parser)
    given = parser.parse_args()
    regions = load_catalogue().select(given.regions, None).regions
    make_archive(given.dir, regions, sparse=given.sparse, images=given.images)
    size = sum(path.stat().st_size for path in (given.dir / "images").glob("*.tif"))
    print(f"{given.dir}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
