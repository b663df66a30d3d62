"""Units of one slot on the same tile: what they have in common travels once, and the pixels are the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import Tile
from numpy.typing import NDArray
from range_faults import FaultyServer
from samples import make_region
from test_exact import PLACES

from glacierflow.cloud import Cloud
from glacierflow.imagery.budget import acquisitions_in_hand, peak_mb, shared_room_mb
from glacierflow.imagery.cache import Shared
from glacierflow.imagery.geotiff import parse_geotiff
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.records import Region, Scene, StepSettings, Unit

TILE = PLACES["one tile"][0]
LEFT, RIGHT = -190020, -183820
MIDDLE = (LEFT + RIGHT) / 2
WEST, EAST = ((LEFT, -2206990, MIDDLE, -2199990), (MIDDLE, -2206990, RIGHT, -2199990))
AMPLE = 1e9


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return TILE.write(tmp_path_factory.mktemp("tile") / "a.tif")


@pytest.fixture
def server(scene: Scene) -> Iterator[FaultyServer]:
    server = FaultyServer({"a.tif": Path(scene.href).read_bytes()})
    yield server
    server.close()


def unit(scene: Scene, bounds: Any, name: str, **changes: Any) -> tuple[Unit, Region]:
    day = scene.datetime.date()
    region = make_region(name, (scene.place,), bounds)
    made = Unit(satellite="sentinel2", region=name, date1=day, date2=day)
    return made.model_copy(update=changes), region


def image(
    shared: Shared, number: int, region: Region, server: FaultyServer, scene: Scene
) -> NDArray[np.uint16]:
    shared.begin(number)
    imagery = Imagery(Cloud(), StepSettings(request_attempts=1), shared=shared)
    try:
        return imagery.mosaic(
            [scene.model_copy(update={"href": f"{server.url}/a.tif"})], geobox_of(region, "sentinel2")
        )
    finally:
        imagery.close()


def wanted(server: FaultyServer, first: int = 0) -> list[tuple[int, int]]:
    spans = [header["Range"].removeprefix("bytes=").split("-") for header in server.headers[first:]]
    return [(int(first), int(last) + 1) for first, last in spans]


def alone(region: Region, server: FaultyServer, scene: Scene) -> tuple[NDArray[np.uint16], int]:
    """The image by itself, and the bytes asked for."""
    before = server.requests
    pixels = image(Shared(), 0, region, server, scene)
    return pixels, sum(end - first for first, end in wanted(server, before))


def test_two_neighbours_fetch_the_header_and_each_block_once(server: FaultyServer, scene: Scene) -> None:
    west, east = unit(scene, WEST, "west"), unit(scene, EAST, "east")
    (one, one_bytes), (other, other_bytes) = (alone(part[1], server, scene) for part in (west, east))
    before = server.requests
    shared = Shared([west, east], room=AMPLE)
    np.testing.assert_array_equal(image(shared, 0, west[1], server, scene), one)
    assert shared.held > 0
    np.testing.assert_array_equal(image(shared, 1, east[1], server, scene), other)
    assert one.std() > 1000 < other.std()
    spans = wanted(server, before)
    assert [first for first, _ in spans].count(0) == 1
    tiff = parse_geotiff(server.files["a.tif"])
    times = [
        sum(first <= offset and offset + size <= end for first, end in spans if first > 0)
        for offset, size in zip(tiff.offsets.flat, tiff.sizes.flat, strict=True)
    ]
    assert max(times) == 1
    assert sum(end - first for first, end in spans) < 0.8 * (one_bytes + other_bytes)
    assert shared.held == 0, "the last that needs a block takes it away"


def test_room_is_kept_and_what_did_not_fit_is_fetched_again(server: FaultyServer, scene: Scene) -> None:
    west, east = unit(scene, WEST, "west"), unit(scene, EAST, "east")
    (one, _), (other, everything) = (alone(part[1], server, scene) for part in (west, east))
    tiff = parse_geotiff(server.files["a.tif"])
    room = 2.5 * float(tiff.sizes.max())
    shared = Shared([west, east], room=room)
    np.testing.assert_array_equal(image(shared, 0, west[1], server, scene), one)
    assert 0 < shared.held <= room
    before = server.requests
    np.testing.assert_array_equal(image(shared, 1, east[1], server, scene), other)
    again = sum(end - first for first, end in wanted(server, before))
    assert 0.5 * everything < again < everything


@pytest.mark.parametrize(
    "changes",
    [
        {"date1": dt.date(2030, 1, 1), "date2": dt.date(2030, 1, 31)},
        {"satellite": "landsat"},
    ],
)
def test_nothing_is_kept_for_a_unit_of_other_dates_or_satellite(
    server: FaultyServer, scene: Scene, changes: dict[str, Any]
) -> None:
    west, east = unit(scene, WEST, "west"), unit(scene, EAST, "east", **changes)
    shared = Shared([west, east], room=AMPLE)
    image(shared, 0, west[1], server, scene)
    assert shared.held == 0


def test_nothing_is_kept_for_a_unit_on_other_tiles_or_ground(server: FaultyServer, scene: Scene) -> None:
    west, (later, region) = unit(scene, WEST, "west"), unit(scene, EAST, "east")
    elsewhere = region.model_copy(update={"mgrs_tiles": ("19XEK",)})
    away = unit(scene, (0, -1_000_000, 5_000, -995_000), "away")
    shared = Shared([west, (later, elsewhere), away], room=AMPLE)
    image(shared, 0, west[1], server, scene)
    assert shared.held == 0


def test_a_unit_that_never_came_for_its_blocks_does_not_hold_them(server: FaultyServer, scene: Scene) -> None:
    units = [unit(scene, bounds, name) for bounds, name in ((WEST, "west"), (EAST, "east"), (EAST, "third"))]
    shared = Shared([*units, unit(scene, (0, -1e6, 5e3, -995e3), "away")], room=AMPLE)
    image(shared, 0, units[0][1], server, scene)
    held = shared.held
    image(shared, 1, units[1][1], server, scene)
    assert shared.held > held, "the third needs more of them than the first had"
    shared.begin(3)
    assert shared.held == 0


@pytest.mark.parametrize("length", [None, 40_000])
def test_a_file_that_changed_between_two_units_is_not_mixed(
    server: FaultyServer, scene: Scene, tmp_path: Path, length: int | None
) -> None:
    west, east = unit(scene, WEST, "west"), unit(scene, EAST, "east")
    shared = Shared([west, east], room=AMPLE)
    image(shared, 0, west[1], server, scene)
    rows = slice(None) if length is None else slice(0, 700)
    changed = Tile(TILE.data[rows] // 2 + 1, TILE.transform, TILE.epsg).write(tmp_path / "b.tif")
    server.files["a.tif"], server.etags["a.tif"] = Path(changed.href).read_bytes(), '"new"'
    pixels = image(shared, 1, east[1], server, scene)
    np.testing.assert_array_equal(pixels, alone(east[1], server, scene)[0])
    assert pixels.max() <= TILE.data.max() // 2 + 1


def test_a_file_without_an_etag_is_read_anew(server: FaultyServer, scene: Scene) -> None:
    server.etags["a.tif"] = ""
    west, east = unit(scene, WEST, "west"), unit(scene, EAST, "east")
    shared = Shared([west, east], room=AMPLE)
    image(shared, 0, west[1], server, scene)
    image(shared, 1, east[1], server, scene)
    assert shared.held == 0
    assert [first for first, _ in wanted(server)].count(0) == 2


def test_the_same_image_again_needs_no_header_again(server: FaultyServer, scene: Scene) -> None:
    (_, region), shared = unit(scene, WEST, "west"), Shared()
    once, twice = (image(shared, 0, region, server, scene) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    assert [first for first, _ in wanted(server)].count(0) == 1


@pytest.mark.parametrize("budget_mb", [250, 512, 800, 2_000, 7_864, 64_000])
@pytest.mark.parametrize("pixels", [860_000, 26_450_000, 114_560_000])
def test_the_room_is_part_of_the_budget(budget_mb: float, pixels: int) -> None:
    room = shared_room_mb(pixels, budget_mb)
    assert 0 <= room <= min(1_000, budget_mb / 4)
    if room:
        assert peak_mb(pixels, acquisitions_in_hand(pixels, budget_mb)) + room <= budget_mb
