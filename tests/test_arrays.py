"""``open_region``: lazy, self-describing, and pixel by pixel what ``glacierflow run`` writes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import rasterio
import xarray as xr
from http_servers import Api, RangeServer
from numpy.typing import NDArray
from real_stac import DATES, REGION, serve_real
from samples import real_archive, real_region, real_regions
from test_read import real_scenes, truth
from test_task import api as api
from test_task import bucket as bucket

import glacierflow
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, RegionError, UsageError

# untyped
Client: Any = distributed.Client
LocalCluster: Any = distributed.LocalCluster


@pytest.fixture(scope="module")
def stac() -> Iterator[str]:
    with serve_real() as served:
        yield served.url


def open_berlin(stac: str, **more: Any) -> xr.DataArray:
    return glacierflow.open_region(
        REGION,
        "sentinel2",
        *DATES,
        regions_file=real_regions(),
        sentinel2_stac_url=stac,
        **more,
    )


@pytest.fixture(scope="module")
def products(stac: str, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.uint16]]:
    """What ``glacierflow run`` writes of the same."""
    folder = tmp_path_factory.mktemp("products")
    where = [
        "--regions-file",
        str(real_regions()),
        "--regions",
        REGION,
        "--base-dir",
        str(folder),
    ]
    dates = ["--date1", DATES[0], "--date2", DATES[1]]
    assert run(["run", "--satellite", "sentinel2", *where, *dates, "--stac-url", stac, "--quiet"]) == 0
    images = []
    for path in sorted(folder.rglob(f"clipped/{REGION}/*.tif")):
        with rasterio.open(path) as product:
            images.append(product.read(1))
    assert len(images) == 2
    return images


@pytest.mark.parametrize("chunks", [None, 256, 300])
def test_pixels_are_those_of_the_products_whatever_the_chunks(
    stac: str, products: list[NDArray[np.uint16]], chunks: int | None
) -> None:
    array = open_berlin(stac, chunks=chunks)
    assert all(size % 64 == 0 for size in array.data.chunks[1][:-1])
    np.testing.assert_array_equal(array.to_numpy(), np.stack(products))


@pytest.mark.parametrize("processes", [False, True])
def test_a_cluster_computes_the_same(stac: str, products: list[NDArray[np.uint16]], processes: bool) -> None:
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        array = open_berlin(stac, chunks=512)
        np.testing.assert_array_equal(client.compute(array).result().to_numpy(), np.stack(products))


def test_it_is_lazy_and_travels_light(stac: str) -> None:
    array = open_berlin(stac)
    assert isinstance(array.data, da.Array)
    assert array.dtype == np.uint16
    assert array.data.chunks[0] == (1, 1)
    assert len(pickle.dumps(array)) < 100_000
    again = pickle.loads(pickle.dumps(array))  # noqa: S301
    corner = {"y": slice(0, 64), "x": slice(0, 64)}
    np.testing.assert_array_equal(again.isel(corner).to_numpy(), array.isel(corner).to_numpy())


def test_it_says_where_when_and_from_what(stac: str) -> None:
    array = open_berlin(stac)
    assert array.dims == ("time", "y", "x")
    assert array.name == REGION
    assert array.odc.crs.to_epsg() == 3413
    assert array.odc.geobox.resolution.x == 10
    assert array.encoding["grid_mapping"] == "spatial_ref"
    assert array.spatial_ref.attrs["grid_mapping_name"] == "polar_stereographic"
    assert array.x.attrs["standard_name"] == "projection_x_coordinate"
    assert (array.attrs["units"], array.attrs["_FillValue"], array.attrs["nodata"]) == ("1", 0, 0)
    assert list(array.item_ids.values) == ["S2A_33UUU_20160529_0_L2A", "S2A_33UUU_20160608_0_L2A"]
    assert list(array.platform.values) == ["sentinel-2a"] * 2
    assert array["sat:relative_orbit"].values.tolist() == [22, 22]
    assert np.isfinite(array["view:sun_elevation"]).all()
    assert [str(day)[:10] for day in array.time.values] == ["2016-05-29", "2016-06-08"]
    assert set(array["s2:processing_baseline"].values) != {""}
    assert json.loads(array.attrs["left_out"]) == []
    assert array.sel(time="2016-06-08").sizes["time"] == 1


def test_settings_are_those_of_the_step(stac: str) -> None:
    nearest = open_berlin(stac, resampling="nearest")
    assert nearest.attrs["resampling"] == "nearest"
    assert (nearest[0].to_numpy() != open_berlin(stac)[0].to_numpy()).mean() > 0.5
    with pytest.raises(UsageError, match="resamplin = cubic"):
        open_berlin(stac, resamplin="cubic")


def test_a_range_without_images_is_an_empty_array() -> None:
    api = Api()
    array = open_berlin(api.url)
    assert array.sizes["time"] == 0
    assert array.to_numpy().shape == (0, *array.odc.geobox.shape)
    api.server.shutdown()
    api.server.server_close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("902_Berlin", "sentinel3", "2024-07-01"), "satellite = sentinel3"),
        (("902_Berlin", "sentinel2"), "no date"),
        (("902_Berlin", "sentinel2", "1 July"), "1 July is not a day"),
        (("902_Berlin", "sentinel2", "2024-07-02", "2024-07-01"), "is before"),
        (("902_Berlin", "sentinel2", ("2024-07-02", "2024-07-01")), "is before"),
        (("902_Berlin", "sentinel2", ("2024-07-01", "2024-07-02"), "2024-07-02"), "say the same"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked(arguments: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        glacierflow.open_region(*arguments, regions_file=real_regions(), sentinel2_stac_url="http://no")


def test_other_refusals(stac: str) -> None:
    with pytest.raises(RegionError, match="134_arsuk"):
        glacierflow.open_region("134_arsuk", dates=DATES)
    with pytest.raises(UsageError, match="say the same"):
        open_berlin(stac, dates=DATES)
    with pytest.raises(UsageError, match="chunks = 0"):
        open_berlin("http://127.0.0.1:1", chunks=0)
    with pytest.raises(CredentialsError):
        glacierflow.open_region("134_Arsuk", "landsat", dates=DATES, cloud=Cloud())


def test_the_package_has_it_and_nothing_of_another_name() -> None:
    assert "open_region" in glacierflow.__all__
    with pytest.raises(AttributeError, match="no attribute 'open_regio'"):
        _ = glacierflow.open_regio


def test_both_days_can_be_given_together(stac: str) -> None:
    where: Any = {"regions_file": str(Path(real_archive()) / "regions.csv"), "sentinel2_stac_url": stac}
    for array in (
        glacierflow.open_region(REGION, dates=DATES, **where),
        glacierflow.open_region(REGION, "sentinel2", (DATES[0], DATES[1]), **where),
    ):
        assert array.sizes["time"] == 2


def test_landsat_without_access_is_refused_before_anything_is_searched(api: Api, bucket: RangeServer) -> None:
    bucket.faults = {"/usgs-landsat/collection02/catalog.json": 403}
    with pytest.raises(CredentialsError, match="requester-pays images may not be read: s3://usgs-landsat/"):
        glacierflow.open_region(
            "901_Yahtse", "landsat", "2016-07-01", "2016-07-31", regions_file=real_regions(),
            landsat_stac_url=api.url, imagery_s3_endpoint=bucket.url,
        )  # fmt: skip
    assert api.searches == []


def test_landsat_pixels_are_the_exact_ones_read_from_the_bucket(api: Api, bucket: RangeServer) -> None:
    days = sorted(item["properties"]["datetime"][:10] for item in api.items)
    array = glacierflow.open_region(
        "901_Yahtse", "landsat", dates=(days[0], days[-1]), regions_file=real_regions(),
        landsat_stac_url=api.url, imagery_s3_endpoint=bucket.url, chunks=192,
    )  # fmt: skip
    assert array.shape == (2, 400, 400)
    # whether it may be read at all was asked; no image was opened
    # a lone refusal proves nothing, so it is asked twice
    assert bucket.paths == ["/usgs-landsat/collection02/catalog.json"] * 2
    for image, scene in zip(array.to_numpy(), real_scenes("landsat"), strict=True):
        exact = truth(scene.href, real_region("901_Yahtse"), "landsat")
        difference = np.abs(image.astype(int) - exact)
        assert (difference <= 1).mean() >= 0.999
        assert difference.max() <= 3
        assert image.std() > 100
    assert {path.split("/")[1] for path in bucket.paths} == {"usgs-landsat"}
