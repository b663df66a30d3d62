"""Read one region's source pixels by several engines, from the same server at a distance.

Each engine is a process of its own and reads the blocks of a region's rotated footprint from a few big tiles
(rasterio: the rectangle around it, which is all that it can be asked for). All must end in the same product.
Needs the extra ``bench`` and an archive of ``archive.py``.

    python benchmarks/engines.py [--dir ARCHIVE] [--region 049_jakobshavn] [--acquisitions 6] [--repeats 3]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from affine import Affine
from archive import default_directory
from measure import counters
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from run import serve

from glacierflow.cloud import Cloud
from glacierflow.imagery.blocks import open_source, read_blocks
from glacierflow.imagery.geotiff import parse_geotiff
from glacierflow.imagery.grid import Pixels, Window, geobox_of
from glacierflow.imagery.lattice import lattice_of, needed_blocks, window_of
from glacierflow.imagery.mosaic import warp
from glacierflow.imagery.ranges import Ranges
from glacierflow.model.records import Scene, StepSettings
from glacierflow.regions import load_catalogue
from glacierflow.search.items import parse_item

BLOCK = 1024
HEAD_BYTES = 32_768
REQUESTS = 8
"""Ranges in flight, as ``Imagery`` has them."""
RADIUS = 2
"""Of the cubic kernel."""


def zone_of(scene: Scene) -> int:
    """The EPSG code of an image; the sample's items all say it."""
    assert scene.epsg is not None
    return scene.epsg


def place(scene: Scene, geobox: GeoBox) -> tuple[Window, list[tuple[int, int]], Affine]:
    """The window a region is made from, its blocks, and the window's transform."""
    assert scene.transform is not None
    assert scene.shape is not None
    assert scene.epsg is not None
    transform = Affine(*scene.transform)
    lattice = lattice_of(geobox, transform, scene.epsg)
    assert lattice is not None
    window = window_of(lattice, scene.shape, RADIUS)
    assert window is not None
    needed = needed_blocks(lattice, scene.shape, (BLOCK, BLOCK), RADIUS, np.ones(lattice.cells, bool))
    blocks = [(int(i), int(j)) for i, j in np.argwhere(needed)]
    return window, blocks, transform * Affine.translation(window.col, window.row)


def put(block: NDArray[Any], at: tuple[int, int], window: Window, pixels: NDArray[np.uint16]) -> None:
    """A decoded block into the window."""
    top, left = at[0] * BLOCK - window.row, at[1] * BLOCK - window.col
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(window.rows, top + BLOCK), min(window.cols, left + BLOCK)
    pixels[y0:y1, x0:x1] = block[y0 - top : y1 - top, x0 - left : x1 - left]


def by_glacierflow(scenes: list[Scene], geobox: GeoBox) -> list[Pixels]:
    ranges, pool = Ranges(Cloud(), StepSettings()), ThreadPoolExecutor(REQUESTS)

    def read(scene: Scene) -> Pixels:
        window, blocks, transform = place(scene, geobox)
        source = open_source(scene, ranges)
        needed = np.zeros(source.tiff.sizes.shape, bool)
        needed[tuple(np.transpose(blocks))] = True
        return Pixels(read_blocks(source, window, needed, ranges, pool), transform, zone_of(scene))

    return [read(scene) for scene in scenes]


def by_async_tiff(scenes: list[Scene], geobox: GeoBox) -> list[Pixels]:
    from async_tiff import TIFF
    from async_tiff.store import HTTPStore

    async def read(scene: Scene) -> Pixels:
        window, blocks, transform = place(scene, geobox)
        url = urlsplit(scene.href)
        store = HTTPStore.from_url(f"{url.scheme}://{url.netloc}", client_options={"allow_http": True})
        tiff = await TIFF.open(url.path.lstrip("/"), store=store, prefetch=HEAD_BYTES)
        tiles = await tiff.fetch_tiles([(j, i) for i, j in blocks], 0)
        pixels = np.zeros((window.rows, window.cols), np.uint16)
        for at, block in zip(blocks, await asyncio.gather(*(tile.decode() for tile in tiles)), strict=True):
            put(np.asarray(block)[..., 0], at, window, pixels)
        return Pixels(pixels, transform, zone_of(scene))

    async def every() -> list[Pixels]:
        return [await read(scene) for scene in scenes]

    return asyncio.run(every())


def by_obstore(scenes: list[Scene], geobox: GeoBox) -> list[Pixels]:
    import obstore
    from isal import isal_zlib
    from obstore.store import HTTPStore

    from glacierflow.imagery.kernels import paste

    pool = ThreadPoolExecutor(2)

    def read(scene: Scene) -> Pixels:
        window, blocks, transform = place(scene, geobox)
        url = urlsplit(scene.href)
        path = url.path.lstrip("/")
        store = HTTPStore.from_url(f"{url.scheme}://{url.netloc}", client_options={"allow_http": True})
        tiff = parse_geotiff(bytes(obstore.get_range(store, path, start=0, length=HEAD_BYTES)))
        starts = [int(tiff.offsets[at]) for at in blocks]
        lengths = [int(tiff.sizes[at]) for at in blocks]
        pixels = np.zeros((window.rows, window.cols), np.uint16)

        def decode(at: tuple[int, int], data: obstore.Bytes) -> None:
            raw = isal_zlib.decompress(data, bufsize=2 * BLOCK * BLOCK)
            values = np.frombuffer(raw, np.uint16).reshape(BLOCK, BLOCK)
            paste(values, pixels, at[0] * BLOCK - window.row, at[1] * BLOCK - window.col, True)

        received = obstore.get_ranges(store, path, starts=starts, lengths=lengths)
        for _ in pool.map(decode, blocks, received):
            pass
        return Pixels(pixels, transform, zone_of(scene))

    return [read(scene) for scene in scenes]


def by_rasterio(scenes: list[Scene], geobox: GeoBox) -> list[Pixels]:
    import rasterio
    from rasterio.windows import Window as Rectangle

    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_INGESTED_BYTES_AT_OPEN": str(HEAD_BYTES),
        "GDAL_NUM_THREADS": "2",
    }
    found = []
    with rasterio.Env(**options):
        for scene in scenes:
            window, _, transform = place(scene, geobox)
            with rasterio.open(f"/vsicurl/{scene.href}") as source:
                data = source.read(1, window=Rectangle(window.col, window.row, window.cols, window.rows))
            found.append(Pixels(data, transform, zone_of(scene)))
    return found


ENGINES: dict[str, Callable[[list[Scene], GeoBox], list[Pixels]]] = {
    "glacierflow": by_glacierflow,
    "async-tiff": by_async_tiff,
    "obstore": by_obstore,
    "rasterio": by_rasterio,
}


def scenes_of(archive: Path, server: str, tile: str, acquisitions: int) -> list[Scene]:
    """The tile's first scenes, where the server has them."""
    found = []
    for path in sorted((archive / "sentinel-2-l2a").glob(f"*_{tile}_*/*.json"))[:acquisitions]:
        scene = parse_item(json.loads(path.read_text()), "sentinel2")
        assert isinstance(scene, Scene)
        href = f"{server}/archive/{(path.parent / 'B08.tif').relative_to(archive).as_posix()}"
        found.append(scene.model_copy(update={"href": href}))
    return found


def read_by(engine: str, scenes: list[Scene], geobox: GeoBox) -> dict[str, Any]:
    """What reading costs a process that has everything loaded; the first scene is read once before."""
    work = ENGINES[engine]
    work(scenes[:1], geobox)
    server = "{0.scheme}://{0.netloc}".format(urlsplit(scenes[0].href))
    before = counters(server)
    start, cpu = time.perf_counter(), time.process_time()
    read = work(scenes[1:], geobox)
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    after, peak_mb = counters(server), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    digest = hashlib.sha256()
    for pixels in read:
        digest.update(warp(pixels, geobox, "cubic").tobytes())
    count = len(read)
    return {
        "engine": engine,
        "version": version(engine),
        "cpu_s": round(cpu_s / count, 3),
        "wall_s": round(wall_s / count, 3),
        "megabytes": round((after["bytes"] - before["bytes"]) / 1e6 / count, 1),
        "requests": round((after["requests"] - before["requests"]) / count, 1),
        "peak_mb": round(peak_mb),
        "digest": digest.hexdigest(),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Medians of all turns, an acquisition.

    Raises:
        SystemExit: the engines do not agree about the pixels.
    """
    if len({run["digest"] for run in runs}) != 1:
        raise SystemExit(f"the engines do not agree: {[(run['engine'], run['digest'][:8]) for run in runs]}")
    lines = ["| engine | CPU s | wall s | MB | requests | peak MB |", "|---|---:|---:|---:|---:|---:|"]
    for engine in ENGINES:
        own = [run for run in runs if run["engine"] == engine]
        values = [
            statistics.median(run[column] for run in own)
            for column in ("cpu_s", "wall_s", "megabytes", "requests", "peak_mb")
        ]
        lines.append(
            f"| {engine} {own[0]['version']} | " + " | ".join(f"{value:g}" for value in values) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where the archive lies")
    parser.add_argument("--region", default="049_jakobshavn", help="one of a single tile")
    parser.add_argument("--acquisitions", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--server", help=argparse.SUPPRESS)
    given = parser.parse_args()
    (region,) = load_catalogue().select([given.region], None).regions
    if given.engine:
        scenes = scenes_of(given.dir, given.server, region.mgrs_tiles[0], given.acquisitions + 1)
        print(json.dumps(read_by(given.engine, scenes, geobox_of(region, "sentinel2"))))
        return
    runs = []
    with serve(given.dir) as server:
        for _ in range(given.repeats):
            for engine in ENGINES:
                command = [sys.executable, *sys.argv, "--engine", engine, "--server", server]
                runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print(table(runs))


if __name__ == "__main__":
    main()
