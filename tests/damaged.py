"""The sample archive of an embedded cloud with every Landsat image of one region damaged."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

from glacierflow.local.sample import sample_bundle
from glacierflow.regions import load_catalogue

FAR, NEAR = "001_alison", "134_Arsuk"
"""Regions on no image together; those of the first, in the north, are damaged."""


@contextlib.contextmanager
def damaged_archive(home: Path) -> Iterator[dict[Path, bytes]]:
    """The damaged files with what was in them; mended at the end at the latest."""
    regions = load_catalogue().select([FAR, NEAR], None).regions
    days = dt.date(2024, 7, 1), dt.date(2024, 7, 8)
    archive = sample_bundle(home / "home" / "local", regions, *days, ["landsat"])
    damaged = {}
    for path in archive.rglob("*.json"):
        item = json.loads(path.read_text())
        if item.get("collection") == "landsat-c2l1" and item["bbox"][1] > 70:
            for image in path.parent.glob("*.[tT][iI][fF]"):
                damaged[image] = image.read_bytes()
                # of the same size, which the mounted object keeps
                image.write_bytes(b"<html>not found</html>".ljust(len(damaged[image])))
    assert damaged, "no image of the northern region was found"
    try:
        yield damaged
    finally:
        mend(damaged)


def mend(damaged: dict[Path, bytes]) -> None:
    """Put back what was in the files."""
    for path, content in damaged.items():
        path.write_bytes(content)
