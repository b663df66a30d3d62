"""A tree of products in a directory or a bucket as a listing, and what a check of it found."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.errors import UsageError
from glacierflow.model.layout import Layout, ProductPlace, parse_product
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Record
from glacierflow.store import Entry, LocalStore, Store, open_store, split_s3_uri

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud


EXIT_FINE, EXIT_WRONG, EXIT_UNCHECKED = 0, 1, 2

_SATELLITE_FOLDERS = ("sentinel2", "landsat")


class Finding(Record):
    """One thing that is wrong with a file, or that could not be checked."""

    key: str
    code: str
    """Short and stable, for counting: e.g. ``extent``."""
    reason: str
    """One sentence with the values in it."""


class CheckReport(Record):
    """What was found of a tree."""

    where: str
    products: int
    regions: int
    untagged: int
    """Products that carry none of glacierflow's tags: another program made them."""
    quick: bool
    """Only headers were read."""
    wrong: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]

    def with_missing(self, keys: Iterable[str]) -> CheckReport:
        """The same, and these products that should be there and are not."""
        missing = [
            Finding(key=key, code="missing", reason="a receipt names it, and it is not there") for key in keys
        ]
        return self.model_copy(update={"wrong": (*self.wrong, *missing)})

    @property
    def exit_code(self) -> int:
        """1 where something is wrong; else 2 where something could not be checked; else 0."""
        if self.wrong:
            return EXIT_WRONG
        return EXIT_UNCHECKED if self.unchecked else EXIT_FINE

    @property
    def codes(self) -> dict[str, int]:
        """How often each thing is wrong, the most frequent first."""
        return dict(Counter(finding.code for finding in self.wrong).most_common())


@dataclass(frozen=True, slots=True)
class Product:
    """One product of a tree."""

    entry: Entry
    place: ProductPlace


@dataclass(frozen=True, slots=True)
class Tree:
    """What lies in a tree."""

    where: str
    """As a person would name it."""
    store: Store
    products: tuple[Product, ...]
    """In key order."""
    files: Mapping[str, Entry] = field(repr=False)
    """Everything around them, by key: lineage, templates, STAC items."""

    def has(self, key: str) -> bool:
        """Whether a file is there."""
        return posixpath.normpath(key) in self.files

    def get(self, key: str) -> bytes | None:
        """A file's bytes, or None where there is none."""
        return self.store.get(posixpath.normpath(key)) if self.has(key) else None


def open_tree(where: str, cloud: Cloud) -> Tree:
    """The tree at a directory or ``s3://bucket/prefix``; any folder of it will do, down to one region's.

    Raises:
        UsageError: no such directory, or the bucket may not be read.
        StoreError: the bucket does not answer.
    """
    if where.startswith("s3://"):
        bucket, prefix = split_s3_uri(where)
        return read_tree(where, open_store(f"s3://{bucket}", cloud), prefix)
    folder = Path(where).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"{where} is not a directory", next_step="name the folder that holds the images")
    parts = folder.parts
    # lineage lies beside the images: look from where the satellites' folders are
    inside = [place for place, part in enumerate(parts) if part in _SATELLITE_FOLDERS]
    root = Path(*parts[: inside[-1]]) if inside else folder
    prefix = folder.relative_to(root).as_posix()
    return read_tree(where, LocalStore(root), "" if prefix == "." else prefix)


_SHARED = ("clipped", "download", "metadata", "template")
_MOST_LOOKED_AT = 3
"""Folders that may be regions: one tells as much as two hundred."""


def other_structure(store: Store, manifest: Manifest) -> str | None:
    """A sentence on images that lie where a run writes, in the other folder structure; None without such.

    They are not found, so all would be made again. Landsat's folders are the same in both.

    Raises:
        UsageError: the bucket may not be read.
        StoreError: it does not answer.
    """
    if not any(unit.satellite == "sentinel2" for slot in manifest.slots for unit in slot):
        return None
    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    prefix = layout.satellite_prefixes("sentinel2")[0]
    folders = list(store.folders(prefix))
    if layout.folder_structure == "old":
        there = "new" if _SHARED[0] in folders else None
    else:
        regions = [name for name in folders if name not in _SHARED][:_MOST_LOOKED_AT]
        is_old = any(_SHARED[0] in store.folders(f"{prefix}{name}/") for name in regions)
        there = "old" if is_old else None
    if there is None:
        return None
    return (
        f"{store.uri(prefix)} has images in the folder structure {there}, and folder_structure is"
        f" {layout.folder_structure}: they are not seen, and images are written beside them; to go on with"
        f" them set folder_structure = {there}"
    )


def read_tree(where: str, store: Store, prefix: str, only: Iterable[str] | None = None) -> Tree:
    """The products below a prefix, and the files around them.

    Args:
        where: for a person.
        store: holds the tree.
        prefix: of the products.
        only: keys of the products that are meant; None means all.
    """
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    files = {entry.key: entry for entry in store.list(prefix)}
    wanted = None if only is None else set(only)
    products = []
    for key, entry in files.items():
        place = parse_product(key)
        if place is not None and (wanted is None or key in wanted):
            products.append(Product(entry, place))
    for base in {product.place.layout.base_path for product in products}:
        around = "" if base == "." else f"{base}/"
        if not around.startswith(prefix):
            files |= {entry.key: entry for entry in store.list(around)}
    return Tree(where, store, tuple(products), files)
