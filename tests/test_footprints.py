"""Footprints on the grid, against geopandas, against single points, and where the threshold decides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from http_servers import Api
from pyproj import Proj
from samples import make_region, make_unit, read_item, real_archive, recorded

from glacierflow.model.records import Region, StepSettings
from glacierflow.regions import load_catalogue
from glacierflow.search.acquisitions import search_unit
from glacierflow.search.footprints import footprint_on_grid, overlap_share

POLAR = Proj("+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +ellps=WGS84")
"""EPSG:3413 by its own parameters."""


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*points, points[0])]]}


def region_at(longitude: float, latitude: float, size: int = 30_000) -> Region:
    x, y = POLAR(longitude, latitude)
    left, bottom = round(x - size / 2), round(y - size / 2)
    return make_region(bounds=(left, bottom, left + size, bottom + size))


def by_geopandas(footprint: dict[str, Any], region: Region) -> float:
    """Edges with a point each hundredth of a degree; geopandas projects and measures."""
    drawn = geopandas.GeoSeries([shapely.from_geojson(geojson(footprint))], crs=4326).make_valid()
    rectangle = shapely.box(*region.bounds)
    share = drawn.segmentize(0.01).to_crs(3413).make_valid().intersection(rectangle).area / rectangle.area
    return float(share.iloc[0])


def by_points(footprint: dict[str, Any], region: Region) -> float:
    """Of 250,000 places of the region the share whose longitude and latitude are inside, in plain degrees."""
    xmin, ymin, xmax, ymax = region.bounds
    steps = (np.arange(500) + 0.5) / 500
    x, y = np.meshgrid(xmin + steps * (xmax - xmin), ymin + steps * (ymax - ymin))
    longitude, latitude = POLAR(x.ravel(), y.ravel(), inverse=True)
    drawn = shapely.make_valid(shapely.from_geojson(geojson(footprint)))
    return float(shapely.contains_xy(drawn, longitude, latitude).mean())


def geojson(footprint: dict[str, Any]) -> str:
    return json.dumps(footprint)


def in_degrees(footprint: dict[str, Any], region: Region) -> float:
    """As areas of degrees would have it."""
    rectangle = shapely.Polygon(region.outline)
    return float(shapely.from_geojson(geojson(footprint)).intersection(rectangle).area / rectangle.area)


@pytest.mark.parametrize("latitude", [60.0, 70.0, 77.0, 82.5])
@pytest.mark.parametrize("side", ["north", "south", "west", "east"])
def test_at_the_threshold_it_decides_as_geopandas_does(latitude: float, side: str) -> None:
    """An edge is moved across the region, until the share passes through five percent."""
    region = region_at(-50.0, latitude)
    reach = 0.4
    wide = 5 / np.cos(np.radians(latitude))
    decided = set()
    for edge in np.linspace(-reach, reach, 25):
        shift = edge / (np.cos(np.radians(latitude)) if side in {"west", "east"} else 1)
        west, east, south, north = -50.0 - wide, -50.0 + wide, latitude - 3, latitude + 3
        west, east = (-50 + shift if side == "east" else west), (-50 + shift if side == "west" else east)
        south, north = (
            latitude + edge if side == "north" else south,
            latitude + edge if side == "south" else north,
        )
        footprint = polygon((west, south), (east, south), (east, north), (west, north))
        truth, share = by_geopandas(footprint, region), overlap_share(footprint, region)
        assert share == pytest.approx(truth, abs=2e-5)
        assert (share < 0.05) == (truth < 0.05)
        decided.add(share < 0.05)
    assert decided == {True, False}


@pytest.mark.parametrize("latitude", [65.0, 75.0, 82.0])
def test_long_edges_bend_as_their_points_do(latitude: float) -> None:
    """A slanted footprint of 30 degrees of longitude: a chord on the grid would be off by kilometres."""
    region = region_at(-40.0, latitude)
    footprint = polygon((-55, latitude - 2), (-25, latitude - 2), (-25, latitude), (-55, latitude + 0.05))
    share = overlap_share(footprint, region)
    assert share == pytest.approx(by_points(footprint, region), abs=0.002)
    corners = [POLAR(*point) for point in footprint["coordinates"][0]]
    rectangle = shapely.box(*region.bounds)
    straight = shapely.Polygon(corners).intersection(rectangle).area / rectangle.area
    assert abs(straight - share) > 0.02


def test_a_ring_that_crosses_itself_keeps_what_it_encloses() -> None:
    region = region_at(-40.0, 70.0)
    bow_tie = polygon((-41, 69.5), (-39, 70.5), (-39, 69.5), (-41, 70.5))
    share = overlap_share(bow_tie, region)
    assert share == pytest.approx(by_points(bow_tie, region), abs=0.002)
    assert 0.1 < share < 0.9
    assert footprint_on_grid(bow_tie).is_valid


ACROSS = {
    "beyond 180": polygon((178.5, 69.5), (181.5, 69.5), (181.5, 70.1), (178.5, 70.1)),
    "below -180": polygon((-181.5, 69.5), (-178.5, 69.5), (-178.5, 70.1), (-181.5, 70.1)),
    "jumping": polygon((178.5, 69.5), (-178.5, 69.5), (-178.5, 70.1), (178.5, 70.1)),
    "cut in two": {
        "type": "MultiPolygon",
        "coordinates": [
            polygon((178.5, 69.5), (180, 69.5), (180, 70.1), (178.5, 70.1))["coordinates"],
            polygon((-180, 69.5), (-178.5, 69.5), (-178.5, 70.1), (-180, 70.1))["coordinates"],
        ],
    },
}


@pytest.mark.parametrize("written", ACROSS)
def test_longitude_180_is_crossed_however_it_is_written(written: str) -> None:
    region = region_at(179.5, 70.0)
    truth = by_points(ACROSS["cut in two"], region)
    assert 0.1 < truth < 0.95
    assert overlap_share(ACROSS[written], region) == pytest.approx(truth, abs=0.002)
    assert overlap_share(ACROSS[written], region_at(-40.0, 70.0)) == 0.0


def test_a_ring_around_the_pole_holds_it() -> None:
    cap = polygon(*((longitude, 80.0) for longitude in range(-180, 180, 30)))
    assert overlap_share(cap, region_at(0.0, 89.5)) == pytest.approx(1.0)
    assert overlap_share(cap, region_at(-40.0, 75.0)) == 0.0
    half = region_at(-40.0, 80.0)
    assert overlap_share(cap, half) == pytest.approx(by_geopandas(polar(80.0), half), abs=1e-4)


def polar(latitude: float) -> dict[str, Any]:
    """The same cap as a band from one side of the globe to the other, where geopandas can follow it."""
    return polygon((-180, latitude), (180, latitude), (180, 89.9), (-180, 89.9))


def test_a_hole_is_no_part_and_lines_have_no_area() -> None:
    region = region_at(-40.0, 70.0)
    outer = polygon((-44, 68), (-36, 68), (-36, 72), (-44, 72))
    hole = polygon((-41, 69.9), (-39, 69.9), (-39, 71), (-41, 71))["coordinates"][0]
    holed = {"type": "Polygon", "coordinates": [outer["coordinates"][0], hole]}
    assert overlap_share(outer, region) == pytest.approx(1.0)
    assert overlap_share(holed, region) == pytest.approx(by_points(holed, region), abs=0.002)
    mixed = {
        "type": "GeometryCollection",
        "geometries": [outer, {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}],
    }
    assert overlap_share(mixed, region) == pytest.approx(1.0)


def test_recorded_footprints_are_measured_as_their_points_are() -> None:
    """A region at the first corner and one in the middle of each of the recorded scenes of the north."""
    every = [item for item in recorded("stac_items") if item.get("type") == "Feature"]
    north = [item for item in every if shapely.from_geojson(geojson(item["geometry"])).bounds[1] > 50]
    assert len(north) >= 3
    for item in north:
        drawn = shapely.from_geojson(geojson(item["geometry"]))
        middle, corner = drawn.centroid, shapely.get_coordinates(drawn)[0]
        for place in ((middle.x, middle.y), corner):
            region = region_at(place[0], place[1], 15_000)
            share = overlap_share(item["geometry"], region)
            assert share == pytest.approx(by_points(item["geometry"], region), abs=0.003), item["id"]
        assert 0 < share < 1


@pytest.mark.parametrize(("beside", "kept"), [(-2e-4, True), (2e-4, False)])
def test_the_search_decides_on_the_grid(api: Api, beside: float, kept: bool) -> None:
    region = load_catalogue().regions[191]
    item = read_item(sorted((real_archive() / "landsat-c2l1").glob("*/*.json"))[0])
    longitudes, latitudes = zip(*region.outline, strict=True)
    edge = min(latitudes) + 0.25 * (max(latitudes) - min(latitudes))
    west, east = min(longitudes) - 2, max(longitudes) + 2
    item["geometry"] = polygon((west, edge - 3), (east, edge - 3), (east, edge), (west, edge))
    truth = by_geopandas(item["geometry"], region)
    assert abs(in_degrees(item["geometry"], region) - truth) > 4e-4, "degrees would decide the other way"
    api.items = [item]
    settings = StepSettings(landsat_stac_url=api.url, landsat_min_overlap=truth + beside)
    found = search_unit(make_unit(region.name, "landsat"), region, settings)
    assert len(found.acquisitions) == kept
    assert [left.code for left in found.left_out] == ([] if kept else ["low_overlap"])
