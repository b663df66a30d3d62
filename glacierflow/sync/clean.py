"""Remove the products of regions and all that was written beside them; never a manifest or a receipt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError
from glacierflow.model.layout import Layout, runs_prefix
from glacierflow.model.records import Satellite
from glacierflow.store import Entry, Store, split_s3_uri

_AT_ONCE = 1000
"""Most keys of one DeleteObjects."""


@dataclass(frozen=True, slots=True)
class Rubbish:
    """What would be removed of one region."""

    region: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(entry.size for entry in self.entries)


def find_objects(store: Store, layout: Layout, satellite: Satellite, regions: Sequence[str]) -> list[Rubbish]:
    """Products, downloads, templates, lineage and STAC items of each region."""
    downloads = _downloads(store, layout, regions) if satellite == "sentinel2" else {}
    return [
        Rubbish(region, (*_of_region(store, layout, satellite, region), *downloads.get(region, ())))
        for region in regions
    ]


def _of_region(store: Store, layout: Layout, satellite: Satellite, region: str) -> Iterator[Entry]:
    wanted = [
        layout.products_prefix(satellite, region),
        layout.template(satellite, region),
        layout.stac_items_prefix(satellite, region),
        layout.stac_collection(satellite, region),
    ]
    if satellite == "sentinel2":
        wanted += [layout.individual_csv_prefix(region), layout.combined_csv(region)]
    else:
        wanted += [layout.query_parts_prefix(region), layout.query_results(region)]
    for place in wanted:
        # a prefix ends with a slash; a key is wanted alone, not with its namesakes
        yield from (entry for entry in store.list(place) if place.endswith("/") or entry.key == place)


def _downloads(store: Store, layout: Layout, regions: Sequence[str]) -> dict[str, list[Entry]]:
    """Native-grid windows, which lie below their year first."""
    found: dict[str, list[Entry]] = {region: [] for region in regions}
    if layout.folder_structure == "old":
        for region in regions:
            found[region] = list(store.list(f"{layout.base_path}/sentinel2/{region}/download/"))
        return found
    for entry in store.list(f"{layout.base_path}/sentinel2/download/"):
        region = entry.key.split("/")[-2]
        if region in found:
            found[region].append(entry)
    return found


def is_versioned(store: str, cloud: Cloud) -> bool:
    """Whether the bucket keeps what is deleted as an earlier version.

    Raises:
        UsageError: AWS refuses to say.
        UnavailableError: AWS cannot be reached.
    """
    bucket, _ = split_s3_uri(store)
    with plain_errors(f"ask whether {bucket} is versioned", service="S3"):
        answer = cloud.client("s3").get_bucket_versioning(Bucket=bucket)
    return bool(answer.get("Status") == "Enabled")


def delete_objects(store: str, keys: Sequence[str], cloud: Cloud) -> int:
    """Delete objects, a thousand a call; returns how many.

    Raises:
        StoreError: some could not be deleted; the others are.
        UsageError: AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    forbidden = [key for key in keys if key.startswith(runs_prefix())]
    if forbidden:
        msg = f"{forbidden[0]} belongs to a run, whose records are never deleted"
        raise StoreError(msg)
    bucket, _ = split_s3_uri(store)
    client = cloud.client("s3")
    refused = []
    for first in range(0, len(keys), _AT_ONCE):
        chunk = [{"Key": key} for key in keys[first : first + _AT_ONCE]]
        with plain_errors(f"delete objects of {bucket}", service="S3"):
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": chunk, "Quiet": True})
        refused += answer.get("Errors", [])
    if refused:
        one = refused[0]
        raise StoreError(
            f"{len(refused)} of {len(keys)} objects could not be deleted, first {one['Key']}: {one['Code']}",
            next_step="check your permission s3:DeleteObject and run it again",
        )
    return len(keys)
