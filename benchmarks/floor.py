"""What an acquisition of a one-tile region costs at least: its parts alone, one thread each, nothing between.

Fetching its blocks at the link's rate; inflating them, undoing the predictor, one cubic pass and writing the
product, each by the fastest code at hand and the fastest of several turns. Network and processors work at the
same time, so the floor is the larger of the two.

    python benchmarks/floor.py [--dir ARCHIVE] [--region 049_jakobshavn] [--rate-mb-s 125]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from affine import Affine
from archive import default_directory
from isal import isal_zlib
from numpy.typing import NDArray

from glacierflow.host import cpu_count
from glacierflow.imagery.geotiff import GeoTiff, parse_geotiff
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.kernels import KINDS, paste, resample
from glacierflow.imagery.lattice import lattice_of, needed_blocks, window_of
from glacierflow.model.records import Region
from glacierflow.products.cog import write_cog
from glacierflow.regions import load_catalogue

HEAD_BYTES = 65_536
TURNS = 5
CUBIC = KINDS["cubic"]


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest turn."""
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def floor_of(path: Path, region: Region, rate_mb_s: float) -> dict[str, float]:
    """Seconds of each part.

    Args:
        path: the region's one tile.
        region: which.
        rate_mb_s: of the network, 1e6 bytes a second.
    """
    content = path.read_bytes()
    tiff, geobox = parse_geotiff(content[:HEAD_BYTES]), geobox_of(region, "sentinel2")
    lattice = lattice_of(geobox, tiff.transform, tiff.epsg)
    assert lattice is not None
    window = window_of(lattice, tiff.shape, CUBIC)
    assert window is not None
    needed = needed_blocks(lattice, tiff.shape, tiff.block, CUBIC, np.ones(lattice.cells, bool))
    places = [(int(i), int(j)) for i, j in np.argwhere(needed)]
    raw = [content[tiff.offsets[at] : tiff.offsets[at] + tiff.sizes[at]] for at in places]
    expected = tiff.block[0] * tiff.block[1] * tiff.dtype.itemsize
    blocks = [_values(tiff, isal_zlib.decompress(data, bufsize=expected)) for data in raw]
    source = np.zeros((window.rows, window.cols), np.uint16)
    local = lattice_of(geobox, tiff.transform * Affine.translation(window.col, window.row), tiff.epsg)
    assert local is not None
    out = np.zeros(geobox.shape, np.uint16)

    def undo() -> None:
        for (i, j), block in zip(places, blocks, strict=True):
            paste(block, source, i * tiff.block[0] - window.row, j * tiff.block[1] - window.col, True)

    def warp() -> None:
        out[:] = 0
        resample(source, out, local.row, local.col, local.top, local.left, 0, local.cells[0], CUBIC)

    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "inflate_s": fastest(lambda: [isal_zlib.decompress(data, bufsize=expected) for data in raw]),
            "predictor_s": fastest(undo),
            "cubic_s": fastest(warp),
            "write_s": fastest(lambda: write_cog(Path(folder) / "product.tif", out, geobox, {})),
        }
    megabytes = sum(map(len, raw)) / 1e6
    processor_s, fetch_s = sum(parts.values()) / cpu_count(), megabytes / rate_mb_s
    facts = {"blocks": len(raw), "megabytes": megabytes, "fetch_s": fetch_s, **parts}
    return {name: round(value, 4) for name, value in facts.items()} | {
        "processor_s": round(processor_s, 4),
        "total_s": round(max(processor_s, fetch_s), 4),
    }


def _values(tiff: GeoTiff, raw: bytes) -> NDArray[np.uint16]:
    return np.frombuffer(raw, tiff.dtype).reshape(tiff.block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where the archive lies")
    parser.add_argument("--region", default="049_jakobshavn")
    parser.add_argument("--rate-mb-s", type=float, default=125.0)
    given = parser.parse_args()
    (region,) = load_catalogue().select([given.region], None).regions
    (tile,) = region.mgrs_tiles
    path = given.dir / "images" / f"{region.name}_{tile}_0.tif"
    print(json.dumps(floor_of(path, region, given.rate_mb_s), indent=1))


if __name__ == "__main__":
    main()
