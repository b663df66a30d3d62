"""An acquisition published tile by tile: its product is completed unasked, and nothing else replaces it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from http_servers import Api
from numpy.typing import NDArray
from rasterio.warp import transform
from samples import real_region
from test_task import api as api
from test_task import files, local_items, make_manifest, process

from glacierflow.errors import StoreError
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.step import unit
from glacierflow.step.sidecars import put_item
from glacierflow.store import LocalStore

TILES = ("33UUU", "33UVU")
Item = dict[str, Any]


def half(item: Item, folder: Path, tile: str, *, west: bool) -> Item:
    """A tile of its own with one half of the region, cut where the other begins."""
    source = item["assets"]["nir"]["href"]
    region = real_region("902_Berlin")
    path = folder / f"{tile}.tif"
    with rasterio.open(source) as image:
        middle = [(region.xmin + region.xmax) / 2], [(region.ymin + region.ymax) / 2]
        (east,), (north,) = transform("EPSG:3413", image.crs, *middle)
        _, column = image.index(east, north)
        data, profile = image.read(1), image.profile
    data[:, column:] *= not west
    data[:, :column] *= west
    with rasterio.open(path, "w", **profile) as out:
        out.write(data, 1)
    made = copy.deepcopy(item)
    made["id"] = item["id"].replace("33UUU", tile)
    made["properties"]["s2:product_uri"] = item["properties"]["s2:product_uri"].replace("T33UUU", f"T{tile}")
    made["assets"]["nir"]["href"] = str(path)
    return made


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Item, Item]:
    item = local_items("sentinel2")[0]
    return half(item, tmp_path, TILES[0], west=True), half(item, tmp_path, TILES[1], west=False)


def manifest_of(api: Api, where: Path, **settings: Any) -> Manifest:
    manifest = make_manifest(api, where, sentinel2_min_coverage=0.1, **settings)
    region = manifest.regions["902_Berlin"].model_copy(update={"mgrs_tiles": TILES})
    return manifest.model_copy(update={"regions": {region.name: region}})


def run_with(api: Api, where: Path, *items: Item, **settings: Any) -> Receipt:
    api.items = list(items)
    return process(manifest_of(api, where, **settings))


def pixels(where: Path) -> NDArray[np.uint16]:
    (path,) = where.rglob("clipped/902_Berlin/*.tif")
    with rasterio.open(path) as product:
        image: NDArray[np.uint16] = product.read(1)
    return image


def others(receipt: Receipt) -> list[str]:
    return [entry.code for entry in receipt.left_out]


def beside(where: Path) -> dict[str, bytes]:
    """All that downstream reads, by key."""
    return {key: (where / key).read_bytes() for key in files(where) if not key.startswith("runs/")}


@pytest.mark.parametrize("late", [0, 1])
def test_a_tile_that_was_published_later_completes_the_product(
    api: Api, tmp_path: Path, halves: tuple[Item, Item], late: int
) -> None:
    where, at_once = tmp_path / "out", tmp_path / "at_once"
    first = run_with(api, where, halves[1 - late])
    assert 0.3 < first.products[0].coverage < 0.7
    second = run_with(api, where, *halves)
    assert (second.outcome, second.counts.written, others(second)) == ("done", 1, [])
    (note,) = [note for note in second.notes if note.code == "sources_added"]
    assert f"_T{TILES[late]}_" in note.text
    assert note.text.endswith("was not there when it was made from 1 of 2 sources")
    run_with(api, at_once, *halves)
    assert (pixels(where) > 0).all()
    np.testing.assert_array_equal(pixels(where), pixels(at_once))
    assert beside(where) == beside(at_once), "lineage and items, too"


def test_once_it_is_complete_nothing_is_made_again_also_when_a_tile_is_gone(
    api: Api, tmp_path: Path, halves: tuple[Item, Item]
) -> None:
    run_with(api, tmp_path / "out", halves[0])
    run_with(api, tmp_path / "out", *halves)
    before = beside(tmp_path / "out")
    again = run_with(api, tmp_path / "out", *halves)
    assert (again.counts.written, again.counts.skipped, again.bytes_read) == (0, 1, 0)
    assert "sources_added" not in {note.code for note in again.notes}
    for one in halves:
        gone = run_with(api, tmp_path / "out", one)
        assert (gone.counts.written, others(gone)) == (0, ["made_differently"])
        other = halves[1] if one is halves[0] else halves[0]
        name = other["properties"]["s2:product_uri"].removesuffix(".SAFE")
        assert f"made from {name}_B08.tif, which is not used now" in gone.left_out[0].reason
    assert beside(tmp_path / "out") == before


def test_a_tile_is_added_to_nothing_that_was_made_with_other_settings(
    api: Api, tmp_path: Path, halves: tuple[Item, Item]
) -> None:
    run_with(api, tmp_path / "out", halves[0], resampling="nearest")
    before = pixels(tmp_path / "out")
    second = run_with(api, tmp_path / "out", *halves)
    assert (second.counts.written, set(others(second))) == (0, {"made_differently"})
    assert "with other settings or on another grid" in second.left_out[0].reason
    np.testing.assert_array_equal(pixels(tmp_path / "out"), before)


def newer(item: Item) -> Item:
    made = copy.deepcopy(item)
    uri = made["properties"]["s2:product_uri"]
    made["properties"]["s2:product_uri"] = uri.replace("_N0202_", "_N0204_")
    return made


def test_a_late_tile_of_a_newer_baseline_is_added_under_the_new_name(
    api: Api, tmp_path: Path, halves: tuple[Item, Item]
) -> None:
    first = run_with(api, tmp_path / "out", halves[0])
    second = run_with(api, tmp_path / "out", halves[0], newer(halves[1]))
    assert (second.counts.written, others(second)) == (1, ["superseded"])
    assert second.left_out[0].item_id == first.products[0].key
    assert "_N0204_" in second.products[0].key
    assert second.products[0].coverage == 1.0
    third = run_with(api, tmp_path / "out", halves[0], newer(halves[1]))
    assert (third.counts.written, third.counts.skipped, others(third)) == (0, 1, [])


def test_a_newer_baseline_of_a_tile_that_was_used_replaces_nothing_even_with_another_tile(
    api: Api, tmp_path: Path, halves: tuple[Item, Item]
) -> None:
    run_with(api, tmp_path / "out", halves[0])
    before = beside(tmp_path / "out")
    second = run_with(api, tmp_path / "out", newer(halves[0]), halves[1])
    assert (second.counts.written, set(others(second))) == (0, {"made_differently"})
    assert beside(tmp_path / "out") == before


def test_broken_off_between_sidecars_and_product_it_is_completed_by_the_next_run(
    api: Api, tmp_path: Path, halves: tuple[Item, Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, at_once = tmp_path / "out", tmp_path / "at_once"
    run_with(api, where, halves[0])

    def full(*given: Any) -> None:
        put_item(*given)
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(unit, "put_item", full)
        assert run_with(api, where, *halves).exit_code == 75
    assert not (pixels(where) > 0).all(), "the product is the last that is put"
    assert run_with(api, where, *halves).counts.written == 1
    run_with(api, at_once, *halves)
    assert beside(where) == beside(at_once)


def test_a_late_tile_that_cannot_be_read_leaves_the_product(
    api: Api, tmp_path: Path, halves: tuple[Item, Item]
) -> None:
    run_with(api, tmp_path / "out", halves[0])
    before = beside(tmp_path / "out")
    broken = copy.deepcopy(halves[1])
    broken["assets"]["nir"]["href"] = str(tmp_path / "gone.tif")
    receipt = run_with(api, tmp_path / "out", halves[0], broken)
    assert receipt.counts.failed == 1
    assert "sources_added" not in {note.code for note in receipt.notes}
    assert beside(tmp_path / "out") == before


def test_a_file_of_another_program_stays(api: Api, tmp_path: Path, halves: tuple[Item, Item]) -> None:
    first = run_with(api, tmp_path / "out", halves[0])
    key = first.products[0].key
    LocalStore(tmp_path / "out").put(key, b"the predecessor's")
    second = run_with(api, tmp_path / "out", *halves)
    assert "made by another program" in second.left_out[0].reason
    assert (tmp_path / "out" / key).read_bytes() == b"the predecessor's"


def test_a_landsat_scene_that_was_processed_again_is_the_same_product(api: Api, tmp_path: Path) -> None:
    def version(day: str, tier: str) -> Item:
        item = copy.deepcopy(local_items("landsat")[0])
        item["id"] = item["id"].replace("20200906_02_T1", f"{day}_02_{tier}")
        item["properties"]["landsat:collection_category"] = tier
        return item

    def run(item: Item, **settings: Any) -> Receipt:
        api.items = [item]
        return process(make_manifest(api, tmp_path, "landsat", **settings))

    def there() -> set[str]:
        return {path.name.partition("_L1TP_063018_20160718_")[2] for path in tmp_path.rglob("*_ortho.tif")}

    assert run(version("20240716", "T2")).counts.written == 1
    left = run(version("20240722", "T1"))
    assert (left.counts.written, others(left)) == (0, ["made_differently"])
    assert "is there, of the same scene processed at another time; --reprocess" in left.left_out[0].reason
    assert there() == {"20240716_02_T2_ortho.tif"}
    again = run(version("20240722", "T1"), reprocess=True)
    assert (again.counts.written, others(again)) == (1, ["superseded"])
    assert "20240716_02_T2" in again.left_out[0].item_id
    assert run(version("20240722", "T1")).counts.skipped == 1


def test_two_strips_of_a_tile_make_one_image_and_both_are_named(api: Api, tmp_path: Path) -> None:
    """As if the archive told neither strips nor times apart; the truth is the image of the whole tile."""
    whole = local_items("sentinel2")[0]
    run_with(api, tmp_path / "whole", whole)
    strips = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        item = half(whole, tmp_path / str(number), "33UUU", west=not number)
        item["id"] += f"-{number}"
        uri = item["properties"]["s2:product_uri"]
        item["properties"]["s2:product_uri"] = uri.replace("T153631", f"T15363{number}")
        strips.append(item)
    receipt = run_with(api, tmp_path / "strips", *strips)
    assert (receipt.counts.written, receipt.left_out) == (1, ())
    assert np.mean(pixels(tmp_path / "strips") > 0) > 0.95 * np.mean(pixels(tmp_path / "whole") > 0)
    (line,) = (tmp_path / "strips").rglob("individual_csv/902_Berlin/*.csv")
    assert {name[-18:] for name in line.read_text().split(",")[1:]} == {
        "20160529T153630_B08.tif"[-18:],
        "20160529T153631_B08.tif"[-18:],
    }
    (product,) = receipt.products
    assert len(product.sources) == 2
