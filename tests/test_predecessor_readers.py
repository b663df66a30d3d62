"""The predecessor's own readers of our names and tables, rewritten from their documented behaviour.

Its step 3 takes satellites, times, orbits and baselines from the names of images; its step 1 takes tiles from
the names of downloads, and tables of sources with pandas; its checks look for folders.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from http_servers import Api
from samples import real_region
from test_task import api, local_items, make_manifest, process

from glacierflow.cli.app import run
from glacierflow.cli.panels import instead_of
from glacierflow.products.lineage import combine_query_parts
from glacierflow.settings import load_settings

__all__ = ["api"]

pytestmark = pytest.mark.usefixtures("waits")

Structure = Literal["new", "old"]
BASE = "1_download_merge_and_clip"


def orbits_of(clipped: Path) -> pd.DataFrame:
    """What its step 3 makes first of a region's images: a row each, sorted by time."""
    rows = []
    for path in clipped.glob("S2*.tif"):
        name = path.name
        rows.append(
            {
                "datetime": re.findall(r"(\d{8}\D\d{6})", name)[0],
                "datehour": re.findall(r"(\d{8}\D\d{2})", name)[0],
                "satellite": name[:3],
                "orbits": name.split("_R", 1)[1][:3],
                "processing_baselines": name.split("_N", 1)[1][:4],
            }
        )
    return pd.DataFrame(rows).sort_values("datetime", ignore_index=True)


def tiles_of_downloads(folder: Path) -> dict[str, list[str]]:
    """Tiles by product, from the downloads of one year: the first 37 characters are the product's name."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*_B08.tif")):
        stem = path.name.split("_B08.tif")[0]
        found.setdefault(stem[:37], []).append(stem.split("_")[5][1:])
    return found


def landsat_facts(name: str) -> tuple[str, str, str]:
    """Satellite, path and row, and processing of a Landsat image, by the places of their characters."""
    assert len(name) > 80
    return name[37:41], name[47:53], f"C{name[72:74]}_{name[75:77]}_{name[42:46]}"


def folder_of(root: Path, structure: Structure, region: str, part: str) -> Path:
    """Where each of its two folder structures has the parts of a Sentinel-2 region."""
    base = root / BASE / "sentinel2"
    if structure == "old":
        return base / region / part
    return base / part / region if part in {"clipped", "metadata/individual_csv"} else base / part


@pytest.mark.parametrize("structure", get_args(Structure))
def test_sentinel2_is_read_in_both_structures(structure: Structure, api: Api, tmp_path: Path) -> None:
    receipt = process(make_manifest(api, tmp_path, folder_structure=structure, keep_downloads=True))
    assert receipt.counts.written == 2
    region = "902_Berlin"
    orbits = orbits_of(folder_of(tmp_path, structure, region, "clipped"))
    assert orbits.to_dict("list") == {
        "datetime": ["20160529T101032", "20160608T101032"],
        "datehour": ["20160529T10", "20160608T10"],
        "satellite": ["S2A", "S2A"],
        "orbits": ["022", "022"],
        "processing_baselines": ["0202", "0202"],
    }
    stems = [f"S2A_MSIL2A_{day}_N0202_R022" for day in orbits["datetime"]]
    years = folder_of(tmp_path, structure, region, "download") / "2016"
    assert tiles_of_downloads(years) == {stem: ["33UUU"] for stem in stems}
    single = folder_of(tmp_path, structure, region, "metadata/individual_csv")
    names = sorted((path.name for path in single.glob("*.csv")), key=lambda one: one.split("_")[2])
    tables = [pd.read_csv(single / name, index_col=0, header=None, delimiter=",") for name in names]
    combined = folder_of(tmp_path, structure, region, "metadata") / "combined_csv" / f"{region}.csv"
    whole = pd.read_csv(combined, index_col=0)
    assert list(whole.index) == stems
    assert whole.values.tolist() == pd.concat(tables).values.tolist()
    assert [name[:37] for name in whole["1"]] == stems
    template = folder_of(tmp_path, structure, region, "template")
    assert (template / f"{region}.tif").is_file()
    if structure == "old":
        parts = {path.name for path in (tmp_path / BASE / "sentinel2" / region).iterdir()}
        assert parts == {"clipped", "download", "metadata", "template"}


@pytest.fixture
def landsat_table(api: Api, tmp_path: Path) -> tuple[pd.DataFrame, list[dict[str, Any]], Path]:
    """The table of Landsat items, as pandas reads it; the items; and the folder of the images."""
    api.items = local_items("landsat")
    assert process(make_manifest(api, tmp_path, "landsat")).counts.written == 2
    folder = tmp_path / BASE / "landsat"
    table = pd.read_csv(folder / "_reference/901_Yahtse_stac_query_results.csv", index_col=0)
    return table, sorted(api.items, key=lambda item: item["properties"]["datetime"]), folder / "901_Yahtse"


def test_landsat_images_and_table_name_each_other(
    landsat_table: tuple[pd.DataFrame, list[dict[str, Any]], Path],
) -> None:
    table, items, folder = landsat_table
    images = sorted(folder.glob("*.tif"))
    assert [landsat_facts(path.stem) for path in images] == [("LC08", "063018", "C02_T1_L1TP")] * 2
    made = [
        f"{pd.to_datetime(item['properties']['datetime']):%Y%m%d%H%M%S}"
        f"_{item['properties']['landsat:scene_id']}_{item['id']}_ortho"
        for item in items
    ]
    assert list(table["subset_id"]) == made == [path.stem for path in images]
    assert [str(one) for one in table["subset_id_no_collection"]] == [path.name[:14] for path in images]
    new = table[~table["subset_id"].str[:14].isin([path.name[:14] for path in images])]
    assert new.empty, "nothing that is there would be fetched again"


def test_the_tables_geometries_and_shares_are_those_of_geopandas(
    landsat_table: tuple[pd.DataFrame, list[dict[str, Any]], Path],
) -> None:
    table, items, _ = landsat_table
    region = real_region("901_Yahtse")
    rectangle = shapely.box(*region.bounds)
    raw = gpd.GeoSeries([shapely.geometry.shape(item["geometry"]) for item in items], crs=4326).to_crs(3413)
    read = gpd.GeoSeries.from_wkt(table["geometry"], crs=3413)
    assert read.geom_equals_exact(raw, tolerance=0.01).all()
    shared = gpd.GeoSeries.from_wkt(table["geometry_intersect"], crs=3413)
    shares = table["aoi_intersect_frac"]
    assert (shared.area / rectangle.area).tolist() == pytest.approx(shares.tolist(), abs=1e-9)
    assert (raw.intersection(rectangle).area / rectangle.area).tolist() == pytest.approx(
        shares.tolist(), abs=5e-3
    )
    assert (shares <= 1.0).all()
    assert list(table["proj:epsg"]) == [f"EPSG:{item['properties']['proj:epsg']}" for item in items]


def test_parts_of_several_units_keep_these_values(
    landsat_table: tuple[pd.DataFrame, list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    parts = [path.read_text() for path in tmp_path.rglob("_parts/*/*.csv")]
    whole = tmp_path / "whole.csv"
    whole.write_text(combine_query_parts(parts * 2))
    pd.testing.assert_frame_equal(pd.read_csv(whole, index_col=0), landsat_table[0])


@pytest.mark.parametrize(
    ("mode", "slurm", "folder"),
    [
        (None, False, "here"),
        (None, True, "cluster"),
        ("auto", True, "cluster"),
        ("local", True, "here"),
        ("hpc", False, "cluster"),
    ],
)
def test_execution_mode_decides_which_folder_is_meant(
    mode: str | None, slurm: bool, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if slurm:
        (tmp_path / "sbatch").write_text("#!/bin/sh\n")
        (tmp_path / "sbatch").chmod(0o755)
    lines = ["[PATHS]", "base_dir = cluster", "local_base_dir = here"]
    lines += [] if mode is None else ["[SETTINGS]", f"execution_mode = {mode}"]
    Path("config.ini").write_text("\n".join(lines))
    assert load_settings(environ={}).settings.output_dir == Path(folder)
    asked = load_settings(environ={}, overrides={"PATHS.base_dir": "asked"})
    assert asked.settings.output_dir == Path("asked")


@pytest.mark.parametrize(("there", "settings"), [("old", "new"), ("new", "old")])
def test_the_other_folder_structure_is_said_before_anything_is_written(
    there: Structure,
    settings: Structure,
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    regions = tmp_path / "regions.csv"
    region = real_region("902_Berlin")
    bounds = ",".join(f"{one:.0f}" for one in region.bounds)
    regions.write_text(f"region,mgrs_tiles,xmin,ymin,xmax,ymax\n902_Berlin,33UUU,{bounds}\n")
    manifest = make_manifest(api, tmp_path / "output", folder_structure=there)
    assert process(manifest).counts.written == 2
    monkeypatch.chdir(tmp_path)
    days = [day["properties"]["datetime"][:10] for day in api.items]
    arguments = ["--satellite", "sentinel2", "--regions-file", "regions.csv", "--regions", "902_Berlin"]
    arguments += ["--date1", min(days), "--date2", max(days), "--stac-url", api.url]
    for structure, said in ((settings, True), (there, False)):
        monkeypatch.setenv("GLACIERFLOW_FOLDER_STRUCTURE", structure)
        assert run(["run", *arguments]) == 0
        assert (f"set folder_structure = {there}" in capsys.readouterr().err) is said


@pytest.mark.parametrize(
    ("option", "now"),
    [
        ("--instance-type", "instance_types"),
        ("--spot-instances", "use_spot_instances"),
        ("--email", "email_notifications"),
        ("--setup", "glacierflow stack deploy"),
        ("--min_area", "--regions"),
        ("--max_area", "--regions"),
        ("--ignore_regions", "--start-end-index"),
        ("--test_run", "--dry-run"),
    ],
)
def test_an_option_that_is_gone_is_answered_with_what_to_use_now(
    option: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["submit", option, "x"], ["batch", "submit", f"{option}=x"], ["run", option]):
        assert run(words) == 64
        said = capsys.readouterr().err
        assert f"No such option: {option}" in said
        assert now in said.partition("next: ")[2]
    assert instead_of("--nothing-of-the-kind") is None
