"""The catalogue, other catalogues, choosing from them, and the map."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from samples import real_regions, shared

from glacierflow.errors import RegionError
from glacierflow.regions import Catalogue, load_catalogue

REPOSITORY = Path(__file__).parents[1]
PACKAGED = REPOSITORY / "ancillary" / "glacier_regions.gpkg"
HEADER = "region,mgrs_tiles,xmin,ymin,xmax,ymax\n"
GOOD = "049_jakobshavn,22WEB,-207110,-2298950,-145010,-2256350\n"
SHA256 = "dcc2c5c18c20d28757a48ab3d314f24745a10cd3de94584cd211ff26202e6dee"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def table(tmp_path: Path, text: str, name: str = "regions.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(RegionError) as caught:
        load_catalogue(path)
    assert caught.value.exit_code == 64
    assert caught.value.next_step
    assert str(path.name) in caught.value.message
    return caught.value.message


def frame(crs: str | None, **columns: list[object]) -> geopandas.GeoDataFrame:
    boxes = [shapely.box(0, -900, 600, 0), shapely.box(30, -1200, 330, -900)]
    data = {"region": ["b", "a"], "mgrs_tiles": ["22WEB,22WEC", "22WEB"], **columns}
    return geopandas.GeoDataFrame(data, geometry=boxes, crs=crs)


def test_the_packaged_catalogue_has_192_regions_in_order(catalogue: Catalogue) -> None:
    names = [region.name for region in catalogue.regions]
    assert len(names) == 192
    assert names == sorted(names)
    assert [region.index for region in catalogue.regions] == list(range(192))
    # Names count from 1, indices from 0.
    assert [int(name[:3]) for name in names] == list(range(1, 193))
    assert names[0] == "001_alison"
    assert names[48] == "049_jakobshavn"
    assert names[133] == "134_Arsuk"
    assert names[191] == "192_CH_Ostenfeld"
    assert catalogue.sha256 == SHA256
    assert catalogue.source.endswith("glacier_regions.gpkg")


def test_every_region_equals_the_facts(catalogue: Catalogue) -> None:
    with (shared("facts/glacier_regions.csv")).open(encoding="utf-8", newline="") as stream:
        facts = sorted(csv.DictReader(stream), key=lambda row: row["region"])
    assert len(facts) == 192
    for region, row in zip(catalogue.regions, facts, strict=True):
        assert region.name == row["region"]
        assert " ".join(region.mgrs_tiles) == row["mgrs_tiles"]
        assert region.bounds == tuple(float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))


def test_extents_fit_both_pixel_sizes(catalogue: Catalogue) -> None:
    for region in catalogue.regions:
        assert (region.xmax - region.xmin) % 30 == (region.ymax - region.ymin) % 30 == 0


def test_the_geopackage_opens_in_a_gis_and_agrees_with_itself(catalogue: Catalogue) -> None:
    drawn = geopandas.read_file(PACKAGED)
    assert drawn.crs.to_epsg() == 3413
    assert set(drawn.geom_type) == {"Polygon"}
    assert list(drawn["index"]) == [region.index for region in catalogue.regions]
    assert list(drawn["region"]) == [region.name for region in catalogue.regions]
    np.testing.assert_array_equal(drawn.bounds.to_numpy(), drawn[["xmin", "ymin", "xmax", "ymax"]].to_numpy())
    np.testing.assert_allclose(drawn.area / 1e6, drawn["area_km2"], rtol=1e-9)
    jakobshavn = drawn.iloc[48]
    assert jakobshavn["area_km2"] == pytest.approx(62.1 * 42.6)
    assert jakobshavn["utm_zones"] == "22"
    outlines = [shapely.from_wkt(text) for text in drawn["outline_lonlat"]]
    for region, polygon in zip(catalogue.regions, outlines, strict=True):
        np.testing.assert_allclose(polygon.exterior.coords, region.outline, atol=1e-6)


def test_outlines_follow_the_rectangles_on_the_globe(catalogue: Catalogue) -> None:
    # The projection by its own parameters, the other way round, instead of by its EPSG number.
    polar = pyproj.Proj("+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +ellps=WGS84")
    for region in catalogue.regions:
        longitudes, latitudes = np.array(region.outline).T
        x, y = polar(longitudes, latitudes)
        assert region.outline[0] == region.outline[-1]
        assert len(region.outline) == 81
        on_edge = np.minimum.reduce(
            [abs(x - region.xmin), abs(x - region.xmax), abs(y - region.ymin), abs(y - region.ymax)]
        )
        assert on_edge.max() < 0.01
        assert [x.min(), y.min(), x.max(), y.max()] == pytest.approx(region.bounds, abs=0.01)
        ring = shapely.LinearRing(region.outline)
        assert ring.is_ccw
        assert ring.is_valid
        assert 59 < latitudes.min() < latitudes.max() < 84
        assert -75 < longitudes.min() < longitudes.max() < -10


def test_two_zone_regions_know_both_zones(catalogue: Catalogue) -> None:
    for region in catalogue.regions:
        assert region.utm_zones == tuple(sorted({int(tile[:2]) for tile in region.mgrs_tiles}))
    assert any(len(region.utm_zones) == 2 for region in catalogue.regions)


def test_building_again_gives_the_same_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    facts = table(
        tmp_path,
        HEADER
        + "".join(
            f"{r.name},{' '.join(r.mgrs_tiles)},{r.xmin:.0f},{r.ymin:.0f},{r.xmax:.0f},{r.ymax:.0f}\n"
            for r in reversed(catalogue.regions)
        ),
    )
    script = REPOSITORY / "ancillary" / "build_catalogue.py"
    outs = [tmp_path / "one.gpkg", tmp_path / "two.gpkg"]
    for out in outs:
        done = subprocess.run(
            [sys.executable, script, facts, out],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        assert done.returncode == 0, done.stderr
        assert SHA256 in done.stdout
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert load_catalogue(outs[0]).regions == catalogue.regions


def test_the_build_script_refuses_a_bad_table(tmp_path: Path) -> None:
    script = REPOSITORY / "ancillary" / "build_catalogue.py"
    out = tmp_path / "out.gpkg"
    for arguments, says in (([], "usage"), ([table(tmp_path, HEADER), out], "no regions")):
        done = subprocess.run(
            [sys.executable, script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        assert done.returncode == 64
        assert says in done.stderr
    assert not out.exists()


def test_regions_elsewhere_on_the_globe_load() -> None:
    real = load_catalogue(real_regions())
    yahtse, berlin = real.regions
    assert (yahtse.name, yahtse.index, yahtse.mgrs_tiles) == ("901_Yahtse", 0, ("07VDJ",))
    assert (berlin.name, berlin.utm_zones) == ("902_Berlin", (33,))
    assert shapely.Polygon(yahtse.outline).contains(shapely.Point(-141.4, 60.2))
    assert shapely.Polygon(berlin.outline).centroid.distance(shapely.Point(12.65, 52.8)) < 0.1


def test_the_hash_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    rows = ['b,"22WEB, 22WEC,",0,-900,600,0\n', "a,22WEB,30.0,-1200,330,-900\n"]
    first = load_catalogue(table(tmp_path, HEADER + "".join(rows)))
    second = load_catalogue(
        table(
            tmp_path,
            "ymax,xmax,ymin,xmin,mgrs_tiles,REGION,more\n"
            "-900,330,-1200,30,22WEB,a,x\n0,600,-900,0,22WEB 22WEC,b,\n",
            "b.csv",
        )
    )
    path = tmp_path / "regions.gpkg"
    frame("EPSG:3413").to_file(path, driver="GPKG")
    third = load_catalogue(path)
    assert first.regions == second.regions == third.regions
    assert first.sha256 == second.sha256 == third.sha256
    changed = load_catalogue(table(tmp_path, HEADER + "".join(rows).replace("600", "630")))
    assert changed.sha256 != first.sha256
    swapped = load_catalogue(table(tmp_path, HEADER + "".join(rows).replace("22WEB, 22WEC", "22WEC, 22WEB")))
    assert swapped.sha256 != first.sha256


def test_geojson_is_read_by_its_columns_or_by_its_projection(tmp_path: Path) -> None:
    extents: dict[str, list[object]] = {
        "xmin": [0, 30],
        "ymin": [-900, -1200],
        "xmax": [600, 330],
        "ymax": [0, -900],
    }
    by_columns = tmp_path / "columns.geojson"
    frame("EPSG:3413", **extents).to_crs("EPSG:4326").to_file(by_columns, driver="GeoJSON")
    by_shape = tmp_path / "shape.json"
    frame("EPSG:3413").to_file(by_shape, driver="GeoJSON")
    assert load_catalogue(by_columns).regions == load_catalogue(by_shape).regions


def test_a_rectangle_in_another_projection_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "lonlat.geojson"
    frame("EPSG:3413").to_crs("EPSG:4326").to_file(path, driver="GeoJSON")
    assert "EPSG:4326" in refused(path)
    bare = tmp_path / "bare.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        frame(None).to_file(bare, driver="GPKG")
    assert "extents are needed in EPSG:3413" in refused(bare)


def test_a_rectangle_edited_without_its_columns_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "edited.gpkg"
    frame("EPSG:3413", xmin=[0, 0], ymin=[-900, -1200], xmax=[600, 330], ymax=[0, -900]).to_file(path)
    assert "xmin = 0 but the rectangle's xmin is 30" in refused(path)


def test_a_feature_without_shape_or_extent_is_refused(tmp_path: Path) -> None:
    feature = {"type": "Feature", "properties": {"region": "a", "mgrs_tiles": "22WEB"}, "geometry": None}
    path = table(tmp_path, json.dumps({"type": "FeatureCollection", "features": [feature]}), "a.geojson")
    assert "neither a geometry" in refused(path)
    nothing = table(tmp_path, json.dumps({"type": "FeatureCollection", "features": []}), "b.geojson")
    refused(nothing)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column region"),
        (HEADER, "has no regions"),
        ("region,xmin,ymin,xmax,ymax\na,0,0,30,30\n", "has no column mgrs_tiles"),
        (HEADER + GOOD + GOOD, "line 3: the region 049_jakobshavn is there a second time"),
        (HEADER + GOOD + GOOD.upper(), "a second time"),
        (HEADER + "a,22WEB,zero,0,30,30\n", "line 2: xmin = zero is not a number"),
        (HEADER + "a,22WEB,0,0,30,inf\n", "ymax = inf is not a number"),
        (HEADER + "a,22WEB,0,0,30\n", "ymax = None is not a number"),
        (HEADER + "a,22WEB,22WEC,0,0,30,30\n", "xmin = 22WEC is not a number"),
        (HEADER + "a,22WEB,30,0,30,30\n", "xmax = 30 is not larger than xmin = 30"),
        (HEADER + "a,22WEB,0,60,30,30\n", "ymax = 30 is not larger than ymin = 60"),
        (HEADER + "a,22WEB,0,0,40,30\n", "xmax - xmin = 40 m is not a multiple of 30 m"),
        (HEADER + "a,22WEB,0,0,30,30.5\n", "ymax - ymin = 30.5 m is not a multiple of 30 m"),
        (HEADER + "a,,0,0,30,30\n", "mgrs_tiles is empty"),
        (HEADER + "a,7VDJ,0,0,30,30\n", "7VDJ is not a Sentinel-2 tile"),
        (HEADER + "a,61WEB,0,0,30,30\n", "61WEB is not"),
        (HEADER + "a,22WIB,0,0,30,30\n", "22WIB is not"),
        (HEADER + ",22WEB,0,0,30,30\n", "'' cannot be a region's name"),
        (HEADER + "a/b,22WEB,0,0,30,30\n", "'a/b' cannot be"),
        (HEADER + "..,22WEB,0,0,30,30\n", "'..' cannot be"),
        (HEADER + "_reference,22WEB,0,0,30,30\n", "'_reference' cannot be"),
        (HEADER + "a b,22WEB,0,0,30,30\n", "'a b' cannot be"),
        (HEADER + "ø,22WEB,0,0,30,30\n", "cannot be"),
        (HEADER + f"{'a' * 101},22WEB,0,0,30,30\n", "cannot be"),
        (HEADER + "a,22WEB,-300,-300,300,300\n", "holds the pole"),
        (HEADER + "a,01WEB,-2000100,1999800,-1999800,2000100\n", "longitude 180"),
        (HEADER + "a,22WEB,3e9,0,6e9,3e9\n", "northern hemisphere"),
        (HEADER + 'a,"22WEB,0,0,30,30\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    message = refused(table(tmp_path, text))
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.csv", "a.txt", "a"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00\xff\xfe nothing anybody can read")
    refused(path)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "none.csv")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    refused(folder)


def test_importing_regions_imports_nothing_heavy() -> None:
    heavy = "geopandas pandas rasterio boto3 pyogrio shapely pyproj PIL"
    code = (
        "import sys, glacierflow.regions, glacierflow.settings; "
        f"print(sorted(set(sys.modules) & set('{heavy}'.split())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == "[]"


def test_the_packaged_catalogue_needs_no_geospatial_library_and_says_what_geopandas_reads() -> None:
    script = (
        "import sys; from glacierflow.regions import load_catalogue; print(len(load_catalogue().regions));"
        "sys.exit(bool({'geopandas', 'pandas', 'pyproj', 'shapely'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert (done.returncode, done.stdout) == (0, "192\n"), done.stderr
    frame = geopandas.read_file(PACKAGED)
    read = {
        row.region: (row.index, row.mgrs_tiles, *row.geometry.bounds) for row in frame.itertuples(index=False)
    }
    ours = {
        region.name: (region.index, " ".join(region.mgrs_tiles), *region.bounds)
        for region in load_catalogue().regions
    }
    assert {name: facts[1:] for name, facts in read.items()} == {
        name: facts[1:] for name, facts in ours.items()
    }
    rings = {
        row.region: tuple(shapely.from_wkt(row.outline_lonlat).exterior.coords) for row in frame.itertuples()
    }
    assert rings == {region.name: region.outline for region in load_catalogue().regions}


def test_a_damaged_catalogue_is_named(tmp_path: Path) -> None:
    from glacierflow.regions.files import packaged_regions

    damaged = tmp_path / "glacier_regions.gpkg"
    damaged.write_bytes(PACKAGED.read_bytes()[:5000])
    with pytest.raises(RegionError, match="is damaged"):
        packaged_regions(damaged)
