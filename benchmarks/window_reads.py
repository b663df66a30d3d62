"""Bytes and seconds of one Sentinel-2 acquisition: the region's window against the whole tile.

Makes a sample archive, fills one of its tiles with noise so that it is as full as a real one, serves it over
HTTP on this machine, and reads one acquisition of a region twice: as glacierflow does, and as a tool that
downloads the whole tile first. Same pixels, same run; the window first, after a warm-up read.

    python benchmarks/window_reads.py [--region 134_Arsuk]
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import rasterio

from glacierflow.aws import Cloud
from glacierflow.grid import geobox_of
from glacierflow.model import Scene, StepSettings
from glacierflow.read import Imagery, scene_array
from glacierflow.regions import load_catalogue
from glacierflow.sensors import parse_item


def main() -> None:
    from glacierflow.local import control, sample

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--region", default="134_Arsuk")
    (region,) = load_catalogue().select([parser.parse_args().region], None).regions
    day1, day2 = dt.date(2024, 7, 1), dt.date(2024, 7, 14)
    with tempfile.TemporaryDirectory() as folder:
        archive, home = Path(folder) / "archive", Path(folder) / "home"
        sample.write_sample(archive, [region], day1, day2, satellites=("sentinel2",))
        tile = next(archive.rglob(f"*{region.mgrs_tiles[0]}*/B08.tif"))
        fill(tile)
        endpoint = control.up(home, archive=archive)
        try:
            settings = StepSettings(sentinel2_stac_url=endpoint.stac_url)
            report(scene_of(endpoint.stac_url, tile.parent.name), region, settings, Path(folder))
        finally:
            control.down(home)


def fill(path: Path) -> None:
    """Replace the empty pixels of a sparse tile by noise of about the entropy of a real one."""
    with rasterio.open(path) as source:
        profile, image = source.profile, source.read(1)
    noise = np.random.default_rng(1).integers(2000, 4048, image.shape, np.uint16)
    image = np.where(image == 0, noise, image)
    profile.pop("sparse_ok", None)
    with rasterio.open(path, "w", **(profile | {"predictor": 2, "num_threads": 2})) as target:
        target.write(image, 1)


def scene_of(stac_url: str, item_id: str) -> Scene:
    """The scene of one item of the archive."""
    from pystac_client import Client

    (item,) = Client.open(stac_url).search(ids=[item_id]).items_as_dicts()
    scene = parse_item(item, "sentinel2")
    assert isinstance(scene, Scene), scene
    return scene


def report(scene: Scene, region, settings: StepSettings, folder: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Read both ways and print the table."""
    geobox = geobox_of(region, "sentinel2")
    scene_array(scene, geobox[:64, :64], Imagery(Cloud(), settings)).compute()
    start = time.perf_counter()
    window = Imagery(Cloud(), settings)
    ours = scene_array(scene, geobox, window).compute().to_numpy()
    ours_s = time.perf_counter() - start

    start = time.perf_counter()
    whole = folder / "tile.tif"
    urllib.request.urlretrieve(scene.href, whole)
    local = scene.model_copy(update={"href": str(whole)})
    theirs = scene_array(local, geobox, Imagery(Cloud(), settings)).compute().to_numpy()
    theirs_s = time.perf_counter() - start

    np.testing.assert_array_equal(ours, theirs)
    size = whole.stat().st_size
    print(f"| bytes | {size:,} | {window.bytes_read:,} | {size / window.bytes_read:.1f} |")
    print(f"| seconds | {theirs_s:.2f} | {ours_s:.2f} | {theirs_s / ours_s:.1f} |")


if __name__ == "__main__":
    main()
