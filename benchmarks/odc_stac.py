"""The peer: ``odc.stac.load`` with cubic resampling onto the same grid, one acquisition after the other.

Chunks of 2048 pixels and four threads were its best on two cores; ``--chunk`` tries others.

    python benchmarks/odc_stac.py --stac URL --region NAME --date1 DAY --date2 DAY --out DIR
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import dask
import odc.stac
import rasterio
from pystac_client import Client

from glacierflow.imagery.grid import geobox_of
from glacierflow.regions import load_catalogue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("--stac", "--region", "--date1", "--date2"):
        parser.add_argument(name, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=4)
    given = parser.parse_args()
    (region,) = load_catalogue().select([given.region], None).regions
    search = Client.open(given.stac).search(
        datetime=f"{given.date1}/{given.date2}", collections=["sentinel-2-l2a"], intersects=region.geometry
    )
    items = [item for item in search.items() if item.id.split("_")[1] in region.mgrs_tiles]
    items.sort(key=lambda item: (_datatake(item), region.mgrs_tiles.index(item.id.split("_")[1])))
    geobox = geobox_of(region, "sentinel2")
    given.out.mkdir(parents=True, exist_ok=True)
    odc.stac.configure_rio(cloud_defaults=True)
    with dask.config.set(scheduler="threads", num_workers=given.threads):
        for datatake, members in itertools.groupby(items, _datatake):
            loaded = odc.stac.load(
                list(members),
                bands=["nir"],
                geobox=geobox,
                resampling="cubic",
                chunks={"x": given.chunk, "y": given.chunk},
                groupby=lambda *_: 0,
                preserve_original_order=True,
            )
            write(given.out / f"{datatake}.tif", loaded["nir"].isel(time=0).to_numpy(), geobox)


def _datatake(item: Any) -> str:  # noqa: ANN401 - a pystac.Item
    return str(item.properties["s2:product_uri"])[:37]


def write(path: Path, image: Any, geobox: Any) -> None:  # noqa: ANN401
    """The same compression that glacierflow's products have."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint16",
        count=1,
        height=image.shape[0],
        width=image.shape[1],
        crs=str(geobox.crs),
        transform=geobox.affine,
        nodata=0,
        compress="deflate",
        predictor=2,
        zlevel=1,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        num_threads=2,
    ) as target:
        target.write(image, 1)


if __name__ == "__main__":
    main()
