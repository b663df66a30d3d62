"""``glacierflow check``: every defect is found, each by its own name, and a good tree passes."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from product_trees import (
    CATALOGUE,
    LANDSAT_STEM,
    REGION,
    STEMS,
    our_tree,
    pixels,
    put,
    their_tree,
    write_plain,
    write_product,
)
from runs_samples import NOW, put_attempt, some_manifest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError
from glacierflow.imagery.grid import geobox_of
from glacierflow.model.layout import Layout, RunLayout, parse_product
from glacierflow.model.receipt import ProductRecord
from glacierflow.products import inspect as image_module
from glacierflow.products.check import check_tree
from glacierflow.products.compare import compare_trees
from glacierflow.products.tree import CheckReport, open_tree, read_tree
from glacierflow.store import LocalStore, open_store

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

BASE = "1_download_merge_and_clip"
FIRST = Path(BASE) / "sentinel2" / "clipped" / REGION.name / f"{STEMS[0]}.tif"
SECOND = FIRST.with_name(f"{STEMS[1]}.tif")


def check(where: Path, *, quick: bool = False) -> CheckReport:
    return check_tree(open_tree(str(where), Cloud()), {REGION.name: REGION}, quick=quick)


def codes(report: CheckReport) -> set[tuple[str, str]]:
    return {(finding.key.rpartition("/")[2], finding.code) for finding in report.wrong}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("inside", ["", BASE, f"{BASE}/sentinel2", FIRST.parent.as_posix()])
def test_a_good_tree_passes_from_any_of_its_folders(tmp_path: Path, inside: str, quick: bool) -> None:
    report = check(our_tree(tmp_path) / inside, quick=quick)
    assert report.wrong == ()
    assert report.unchecked == ()
    assert report.products == (2 if "sentinel2" in inside else 3)
    assert report.untagged == 0
    assert report.exit_code == 0


@pytest.mark.parametrize("structure", ["old", "new"])
def test_the_predecessors_trees_pass_and_are_told_apart(tmp_path: Path, structure: str) -> None:
    report = check(their_tree(tmp_path, structure))
    assert report.wrong == ()
    assert (report.products, report.untagged, report.exit_code) == (2, 2, 0)


def turned(path: Path) -> None:
    write_plain(path, pixels(0), crs="EPSG:32622")


def coarse(path: Path) -> None:
    affine = geobox_of(REGION, "sentinel2").affine * Affine.scale(2)
    write_plain(path, pixels(0)[::2, ::2], transform=affine)


def shifted(path: Path) -> None:
    write_plain(path, pixels(0), transform=geobox_of(REGION, "sentinel2").affine * Affine.translation(0.3, 0))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def rotten(path: Path) -> None:
    """One byte of the only block; header and length stay."""
    content = bytearray(path.read_bytes())
    content[-1500:-1400] = bytes(100)
    path.write_bytes(content)


def html(path: Path) -> None:
    path.write_text("<html>503 Slow Down</html>")


DEFECTS: list[tuple[Callable[[Path], Any], str]] = [
    (turned, "crs"),
    (coarse, "resolution"),
    (shifted, "extent"),
    (lambda path: write_plain(path, pixels(0), dtype="float32"), "dtype"),
    (lambda path: write_plain(path, pixels(0), nodata=65535), "nodata"),
    (lambda path: write_plain(path, pixels(0), count=2), "bands"),
    (lambda path: write_plain(path, np.zeros((90, 60), np.uint16)), "all_nodata"),
    (lambda path: write_plain(path, np.full((90, 60), 7, np.uint16)), "constant"),
    (cut, "damaged"),
    (rotten, "damaged"),
    (html, "damaged"),
    (lambda path: path.write_bytes(b""), "damaged"),
]


@pytest.mark.parametrize(("spoil", "code"), DEFECTS)
def test_each_defect_is_found_by_its_name(tmp_path: Path, spoil: Callable[[Path], Any], code: str) -> None:
    spoil(our_tree(tmp_path) / FIRST)
    report = check(tmp_path)
    assert codes(report) == {(FIRST.name, code)}
    assert report.exit_code == 1


@pytest.mark.parametrize("spoil", [cut, html, turned, shifted])
def test_quick_finds_what_headers_tell(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(our_tree(tmp_path) / FIRST)
    assert {name for name, _ in codes(check(tmp_path, quick=True))} == {FIRST.name}


def test_a_copy_of_another_image_is_found_whatever_its_compression(tmp_path: Path) -> None:
    their_tree(tmp_path)
    folder = tmp_path / "sentinel2" / REGION.name / "clipped"
    (folder / f"{STEMS[1]}.tif").unlink()
    write_product(tmp_path, Layout(".", "old"), REGION, STEMS[1], pixels(0))
    put(tmp_path / Layout(".", "old").stac_item("sentinel2", REGION.name, STEMS[1]), "{}")
    report = check(tmp_path)
    assert codes(report) == {(f"{STEMS[1]}.tif", "duplicate")}
    assert f"{STEMS[0]}.tif" in report.wrong[0].reason


def remove(*parts: str) -> Callable[[Path], None]:
    return lambda root: root.joinpath(BASE, *parts).unlink()


def fix(text: str, *parts: str) -> Callable[[Path], object]:
    return lambda root: root.joinpath(BASE, *parts).write_text(text)


INDIVIDUAL = ("sentinel2", "metadata", "individual_csv", REGION.name, f"{STEMS[0]}.csv")
COMBINED = ("sentinel2", "metadata", "combined_csv", f"{REGION.name}.csv")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (remove(*INDIVIDUAL), {(FIRST.name, "csv")}),
        (fix(STEMS[0], *INDIVIDUAL), {(FIRST.name, "csv")}),
        (remove(*COMBINED), {(FIRST.name, "combined_csv"), (SECOND.name, "combined_csv")}),
        (fix(f"0,1\n{STEMS[1]},x", *COMBINED), {(FIRST.name, "combined_csv")}),
        (remove("stac", "sentinel2", REGION.name, f"{STEMS[0]}.json"), {(FIRST.name, "stac_item")}),
        (remove("sentinel2", "template", f"{REGION.name}.tif"), {(f"{REGION.name}.tif", "template")}),
        (
            fix(",id\n0,LC08_other\n", "landsat", "_reference", f"{REGION.name}_stac_query_results.csv"),
            {(f"{LANDSAT_STEM}_ortho.tif", "combined_csv")},
        ),
    ],
)
def test_missing_lineage_is_found(
    tmp_path: Path, spoil: Callable[[Path], object], found: set[tuple[str, str]]
) -> None:
    spoil(our_tree(tmp_path))
    assert codes(check(tmp_path)) == found


def test_tags_that_tell_no_sources_are_found(tmp_path: Path) -> None:
    with rasterio.open(our_tree(tmp_path) / FIRST, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as product:
        product.update_tags(GLACIERFLOW_SOURCES="[]")
    assert codes(check(tmp_path)) == {(FIRST.name, "tags")}


def test_what_cannot_be_checked_is_no_pass(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert [finding.code for finding in report.unchecked] == ["nothing"]
    assert report.exit_code == 2
    our_tree(tmp_path)
    report = check_tree(open_tree(str(tmp_path), Cloud()), {})
    assert {finding.code for finding in report.unchecked} == {"unknown_region"}
    assert (report.wrong, report.exit_code) == ((), 2)
    (tmp_path / FIRST).write_bytes(b"")
    assert check_tree(open_tree(str(tmp_path), Cloud()), {}).exit_code == 1


def test_keys_of_both_structures_are_understood_and_nothing_else() -> None:
    for structure in ("new", "old"):
        layout = Layout("a/b", "old" if structure == "old" else "new")
        for satellite, stem in (("sentinel2", STEMS[0]), ("landsat", LANDSAT_STEM)):
            kind: Any = satellite
            place = parse_product(layout.product(kind, "900_test", stem))
            assert place is not None
            assert (place.satellite, place.region, place.stem) == (satellite, "900_test", stem)
            assert place.layout.product(kind, "900_test", stem) == layout.product(kind, "900_test", stem)
        assert parse_product(layout.template("sentinel2", "900_test")) is None
        assert parse_product(layout.template("landsat", "900_test")) is None
        assert parse_product(layout.download("900_test", 2024, STEMS[0])) is None


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, catalogue = our_tree(tmp_path / "tree"), tmp_path / "regions.csv"
    catalogue.write_text(CATALOGUE)
    command = ["check", str(tree), "--regions-file", str(catalogue)]
    assert run(command) == 0
    assert "images: 3, regions: 1, checked by every pixel; nothing is wrong" in capsys.readouterr().out
    shutil.copy(tree / FIRST, tree / SECOND)
    assert run([*command, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["codes"] == {"duplicate": 1}
    assert answer["wrong"][0]["key"] == SECOND.as_posix()
    assert run([*command, "--quick"]) == 0
    assert run(["check", str(tmp_path / "elsewhere")]) == 64
    assert "neither a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["check", str(tmp_path / "empty")]) == 2


def test_a_run_is_checked_by_its_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other images of the tree are not the run's; one that a receipt names must be there."""
    tree, catalogue = our_tree(tmp_path / "tree"), tmp_path / "regions.csv"
    catalogue.write_text(CATALOGUE)
    manifest, store = some_manifest(1), LocalStore(tree)
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    there, gone = FIRST.as_posix(), FIRST.with_name("S2A_MSIL2A_20240709T152911_N0511_R068.tif").as_posix()
    records = tuple(product_record(key) for key in (there, gone))
    put_attempt(store, manifest, 0, "done", products=records)
    (tree / SECOND).write_bytes(b"")
    command = ["check", str(tree / "runs" / manifest.run_id), "--regions-file", str(catalogue), "--json"]
    assert run(command) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["products"] == 1
    assert [(finding["key"], finding["code"]) for finding in answer["wrong"]] == [(gone, "missing")]


def product_record(key: str) -> ProductRecord:
    return ProductRecord(
        unit=0, key=key, acquisition="a", datetime=NOW, size=1, sha256="0", coverage=1.0, sources=("x",)
    )


class Afar:
    """A directory that answers like a bucket: no paths, and refusals where ``busy`` says so."""

    def __init__(self, root: Path, busy: str = "-") -> None:
        self._store, self._busy = LocalStore(root), busy

    def get_head(self, key: str, size: int) -> bytes | None:
        if self._busy in key:
            raise StoreError(f"s3://made-up/{key}: S3 answers SlowDown")
        return self._store.get_head(key, size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def check_afar(store: Any) -> CheckReport:
    return check_tree(read_tree("s3://made-up", store, ""), {REGION.name: REGION}, quick=True)


def test_quick_reads_a_header_at_the_end_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL writes the directory anew at the end, where a program adds tags that do not fit."""
    path = our_tree(tmp_path) / FIRST
    write_plain(path, pixels(0))
    with rasterio.open(path, "r+") as image:
        image.update_tags(NOTE="x" * 1000)
    assert path.stat().st_size > int.from_bytes(path.read_bytes()[4:8], "little") > 4096
    monkeypatch.setattr(image_module, "HEAD_BYTES", 4096)
    before, after = check(tmp_path, quick=True), check_afar(Afar(tmp_path))
    assert after.wrong == before.wrong
    assert (FIRST.name, "damaged") not in codes(after)


def test_a_template_that_is_refused_leaves_the_other_findings(tmp_path: Path) -> None:
    tree = our_tree(tmp_path)
    (tree / SECOND).write_bytes(b"no image")
    template = Layout(BASE).template("sentinel2", REGION.name)
    report = check_afar(Afar(tree, busy=template))
    assert (SECOND.name, "damaged") in codes(report)
    assert [(one.key, one.code) for one in report.unchecked] == [(template, "unreadable")]


@pytest.mark.embedded
def test_a_bucket_is_checked_and_compared_like_a_folder(tmp_path: Path, cloud_endpoint: Endpoint) -> None:
    cloud = Cloud(endpoint_url=cloud_endpoint.url, embedded=True)
    bucket = f"check-{uuid.uuid4().hex[:8]}"
    cloud.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    folder, store = our_tree(tmp_path), open_store(f"s3://{bucket}", cloud)
    for path in folder.rglob("*.*"):
        if path.is_file():
            store.put_file(f"deep/{path.relative_to(folder).as_posix()}", path)
    catalogue = {REGION.name: REGION}
    for where in (f"s3://{bucket}/deep", f"s3://{bucket}/deep/{FIRST.parent.as_posix()}"):
        for quick in (False, True):
            report = check_tree(open_tree(where, cloud), catalogue, quick=quick)
            assert (report.wrong, report.unchecked) == ((), ())
    found = compare_trees(open_tree(str(folder), cloud), open_tree(f"s3://{bucket}", cloud))
    assert found.states == {"identical": 3}
    cut(folder / FIRST)
    store.put_file(f"deep/{FIRST.as_posix()}", folder / FIRST)
    for quick in (False, True):
        report = check_tree(open_tree(f"s3://{bucket}", cloud), catalogue, quick=quick)
        assert {name for name, _ in codes(report)} == {FIRST.name}
