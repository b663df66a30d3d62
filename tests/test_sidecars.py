from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pystac
from samples import make_region, make_unit

from glacierflow.model.layout import Layout
from glacierflow.search.acquisitions import Found
from glacierflow.step.sidecars import rebuild_tree, write_tables
from glacierflow.store import Entry, LocalStore

LAYOUT = Layout("base")
STEMS = [f"S2A_MSIL2A_202407{day:02d}T101032_N0510_R022" for day in (1, 2, 3)]


def test_lineage_of_a_unit_that_finishes_while_another_writes_is_not_forgotten(tmp_path: Path) -> None:
    class Busy(LocalStore):
        looks = 0

        def list(self, prefix: str) -> Iterator[Entry]:
            entries = [*super().list(prefix)]
            Busy.looks += 1
            if Busy.looks == 1:
                self.put(LAYOUT.individual_csv("a", STEMS[1]), f"{STEMS[1]},second".encode())
            return iter(entries)

    store = Busy(tmp_path)
    store.put(LAYOUT.individual_csv("a", STEMS[0]), f"{STEMS[0]},first".encode())
    write_tables(store, LAYOUT, make_unit("a"), make_region("a"), Found((), (), 0))
    assert (tmp_path / LAYOUT.combined_csv("a")).read_text().splitlines() == [
        "0,1",
        f"{STEMS[0]},first",
        f"{STEMS[1]},second",
    ]


def write_items(store: LocalStore, region: str, stems: list[str]) -> None:
    for stem in stems:
        store.put(LAYOUT.stac_item("sentinel2", region, stem), b"{}")


def linked(folder: Path, key: str, rel: str) -> list[str]:
    content = json.loads((folder / key).read_text())
    return [link["href"].rpartition("/")[2] for link in content["links"] if link["rel"] == rel]


def test_without_items_there_is_no_tree(tmp_path: Path) -> None:
    rebuild_tree(LocalStore(tmp_path), LAYOUT, "sentinel2", make_region())
    assert not list(tmp_path.rglob("*.json"))


def test_the_tree_follows_its_links_from_the_catalog_down(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("b", "a"):
        write_items(store, name, STEMS)
        rebuild_tree(store, LAYOUT, "sentinel2", make_region(name))
    catalog = pystac.Catalog.from_file(str(tmp_path / LAYOUT.stac_catalog))
    assert [child.id for child in catalog.get_children()] == [
        "glacierflow-sentinel2-a",
        "glacierflow-sentinel2-b",
    ]
    for child in catalog.get_children():
        hrefs = [link.get_absolute_href() for link in child.get_links("item")]
        assert len(hrefs) == 3
        assert all(href and Path(href).is_file() for href in hrefs)


def test_files_of_other_people_are_left_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(f"{LAYOUT.stac_items_prefix('sentinel2', 'a')}notes.json", b"{}")
    rebuild_tree(store, LAYOUT, "sentinel2", make_region("a"))
    assert not (tmp_path / LAYOUT.stac_collection("sentinel2", "a")).exists()
    write_items(store, "a", STEMS)
    rebuild_tree(store, LAYOUT, "sentinel2", make_region("a"))
    assert len(linked(tmp_path, LAYOUT.stac_collection("sentinel2", "a"), "item")) == 3


def test_a_unit_that_finishes_while_another_writes_is_not_forgotten(tmp_path: Path) -> None:
    """Another unit writes its items and collections after we looked and before we wrote."""

    class Busy(LocalStore):
        looks = 0

        def list(self, prefix: str) -> Iterator[Entry]:
            entries = [*super().list(prefix)]
            Busy.looks += 1
            if Busy.looks == 1:
                write_items(LocalStore(tmp_path), "a", STEMS[1:])
                write_items(LocalStore(tmp_path), "b", STEMS)
                rebuild_tree(LocalStore(tmp_path), LAYOUT, "sentinel2", make_region("b"))
            return iter(entries)

    write_items(LocalStore(tmp_path), "a", STEMS[:1])
    rebuild_tree(Busy(tmp_path), LAYOUT, "sentinel2", make_region("a"))
    assert linked(tmp_path, LAYOUT.stac_collection("sentinel2", "a"), "item") == [
        f"{stem}.json" for stem in STEMS
    ]
    assert linked(tmp_path, LAYOUT.stac_catalog, "child") == ["a.json", "b.json"]
