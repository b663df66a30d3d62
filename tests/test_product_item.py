"""The STAC items of products, judged by the specification's own schemas and by pystac."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import posixpath
from typing import Any

import pystac
import pytest
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from samples import make_region, real_region
from test_lineage import scenes

from glacierflow.model.layout import Layout
from glacierflow.model.records import Acquisition, Region, Satellite, StepSettings
from glacierflow.products.stac_item import Product, make_catalog, make_collection, make_item
from glacierflow.search.acquisitions import group_scenes

SCHEMAS = get_local_schema_cache()
REGISTRY: Registry[Any] = Registry().with_resources(
    [(uri, Resource.from_contents(schema)) for uri, schema in SCHEMAS.items()]
)
LAYOUT = Layout("base")


def check(kind: str, content: dict[str, Any]) -> None:
    """Against the STAC 1.1 schema that pystac carries."""
    schema = SCHEMAS[f"https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/{kind}.json"]
    Draft7Validator(schema, registry=REGISTRY).validate(json.loads(json.dumps(content)))


def product(satellite: Satellite, acquisition: Acquisition | None = None) -> Product:
    found = acquisition or group_scenes(scenes(satellite), satellite, ("33UUU",))[0]
    region = real_region({"sentinel2": "902_Berlin", "landsat": "901_Yahtse"}[satellite])
    key = LAYOUT.product(satellite, region.name, found.stem)
    return Product(found, region, StepSettings(), key, 0.75, 1234, hashlib.sha256(b"tif").hexdigest())


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_items_are_stac_and_say_where_everything_lies(satellite: Satellite) -> None:
    made = product(satellite)
    item = make_item(made, LAYOUT)
    check("item", item)
    read = pystac.Item.from_dict(item)
    assert read.datetime == made.acquisition.datetime
    place = LAYOUT.stac_item(satellite, made.region.name, made.acquisition.stem)
    for asset, target in zip(item["assets"].values(), [made.key, "csv"], strict=False):
        found = posixpath.normpath(posixpath.join(posixpath.dirname(place), asset["href"]))
        assert found == (target if target != "csv" else LAYOUT.individual_csv("902_Berlin", read.id))
    links = {link["rel"]: link["href"] for link in item["links"]}
    collection = posixpath.normpath(posixpath.join(posixpath.dirname(place), links["collection"]))
    assert collection == LAYOUT.stac_collection(satellite, made.region.name)
    assert item["assets"]["image"]["file:checksum"] == "1220" + hashlib.sha256(b"tif").hexdigest()
    assert item["assets"]["image"]["file:size"] == 1234


def test_a_sentinel2_item_has_what_pairing_needs() -> None:
    item = make_item(product("sentinel2"), LAYOUT)
    properties = item["properties"]
    assert properties["datetime"] == "2016-05-29T10:10:32.027000Z"
    assert properties["sat:relative_orbit"] == 22
    assert properties["view:sun_azimuth"] == pytest.approx(160, abs=10)
    assert properties["view:sun_elevation"] == pytest.approx(58, abs=20)
    assert properties["platform"] == "sentinel-2a"
    assert properties["proj:code"] == "EPSG:3413"
    assert properties["proj:shape"] == [900, 900]
    assert properties["proj:transform"] == [10, 0, 3525300, 0, -10, -2227200]
    assert properties["proj:bbox"] == [3525300, -2236200, 3534300, -2227200]
    assert properties["glacierflow:coverage"] == 0.75
    assert properties["processing:lineage"] == "Contains modified Copernicus Sentinel data 2016"
    (source,) = properties["glacierflow:sources"]
    assert (source["baseline"], source["offset"], source["offset_applied"]) == ("02.02", -0.1, True)
    assert "glacierflow:differing_offsets" not in properties
    (derived,) = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert derived == (
        "https://earth-search.aws.element84.com/v1/collections/sentinel-2-l2a/items/S2A_33UUU_20160529_0_L2A"
    )
    # DN as in the archive: an offset here would be applied by software that believes it
    assert not any(name.startswith("raster:") for name in json.dumps(item).split('"'))


def test_a_landsat_item_has_path_and_row_and_the_exact_time() -> None:
    properties = make_item(product("landsat"), LAYOUT)["properties"]
    assert (properties["landsat:wrs_path"], properties["landsat:wrs_row"]) == ("063", "018")
    assert properties["datetime"].startswith("2016-07-18T20:37:06")
    assert properties["gsd"] == 15
    assert properties["proj:shape"] == [400, 400]


def test_an_extension_is_named_only_where_its_fields_are() -> None:
    unseen: dict[str, object] = {"sun_azimuth": None, "sun_elevation": None, "properties": {}}
    blind = scenes("landsat")[0].model_copy(update=unseen)
    for satellite, acquisition, named in [
        ("sentinel2", None, {"view", "sat"}),
        ("landsat", None, {"view"}),
        ("landsat", group_scenes([blind], "landsat", ())[0], set()),
    ]:
        item = make_item(product(satellite, acquisition), LAYOUT)  # type: ignore[arg-type]
        extensions = {uri.split("/")[3] for uri in item["stac_extensions"]}
        assert extensions == {"projection", "file", "eo", "processing"} | named
        prefixes = {name.partition(":")[0] for name in item["properties"] if ":" in name}
        prefixes = {"projection" if prefix == "proj" else prefix for prefix in prefixes}
        assert prefixes - {"glacierflow", "landsat"} <= extensions


def test_tiles_that_differ_in_their_offset_are_told() -> None:
    one = scenes("sentinel2")[0]
    other = one.model_copy(update={"place": "32UQD", "offset_applied": None, "baseline": "05.00"})
    acquisition = group_scenes([one, other], "sentinel2", ("33UUU", "32UQD"))[0]
    item = make_item(product("sentinel2", acquisition), LAYOUT)
    check("item", item)
    assert item["properties"]["glacierflow:differing_offsets"] == (
        "33UUU: baseline 02.02, scale 0.0001, offset -0.1, applied true; "
        "32UQD: baseline 05.00, scale 0.0001, offset -0.1, applied not told"
    )
    assert [source["baseline"] for source in item["properties"]["glacierflow:sources"]] == ["02.02", "05.00"]


def test_a_collection_spans_its_items_and_links_them() -> None:
    region = real_region("902_Berlin")
    stems = ["S2B_MSIL2A_20170101T101032_N0500_R022", "S2A_MSIL2A_20160529T101032_N0202_R022"]
    collection = make_collection("sentinel2", region, stems, LAYOUT)
    check("collection", collection)
    assert collection["extent"]["temporal"]["interval"] == [
        ["2016-05-29T10:10:32.000000Z", "2017-01-01T10:10:33.000000Z"]
    ]
    last = dt.datetime(2017, 1, 1, 10, 10, 32, 999_999, tzinfo=dt.UTC)
    end = pystac.Collection.from_dict(collection).extent.temporal.intervals[0][1]
    assert end is not None
    assert last <= end, "its last item"
    items = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert items == [f"../../sentinel2/902_Berlin/{stem}.json" for stem in reversed(stems)]
    assert pystac.Collection.from_dict(collection).extent.temporal.intervals[0][0] == dt.datetime(
        2016, 5, 29, 10, 10, 32, tzinfo=dt.UTC
    )


def test_a_catalog_links_its_collections() -> None:
    keys = {LAYOUT.stac_collection("landsat", name): name for name in ("b", "a")}
    catalog = make_catalog(keys, LAYOUT)
    check("catalog", catalog)
    children = [link["href"] for link in catalog["links"] if link["rel"] == "child"]
    assert children == ["./collections/landsat/a.json", "./collections/landsat/b.json"]


def test_the_box_holds_the_outline() -> None:
    region: Region = make_region()
    box = make_item(product("sentinel2"), LAYOUT)["bbox"]
    for longitude, latitude in region.outline:
        assert box[0] <= longitude <= box[2]
        assert box[1] <= latitude <= box[3]
