"""Where each product pixel lies on a source: exact on a lattice, cubic in between. Pure.

Between nodes 64 pixels apart the map from polar stereographic to UTM bends so little that cubic interpolation
adds less than 1e-6 pixel (a test measures it). Nodes stand at multiples of 64 pixels from the origin of
EPSG:3413, never from a chunk's corner, so that every chunking computes the same coordinates bit by bit.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.imagery.grid import Window
from glacierflow.model.records import CRS

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


CELL = 64
"""Product pixels between two nodes."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Source coordinates of the centres of product pixels at the nodes around a geobox.

    Cell (i, j) has its corners at nodes [i+1, j+1] to [i+2, j+2]; one more node on each side serves the
    interpolation.
    """

    row: NDArray[np.float64]
    """(node rows, node columns): source row, counted from the upper edge of the first pixel."""
    col: NDArray[np.float64]
    """The same shape: source column."""
    top: int
    """Pixels from the first cell's upper edge to the geobox's first row, 0..63."""
    left: int
    """The same for columns."""
    rows: int
    """Rows of the geobox."""
    cols: int

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) of cells."""
        return self.row.shape[0] - 3, self.row.shape[1] - 3


def lattice_of(geobox: GeoBox, transform: Affine, epsg: int) -> Lattice | None:
    """The lattice of a geobox on a source's grid; None where the projection has no answer.

    Args:
        geobox: destination grid, EPSG:3413, north up.
        transform: the source's pixel corner to metres.
        epsg: the source's CRS.
    """
    size = geobox.affine.a
    y, top = _nodes(-geobox.affine.f, size, geobox.shape[0])
    x, left = _nodes(geobox.affine.c, size, geobox.shape[1])
    x, y = np.meshgrid(x, -y)
    east, north = _transformer(epsg).transform(x, y)
    if not (np.isfinite(east).all() and np.isfinite(north).all()):
        return None
    back = ~transform
    return Lattice(
        row=back.d * east + back.e * north + back.f,
        col=back.a * east + back.b * north + back.c,
        top=top,
        left=left,
        rows=geobox.shape[0],
        cols=geobox.shape[1],
    )


def _nodes(start: float, size: float, pixels: int) -> tuple[NDArray[np.float64], int]:
    """Coordinates of the nodes along one axis, and where the first pixel is in the first cell."""
    phase = start % size
    first = round((start - phase) / size)
    cell, within = divmod(first, CELL)
    last = (first + pixels - 1) // CELL
    numbers = np.arange(cell - 1, last + 3, dtype=np.float64)
    return (numbers * CELL + 0.5) * size + phase, within


@functools.lru_cache(maxsize=64)
def _transformer(epsg: int) -> Any:  # noqa: ANN401 - pyproj's own
    from pyproj import Transformer

    return Transformer.from_crs(CRS, f"EPSG:{epsg}", always_xy=True)


def window_of(lattice: Lattice, shape: tuple[int, int], radius: int) -> Window | None:
    """The rectangle of source pixels that all cells are made from; None where they lie outside the source.

    Args:
        lattice: coordinates on the whole source.
        shape: (rows, columns) of the source.
        radius: source pixels that the kernel reaches on each side.
    """
    edges = []
    for values, pixels in ((lattice.row, shape[0]), (lattice.col, shape[1])):
        inner = values[1:-1, 1:-1]
        first = max(0, math.floor(inner.min()) - radius - 1)
        edges.append((first, min(pixels, math.ceil(inner.max()) + radius + 2) - first))
    (row, rows), (col, cols) = edges
    return Window(row, col, rows, cols) if rows > 0 and cols > 0 else None


def needed_blocks(
    lattice: Lattice, shape: tuple[int, int], block: tuple[int, int], radius: int, wanted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The source blocks that the wanted cells are made from: by rotated footprint, not bounding box.

    Args:
        lattice: coordinates on the whole source.
        shape: (rows, columns) of the source.
        block: (rows, columns) of a block.
        radius: source pixels that the kernel reaches on each side.
        wanted: (cell rows, cell columns).

    Returns:
        (block rows, block columns).
    """
    grid = -(-shape[0] // block[0]), -(-shape[1] // block[1])
    needed = np.zeros(grid, bool)
    ranges = []
    inside = wanted.copy()
    for values, pixels, side in ((lattice.row, shape[0], block[0]), (lattice.col, shape[1], block[1])):
        at_edges = _at_edges(_at_edges(values, lattice.top, lattice.rows).T, lattice.left, lattice.cols).T
        corners = [at_edges[i : i + wanted.shape[0], j : j + wanted.shape[1]] for i in (0, 1) for j in (0, 1)]
        first = np.floor(np.minimum.reduce(corners) - 0.5).astype(np.int64) - radius
        last = np.floor(np.maximum.reduce(corners) + 0.5).astype(np.int64) + radius
        inside &= (first < pixels) & (last >= 0)
        ranges += [first.clip(0, pixels - 1) // side, last.clip(0, pixels - 1) // side]
    for top, bottom, left, right in np.unique(np.stack([r[inside] for r in ranges], axis=1), axis=0):
        needed[top : bottom + 1, left : right + 1] = True
    return needed


def _at_edges(nodes: NDArray[np.float64], start: int, pixels: int) -> NDArray[np.float64]:
    """Values at the cells' edges along the first axis, where the outer cells end with the geobox."""
    edges = np.clip(np.arange(nodes.shape[0] - 2) * CELL - start, 0, pixels - 1)
    cell, within = np.divmod(edges + start, CELL)
    share = (within / CELL)[:, None]
    result: NDArray[np.float64] = nodes[cell + 1] * (1 - share) + nodes[cell + 2] * share
    return result
