from __future__ import annotations

import pytest
import shapely
from samples import make_region, read_item, real_archive, shared

from glacierflow.errors import RegionError
from glacierflow.regions import load_catalogue
from glacierflow.search.mgrs import mgrs_corner, missing_tiles, same_place, tile_outline, uncovered_share


def test_corners_of_all_recorded_sentinel2_tiles() -> None:
    checked = 0
    paths = [
        *(shared("data/stac_items/earth-search-v1")).rglob("*.json"),
        *(real_archive() / "sentinel-2-l2a").rglob("*.json"),
    ]
    for item in map(read_item, paths):
        asset = item["assets"].get("nir")
        if asset is None:
            continue
        properties = item["properties"]
        zone, band = properties["mgrs:utm_zone"], properties["mgrs:latitude_band"]
        tile = f"{zone:02d}{band}{properties['mgrs:grid_square']}"
        left, top = asset["proj:transform"][2], asset["proj:transform"][5]
        assert mgrs_corner(tile) == (properties["proj:epsg"], left, top), tile
        checked += 1
    assert checked >= 39


@pytest.mark.parametrize("tile", ["22VIP", "22IFP", "22VFZ", "VFP", "", "XXVFP"])
def test_what_is_no_tile_is_refused(tile: str) -> None:
    with pytest.raises(RegionError, match="is not the name of a Sentinel-2 tile"):
        mgrs_corner(tile)


def test_the_regions_that_reach_beyond_their_tiles() -> None:
    regions = {region.name: region for region in load_catalogue().regions}
    shares = {name: uncovered_share(region) for name, region in regions.items()}
    large = {name for name, share in shares.items() if share > 0.01}
    assert large == {"091_pituffik", "123_upernavik_north", "163_Bowdoin", "189_Ryder"}
    assert all(0.013 < shares[name] < 0.023 for name in large)
    for name, share in shares.items():
        missing = missing_tiles(regions[name])
        assert bool(missing) == (share > 0), name
        if missing:
            grown = regions[name].model_copy(update={"mgrs_tiles": regions[name].mgrs_tiles + missing})
            assert uncovered_share(grown) == 0, name


@pytest.mark.parametrize("number", range(0, 192, 7))
def test_a_tile_taken_from_a_list_is_found_again_or_replaced(number: int) -> None:
    """Another truth than the geometry: the lists that the catalogue's makers wrote by hand."""
    region = load_catalogue().regions[number]
    rest = region.mgrs_tiles[1:] or ("07VDJ",)
    less = region.model_copy(update={"mgrs_tiles": rest})
    missing = missing_tiles(less)
    box = shapely.box(*region.bounds)
    before = shapely.union_all([tile_outline(tile) for tile in region.mgrs_tiles])
    after = shapely.union_all([tile_outline(tile) for tile in rest + missing])
    assert box.difference(after).area <= box.difference(before).area + 1e-4 * box.area
    assert len(missing) <= len(region.mgrs_tiles) + 1


def test_a_region_inside_its_tile_misses_nothing() -> None:
    assert missing_tiles(make_region()) == ()
    assert uncovered_share(make_region()) == 0.0


def test_a_square_on_the_border_of_two_bands_is_one_place() -> None:
    assert same_place("22WEB", "22WEB")
    # latitude 72 runs through row A of zone 25: the square is 25WEA below it and 25XEA above
    assert same_place("25WEA", "25XEA")
    assert not same_place("25XEA", "25XEB")
    assert not same_place("25XEA", "nonsense")
