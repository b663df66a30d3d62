"""The catalogue as a GeoDataFrame, from ``glacierflow.regions()`` to a file and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas
import pytest

import glacierflow
from glacierflow.errors import RegionError
from glacierflow.regions import load_catalogue

NAMES = ["049_jakobshavn", "134_Arsuk", "192_CH_Ostenfeld"]
PACKAGED = Path(__file__).parents[1] / "ancillary" / "glacier_regions.gpkg"


def test_it_is_what_geopandas_reads_in_the_packaged_file() -> None:
    frame = glacierflow.regions()
    assert isinstance(frame, geopandas.GeoDataFrame)
    truth = geopandas.read_file(PACKAGED).set_index("index")
    assert frame.index.name == "index"
    assert list(frame.index) == list(truth.index) == list(range(192))
    assert list(frame.columns) == ["region", "mgrs_tiles", "utm_zones", "area_km2", "geometry"]
    assert list(frame["region"]) == list(truth["region"])
    assert list(frame["mgrs_tiles"]) == list(truth["mgrs_tiles"])
    assert frame.crs == truth.crs == "EPSG:3413"
    assert frame.geometry.geom_equals(truth.geometry).all()
    assert list(frame["area_km2"]) == pytest.approx(list(truth.area / 1e6))
    assert frame.loc[48, "region"] == "049_jakobshavn"
    two_zones = frame[frame["utm_zones"].str.contains(" ")]
    assert 0 < len(two_zones) < 192


def test_explore_draws_a_map_of_every_region() -> None:
    drawn = glacierflow.regions().explore(column="area_km2", tooltip=["region", "mgrs_tiles"])
    (south, west), (north, east) = drawn.get_bounds()
    assert (59 < south < north < 84, -75 < west < east < -10) == (True, True)
    page = drawn.get_root().render()
    assert [name for name in glacierflow.regions()["region"] if f'"{name}"' not in page] == []


@pytest.mark.parametrize("name", ["mine.gpkg", "mine.geojson", "mine.shp", "mine.fgb"])
def test_a_file_made_of_it_is_a_catalogue_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    some = glacierflow.regions().iloc[[133, 48, 191]]
    some.to_file(path)
    catalogue = load_catalogue(path)
    packaged = {region.name: region for region in load_catalogue().regions}
    assert [region.name for region in catalogue.regions] == [
        "049_jakobshavn",
        "134_Arsuk",
        "192_CH_Ostenfeld",
    ]
    for index, region in enumerate(catalogue.regions):
        assert region == packaged[region.name].model_copy(update={"index": index})
    again = glacierflow.regions(path)
    assert list(again["region"]) == NAMES
    assert list(again.index) == [0, 1, 2]
    # a path as text, as people write it in a notebook
    assert glacierflow.regions(str(path)).equals(again)


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(RegionError, match=r"there is no file nowhere\.gpkg"):
        glacierflow.regions("nowhere.gpkg")


@pytest.mark.parametrize(
    "before",
    [
        "import glacierflow",
        "import glacierflow.regions.catalogue",
        "import glacierflow; glacierflow.regions; import glacierflow.regions.files",
        "import glacierflow; from glacierflow import regions; assert len(regions()) == 192",
    ],
)
def test_it_can_be_called_whatever_was_imported_before_and_costs_nothing_until_then(before: str) -> None:
    program = (
        "import sys, glacierflow\n"
        "assert {'regions', 'open_region'} <= set(dir(glacierflow)) & set(glacierflow.__all__)\n"
        "from glacierflow.regions import load_catalogue\n"
        "load_catalogue()\n"
        "assert not {'geopandas', 'pandas', 'shapely', 'numpy'} & set(sys.modules)\n"
        f"{before}\n"
        "print(len(glacierflow.regions()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "192\n"), done.stderr
