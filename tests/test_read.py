"""Pixels against rasterio's own WarpedVRT at exact coordinates, read over real HTTP ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from http_servers import RangeServer
from numpy.typing import NDArray
from rasterio.enums import Resampling as Kernel
from rasterio.vrt import WarpedVRT
from samples import ARCHIVES, make_region, read_item, real_archive, real_region

from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, DataError, UnavailableError
from glacierflow.imagery.grid import Pixels, geobox_of, source_window
from glacierflow.imagery.mosaic import Imagery, warp
from glacierflow.model.records import CRS, Region, Resampling, Scene, StepSettings
from glacierflow.search.items import parse_item


def real_scenes(satellite: Any) -> list[Scene]:
    """The two of the real archive, or those that stand in for them."""
    return scenes_of(real_archive(), satellite)


def scenes_of(archive: Path, satellite: Any) -> list[Scene]:
    folder = {"sentinel2": "sentinel-2-l2a", "landsat": "landsat-c2l1"}[satellite]
    scenes = []
    for path in sorted((archive / folder).glob("*/*.json")):
        item = read_item(path)
        scene = parse_item(item, satellite)
        assert isinstance(scene, Scene)
        href = str(path.parent / item["assets"][scene.asset_key]["href"])
        scenes.append(scene.model_copy(update={"href": href}))
    assert len(scenes) == 2, f"the archive is not there: {archive}"
    return scenes


def truth(path: str, region: Region, satellite: Any, kernel: Resampling = "cubic") -> NDArray[np.uint16]:
    geobox = geobox_of(region, satellite)
    with (
        rasterio.open(path) as source,
        WarpedVRT(
            source,
            crs=CRS,
            transform=geobox.affine,
            height=geobox.shape[0],
            width=geobox.shape[1],
            resampling=Kernel[kernel],
            src_nodata=0,
            nodata=0,
            tolerance=5e-5,
            XSCALE=1,
            YSCALE=1,
        ) as warped,
    ):
        result: NDArray[np.uint16] = warped.read(1)
    return result


def computed(scene: Scene, region: Region, **settings: Any) -> NDArray[np.uint16]:
    imagery = Imagery(Cloud(), StepSettings(request_attempts=1, **settings))
    return imagery.mosaic([scene], geobox_of(region, scene.satellite))


@pytest.mark.parametrize(("satellite", "name"), [("sentinel2", "902_Berlin"), ("landsat", "901_Yahtse")])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_pixels_equal_exact_cubic(archive: str, satellite: str, name: str, number: int) -> None:
    scene = scenes_of(ARCHIVES[archive](), satellite)[number]
    ours = computed(scene, real_region(name))
    exact = truth(scene.href, real_region(name), satellite)
    difference = np.abs(ours.astype(int) - exact)
    assert (difference <= 1).mean() >= 0.999
    assert difference.max() <= 3
    assert exact.std() > 100, "a flat truth proves nothing"


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos", "nearest"])
def test_the_other_kernels_are_the_ones_named(kernel: Resampling) -> None:
    scene, region = real_scenes("landsat")[0], real_region("901_Yahtse")
    ours = computed(scene, region, resampling=kernel)
    difference = np.abs(ours.astype(int) - truth(scene.href, region, "landsat", kernel))
    assert (difference <= 1).mean() >= 0.999
    assert np.any(ours != computed(scene, region))


def test_the_grid_is_the_regions_rectangle_unsnapped() -> None:
    region = make_region(bounds=(-337040, -1653090, -303740, -1634490))
    geobox = geobox_of(region, "landsat")
    assert geobox.shape == (1240, 2220)
    assert tuple(geobox.boundingbox.bbox) == region.bounds


# -- made-up sources: edges, nodata, dark pixels -----------------------------------------------------------

UTM = 32607


def synthetic(data: NDArray[Any], region: Region) -> Pixels:
    """15 m pixels in UTM zone 7 around the middle of the region."""
    from pyproj import Transformer

    x, y = (region.xmin + region.xmax) / 2, (region.ymin + region.ymax) / 2
    east, north = Transformer.from_crs(3413, UTM, always_xy=True).transform(x, y)
    rows, cols = data.shape
    return Pixels(data, Affine(15, 0, east - cols * 7.5, 0, -15, north + rows * 7.5), UTM)


def test_chunks_meet_without_a_seam() -> None:
    region = real_region("901_Yahtse")
    geobox = geobox_of(region, "landsat")
    pixels = synthetic(np.random.default_rng(1).integers(1, 60000, (900, 900), np.uint16), region)
    whole = warp(pixels, geobox, "cubic")
    for rows in (slice(0, 173), slice(173, 400)):
        for cols in (slice(0, 211), slice(211, 400)):
            part = warp(pixels, geobox[rows, cols], "cubic").astype(int)
            # coordinates are exact to 0.00005 px: at most 3 of the 60,000 DN between these noisy pixels
            assert np.abs(part - whole[rows, cols]).max() <= 3


def test_valid_dark_pixels_never_become_nodata_by_undershoot() -> None:
    region = real_region("901_Yahtse")
    stripes = np.where(np.arange(900) // 6 % 2, 1, 60000).astype(np.uint16)
    pixels = synthetic(np.tile(stripes, (900, 1)), region)
    assert warp(pixels, geobox_of(region, "landsat"), "cubic").min() >= 1


def test_nodata_does_not_bleed_and_an_edge_inside_the_region_stays_an_edge() -> None:
    region = real_region("901_Yahtse")
    geobox = geobox_of(region, "landsat")
    data = np.full((900, 900), 20000, np.uint16)
    data[:, :450] = 0
    image = warp(synthetic(data, region), geobox, "cubic")
    assert set(np.unique(image)) == {0, 20000}
    assert 0.4 < (image == 0).mean() < 0.6


def test_a_source_elsewhere_gives_nothing() -> None:
    region = real_region("901_Yahtse")
    geobox = geobox_of(region, "landsat")
    far = Pixels(np.ones((10, 10), np.uint16), Affine(15, 0, 100000, 0, -15, 2000000), UTM)
    assert source_window(geobox, far.transform, (10, 10), UTM, 8) is None
    assert not warp(far, geobox, "cubic").any()


# -- over HTTP, with faults --------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RangeServer]:
    server = RangeServer(tmp_path)
    yield server
    server.server.shutdown()
    server.server.server_close()


def on_web(web: RangeServer, name: str) -> Scene:
    return real_scenes("landsat")[0].model_copy(update={"href": f"{web.url}/{name}"})


def test_only_the_pixels_needed_travel(web: RangeServer, tmp_path: Path) -> None:
    scene, region = real_scenes("landsat")[0], real_region("901_Yahtse")
    (tmp_path / "a.TIF").write_bytes(Path(scene.href).read_bytes())
    ours = computed(on_web(web, "a.TIF"), region)
    np.testing.assert_array_equal(ours, computed(scene, region))
    assert web.sent < 0.8 * Path(scene.href).stat().st_size
    assert {path for path in web.paths if path != "/a.TIF"} == set(), "no sidecars, no listings"


def test_a_web_page_instead_of_an_image_is_bad_data(web: RangeServer, tmp_path: Path) -> None:
    (tmp_path / "page.tif").write_text("<html>Service temporarily unavailable</html>")
    with pytest.raises(DataError, match=r"page\.tif could not be read"):
        computed(on_web(web, "page.tif"), real_region("901_Yahtse"))


def test_a_truncated_image_is_bad_data_and_never_a_wrong_pixel(web: RangeServer, tmp_path: Path) -> None:
    data = Path(real_scenes("landsat")[0].href).read_bytes()
    (tmp_path / "short.tif").write_bytes(data[: len(data) // 3])
    with pytest.raises(DataError):
        computed(on_web(web, "short.tif"), real_region("901_Yahtse"))


def test_a_missing_image_is_bad_data(web: RangeServer) -> None:
    with pytest.raises(DataError):
        computed(on_web(web, "gone.tif"), real_region("901_Yahtse"))


@pytest.mark.parametrize(
    ("status", "error"), [(503, UnavailableError), (403, UnavailableError), (401, CredentialsError)]
)
def test_the_servers_refusal_is_told_apart(web: RangeServer, status: int, error: type[Exception]) -> None:
    web.faults["/x.tif"] = status
    with pytest.raises(error):
        computed(on_web(web, "x.tif"), real_region("901_Yahtse"))


def test_an_image_in_another_projection_than_its_item_says_is_refused(tmp_path: Path) -> None:
    scene = real_scenes("landsat")[0].model_copy(update={"epsg": 32608})
    with pytest.raises(DataError, match="EPSG:32607, its STAC item says EPSG:32608"):
        computed(scene, real_region("901_Yahtse"))


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_an_image_whose_item_names_no_projection_and_whose_url_has_no_ending_is_read(
    web: RangeServer, tmp_path: Path, compress: str
) -> None:
    """The file knows its projection and what it is, also where GDAL reads it."""
    scene = real_scenes("landsat")[0]
    with rasterio.open(scene.href) as source:
        profile, data = source.profile | {"compress": compress}, source.read(1)
    with rasterio.open(tmp_path / "image", "w", **profile) as out:
        out.write(data, 1)
    region = real_region("901_Yahtse")
    there = on_web(web, "image").model_copy(update={"epsg": None})
    np.testing.assert_array_equal(computed(there, region), computed(scene, region))
