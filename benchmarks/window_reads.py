"""Bytes and seconds of one Sentinel-2 acquisition: the region's window against the whole tile.

Makes a sample archive, serves it over HTTP on this machine, and reads one acquisition of a region twice: as
glacierflow does, and as a tool that downloads the whole tile first. Same pixels, same run.

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
        endpoint = control.up(home, archive=archive)
        try:
            settings = StepSettings(sentinel2_stac_url=endpoint.stac_url)
            report(first_scene(endpoint.stac_url, region.mgrs_tiles[0]), region, settings, Path(folder))
        finally:
            control.down(home)


def first_scene(stac_url: str, tile: str) -> Scene:
    """The first item of a tile in the archive."""
    from pystac_client import Client

    for item in Client.open(stac_url).search(collections=["sentinel-2-l2a"]).items_as_dicts():
        scene = parse_item(item, "sentinel2")
        if isinstance(scene, Scene) and scene.place == tile:
            return scene
    msg = f"no item of tile {tile}"
    raise LookupError(msg)


def report(scene: Scene, region, settings: StepSettings, folder: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Read both ways and print the table."""
    geobox = geobox_of(region, "sentinel2")
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
    # A sparse sample file holds little beside the region; a real tile is full (about 175 MB).
    pixels = window.bytes_read
    print(f"| {region.name} | whole tile | window | ratio |")
    print("| --- | --- | --- | --- |")
    print(f"| bytes, sparse sample | {whole.stat().st_size:,} | {pixels:,} | {whole.stat().st_size / pixels:.1f} |")
    blocks = 11 * 11
    read = sum(1 for _ in blocks_of(scene, geobox))
    print(f"| blocks of a full tile | {blocks} | {read} | {blocks / read:.1f} |")
    print(f"| seconds | {theirs_s:.2f} | {ours_s:.2f} | {theirs_s / ours_s:.1f} |")


def blocks_of(scene: Scene, geobox):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Internal 1024 px blocks that the window touches."""
    from affine import Affine

    from glacierflow.grid import source_window

    assert scene.transform is not None
    window = source_window(geobox, Affine(*scene.transform), (10980, 10980), scene.epsg, 8)
    assert window is not None
    for row in range(window.row // 1024, (window.row + window.rows - 1) // 1024 + 1):
        for col in range(window.col // 1024, (window.col + window.cols - 1) // 1024 + 1):
            yield row, col


if __name__ == "__main__":
    main()
