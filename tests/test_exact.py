"""Products against float64 cubic convolution at exact coordinates: one tile, two tiles, two zones.

And the same pixels whatever the threads, chunks, blocks, and tiles that are missing elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from exact import Tile, assert_exact, coordinates, exact, exact_mosaic, to_utm
from http_servers import RangeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery import mosaic
from glacierflow.imagery.lattice import lattice_of
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.records import CRS, Scene, StepSettings

WIDE = GeoBox((700, 620), Affine(10, 0, -190020, 0, -10, -2199990), CRS)
"""Not a multiple of a lattice cell, on an origin that is not one either."""


def tile_at(
    x: float, y: float, epsg: int, shape: tuple[int, int], seed: int, hole: slice | None = None
) -> Tile:
    """Rough ground with steep edges on the 10 m UTM grid, its centre at polar stereographic (x, y)."""
    rng = np.random.default_rng(seed)
    rows, cols = shape
    ground = 5000 + 4000 * np.sin(np.arange(rows) / 9)[:, None] * np.cos(np.arange(cols) / 7)
    ground += rng.normal(0, 200, shape)
    ground[:, cols // 3 : cols // 3 + 40] += 9000
    data = ground.clip(1, 65535).astype(np.uint16)
    if hole is not None:
        data[hole, hole] = 0
    east, north = to_utm(epsg).transform(x, y)
    corner = round(east / 10) * 10 - cols * 5, round(north / 10) * 10 + rows * 5
    return Tile(data, Affine(10, 0, corner[0], 0, -10, corner[1]), epsg)


def middle(geobox: GeoBox) -> tuple[float, float]:
    box = geobox.boundingbox
    return (box.left + box.right) / 2, (box.bottom + box.top) / 2


X, Y = middle(WIDE)
PLACES = {
    "one tile": [tile_at(X, Y, 32622, (1500, 1400), 1)],
    "one tile with a gap, ending inside": [tile_at(X + 3500, Y, 32622, (1300, 900), 2, slice(300, 420))],
    "two tiles": [tile_at(X - 3000, Y, 32622, (1300, 900), 3), tile_at(X + 3000, Y, 32622, (1300, 900), 4)],
    "two zones": [
        tile_at(X - 3000, Y, 32622, (1300, 900), 5, slice(500, 560)),
        tile_at(X + 1000, Y, 32621, (1400, 1300), 6),
    ],
}


@pytest.fixture
def imagery() -> Imagery:
    return Imagery(Cloud(), StepSettings())


def written(tiles: list[Tile], folder: Path, block: int = 256) -> list[Scene]:
    return [tile.write(folder / f"{number}.tif", block) for number, tile in enumerate(tiles)]


@pytest.mark.parametrize("place", PLACES)
def test_products_are_exact_block_and_tile_borders_included(
    place: str, tmp_path: Path, imagery: Imagery
) -> None:
    tiles = PLACES[place]
    ours = imagery.mosaic(written(tiles, tmp_path), WIDE)
    first = exact(tiles[0], WIDE)
    truth = np.where(np.isnan(first), exact_mosaic(tiles[1:], WIDE), first)
    assert_exact(ours, truth)
    share = float(np.isnan(first).mean())
    assert share == 0 if place == "one tile" else 0.05 < share < 0.95, "the place proves what its name says"
    assert np.nanstd(truth) > 1000


@pytest.mark.parametrize("place", PLACES)
def test_the_same_pixels_from_any_blocks_chunks_and_threads(
    place: str, tmp_path: Path, imagery: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = written(PLACES[place], tmp_path)
    once = imagery.mosaic(scenes, WIDE)
    (tmp_path / "other").mkdir()
    np.testing.assert_array_equal(imagery.mosaic(written(PLACES[place], tmp_path / "other", 512), WIDE), once)
    monkeypatch.setattr(mosaic, "cpu_count", lambda: 5)
    monkeypatch.setattr(mosaic, "_BAND", 1)
    other = Imagery(Cloud(), StepSettings())
    np.testing.assert_array_equal(other.mosaic(scenes, WIDE), once)
    rows, cols = WIDE.shape
    lines = [
        [
            other.mosaic(scenes, WIDE[top : min(top + 173, rows), left : min(left + 97, cols)])
            for left in range(0, cols, 97)
        ]
        for top in range(0, rows, 173)
    ]
    np.testing.assert_array_equal(np.block(lines), once)


def test_a_missing_tile_changes_nothing_elsewhere(tmp_path: Path, imagery: Imagery) -> None:
    first, second = written(PLACES["two zones"], tmp_path)
    both, alone, rest = (imagery.mosaic(scenes, WIDE) for scenes in ([first, second], [first], [second]))
    np.testing.assert_array_equal(both[alone > 0], alone[alone > 0])
    np.testing.assert_array_equal(both[alone == 0], rest[alone == 0])


def test_of_a_later_tile_only_what_is_still_free_is_read(tmp_path: Path, imagery: Imagery) -> None:
    whole = PLACES["one tile"][0]
    first, second = written([whole, whole], tmp_path)
    imagery.mosaic([first], WIDE)
    before = imagery.bytes_read
    imagery.mosaic([first, second], WIDE)
    # the second's header instead of the first's, which is known by now; and no block of it
    assert imagery.bytes_read - before == before


def test_a_broken_later_tile_that_is_needed_fails_the_image(tmp_path: Path, imagery: Imagery) -> None:
    first, second = written(PLACES["two tiles"], tmp_path)
    Path(second.href).write_bytes(Path(second.href).read_bytes()[:60_000])
    with pytest.raises(DataError, match=r"1\.tif could not be read: it is cut short"):
        imagery.mosaic([first, second], WIDE)


@pytest.mark.parametrize("epsg", [32621, 32622, 32627])
def test_coordinates_are_exact_to_a_thousandth_of_a_pixel(epsg: int) -> None:
    """A thousandth is asked for; a millionth is reached, also where a region lies far beside its zone."""
    tile = tile_at(X, Y, epsg, (100, 100), 0)
    lattice = lattice_of(WIDE, tile.transform, epsg)
    assert lattice is not None
    for nodes, wanted in zip((lattice.row, lattice.col), coordinates(WIDE, tile), strict=True):
        assert np.abs(interpolated(nodes, lattice.top, lattice.left, (700, 620)) - wanted).max() < 1e-6


def interpolated(
    nodes: NDArray[np.float64], top: int, left: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Cubic interpolation as the kernels do it, written down again with Lagrange's formula."""

    def weights(start: int, count: int) -> NDArray[np.float64]:
        matrix = np.zeros((count, (start + count - 1) // 64 + 4))
        for k in range(count):
            cell, within = divmod(k + start, 64)
            t = within / 64
            for node in range(4):
                others = [other for other in range(4) if other != node]
                matrix[k, cell + node] = np.prod([(t + 1 - other) / (node - other) for other in others])
        return matrix

    across = weights(left, shape[1])
    down = weights(top, shape[0])
    return np.asarray(down @ nodes @ across.T)


Place = tuple[GeoBox, list[Tile], int]


@st.composite
def places(draw: st.DrawFn) -> Place:
    """A small region anywhere near the sample's, at 10 or 15 m; one to three tiles around it; their blocks.

    Some hundred metres decide whether a tile covers the region, ends inside it or lies beside it.
    """
    size = draw(st.sampled_from([10, 15]))
    x = -190_000 + 10 * draw(st.integers(-3000, 3000))
    y = -2_200_000 + 10 * draw(st.integers(-3000, 3000))
    shape = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    geobox = GeoBox(shape, Affine(size, 0, x, 0, -size, y), CRS)
    tiles = []
    for seed in range(draw(st.integers(1, 3))):
        dx, dy = (draw(st.integers(-1200, 1200)) for _ in range(2))
        epsg = draw(st.sampled_from([32621, 32622]))
        hole = draw(st.one_of(st.none(), st.builds(slice, st.integers(0, 60), st.integers(61, 120))))
        tiles.append(tile_at(x + dx, y + dy, epsg, (130, 110), seed, hole))
    return geobox, tiles, draw(st.sampled_from([16, 32, 64]))


@dataclass
class Engine:
    """The engine and a web server with its sources; what it made of how many places."""

    imagery: Imagery
    web: RangeServer
    folder: Path
    places: int = 0
    partly: int = 0
    """Products of which a part only is valid."""
    two_zones: int = 0

    def publish(self, tiles: list[Tile], block: int) -> list[Scene]:
        """Under names that were never used before: the engine keeps the headers that it has read."""
        self.places += 1
        scenes = []
        for number, tile in enumerate(tiles):
            scene = tile.write(self.folder / f"{self.places}-{number}.tif", block)
            scenes.append(scene.model_copy(update={"href": f"{self.web.url}/{Path(scene.href).name}"}))
        return scenes

    def count(self, truth: NDArray[np.float64], tiles: list[Tile]) -> None:
        self.partly += 0 < np.isnan(truth).mean() < 1
        self.two_zones += len({tile.epsg for tile in tiles}) == 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("any-place")
    engine = Engine(Imagery(Cloud(), StepSettings()), RangeServer(folder), folder)
    yield engine
    engine.imagery.close()
    engine.web.server.shutdown()
    engine.web.server.server_close()


@pytest.mark.parametrize("examples", [100, pytest.param(1000, marks=pytest.mark.rehearsal)])
def test_any_rectangle_of_any_tiles_is_exact_through_the_whole_engine(engine: Engine, examples: int) -> None:
    """Ranges over HTTP, blocks, mosaic, both zones, ends of tiles; and a part is the part of the whole."""

    @settings(max_examples=examples, deadline=None)
    @given(place=places(), row=st.integers(0, 90), col=st.integers(0, 90))
    def check(place: Place, row: int, col: int) -> None:
        geobox, tiles, block = place
        scenes = engine.publish(tiles, block)
        truth = exact_mosaic(tiles, geobox)
        ours = engine.imagery.mosaic(scenes, geobox)
        np.testing.assert_array_equal(ours == 0, np.isnan(truth))
        # 1 DN: half of it is rounding
        assert np.abs(ours - np.nan_to_num(truth)).max() <= 1
        part = (slice(min(row, geobox.shape[0] - 1), None), slice(min(col, geobox.shape[1] - 1), None))
        np.testing.assert_array_equal(engine.imagery.mosaic(scenes, geobox[part]), ours[part])
        engine.count(truth, tiles)

    check()
    assert engine.places >= examples
    assert engine.partly > engine.places / 10
    assert engine.two_zones > engine.places / 10
