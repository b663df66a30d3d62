"""Which blocks of which tiles the rectangle of each region needs, what is read, and the memory it takes.

    python benchmarks/blocks.py [blocks.csv]

A block is needed where some product pixel's cubic kernel touches it and no earlier tile of the region holds
that pixel (the whole swath taken as seen). Counted on a lattice of 100 m, each node for the cell around it:
never less than needed. Sentinel-2 tiles have 11 x 11 blocks of 1024 pixels. Beside it stands what
glacierflow's own planning asks for, and the peak of memory that its budget allows for.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from glacierflow.imagery.budget import acquisitions_in_hand, peak_mb
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.kernels import KINDS, free_cells, resample
from glacierflow.imagery.lattice import lattice_of, needed_blocks
from glacierflow.local.sample.frames import Grid, sentinel2_grid, transformer
from glacierflow.model.records import CRS, Region
from glacierflow.regions import load_catalogue

STEP_M = 100.0
KERNEL = 2
"""Source pixels on each side of a point that cubic convolution reads."""
BLOCK_MB = 1.13
"""Mean size of a full block in the benchmarks' archive, 1e6 bytes."""
FILE_MB = 181.9
"""Size of a whole file there, with its overviews."""
MEMORY_MB = 7864
"""Memory of the first class of job definitions."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Need:
    """What one region needs of one acquisition."""

    region: str
    area_km2: float
    tiles: int
    blocks: int
    """Needed."""
    blocks_read: int
    """What glacierflow asks for."""
    blocks_of_whole_tiles: int
    share: float
    """Of the blocks of whole tiles."""
    times_fewer: float
    """Bytes of whole files, with their overviews, over bytes of the blocks read."""
    in_flight: int
    """Acquisitions in hand at a time, with ``MEMORY_MB``."""
    memory_mb: int
    """Peak that the budget allows for: Python, and the acquisitions in hand."""


def need_of(region: Region) -> Need:
    """Count the blocks of one region."""
    x, y = _lattice(region)
    missing = np.ones(x.shape, bool)
    out = np.zeros(geobox_of(region, "sentinel2").shape, np.uint16)
    in_flight = acquisitions_in_hand(out.size, MEMORY_MB)
    blocks = read = whole = 0
    for tile in region.mgrs_tiles:
        grid = sentinel2_grid(tile)
        across = -(-grid.columns // grid.block)
        whole += across**2
        column, row = _pixels(grid, x[missing], y[missing])
        blocks += len(_touched(grid, column, row))
        read += _read(region, grid, out)
        inside = (column >= KERNEL) & (column <= grid.columns - KERNEL)
        inside &= (row >= KERNEL) & (row <= grid.rows - KERNEL)
        missing[missing] = ~inside
    return Need(
        region=region.name,
        area_km2=round(region.area_km2, 1),
        tiles=len(region.mgrs_tiles),
        blocks=blocks,
        blocks_read=read,
        blocks_of_whole_tiles=whole,
        share=round(read / whole, 4),
        times_fewer=round(len(region.mgrs_tiles) * FILE_MB / (read * BLOCK_MB), 1),
        in_flight=in_flight,
        memory_mb=round(peak_mb(out.size, in_flight)),
    )


def _read(region: Region, grid: Grid, out: NDArray[np.uint16]) -> int:
    """Blocks of one tile that glacierflow's planning asks for; fills what the tile holds of ``out``."""
    geobox, shape = geobox_of(region, "sentinel2"), (grid.rows, grid.columns)
    transform = Affine(grid.pixel, 0, grid.left, 0, -grid.pixel, grid.top)
    lattice = lattice_of(geobox, transform, grid.epsg)
    if lattice is None:
        return 0
    wanted = free_cells(out, lattice.top, lattice.left, *lattice.cells)
    needed = needed_blocks(lattice, shape, (grid.block, grid.block), KERNEL, wanted)
    whole = np.ones(shape, np.uint8)
    resample(
        whole, out, lattice.row, lattice.col, lattice.top, lattice.left, 0, lattice.cells[0], KINDS["nearest"]
    )
    return int(needed.sum())


def _lattice(region: Region) -> tuple[Floats, Floats]:
    """Middles of the cells of a region."""
    columns = round((region.xmax - region.xmin) / STEP_M)
    rows = round((region.ymax - region.ymin) / STEP_M)
    right = np.linspace(region.xmin, region.xmax, 2 * columns + 1)[1::2]
    up = np.linspace(region.ymin, region.ymax, 2 * rows + 1)[1::2]
    x, y = np.meshgrid(right, up)
    return x, y


def _pixels(grid: Grid, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """(column, row) on a tile, with fractions."""
    east, north = transformer(CRS, grid.epsg).transform(x, y)
    return (east - grid.left) / grid.pixel, (grid.top - north) / grid.pixel


def _touched(grid: Grid, column: Floats, row: Floats) -> set[tuple[int, int]]:
    """Blocks under the cells around some points and the kernels around those."""
    reach = STEP_M / grid.pixel / np.sqrt(2) + KERNEL
    found: set[tuple[int, int]] = set()
    for right in (-reach, reach):
        for down in (-reach, reach):
            c, r = column + right, row + down
            inside = (c >= 0) & (c < grid.columns) & (r >= 0) & (r < grid.rows)
            pairs = np.stack([r[inside] // grid.block, c[inside] // grid.block], axis=1)
            found.update((int(down_), int(right_)) for down_, right_ in np.unique(pairs, axis=0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="?", default=Path(__file__).with_suffix(".csv"))
    path = parser.parse_args().csv
    needs = [need_of(region) for region in load_catalogue().regions]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Need))
        writer.writerows(astuple(need) for need in needs)
    blocks, read = sum(need.blocks for need in needs), sum(need.blocks_read for need in needs)
    whole = sum(need.blocks_of_whole_tiles for need in needs)
    tiles = sum(need.tiles for need in needs)
    fewer = sorted(need.times_fewer for need in needs)
    print(f"{len(needs)} regions: of {whole} blocks in {tiles} tiles {blocks} are needed, {read} read")
    print(
        f"bytes: {tiles * FILE_MB / (read * BLOCK_MB):.1f} times fewer in all, a region {fewer[0]:.1f} to "
        f"{fewer[-1]:.1f}, median {statistics.median(fewer):.1f}"
    )
    print(f"memory, with a budget of {MEMORY_MB} MB: at most {max(need.memory_mb for need in needs)} MB")


if __name__ == "__main__":
    main()
