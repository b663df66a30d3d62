"""Results from the bucket to a folder: resumable, checked, and nothing of the user's overwritten unasked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from glacierflow.errors import GlacierflowError
from glacierflow.model.layout import Layout
from glacierflow.model.records import Satellite
from glacierflow.outside import leaves_root
from glacierflow.sync.remote import Bucket, RemoteFile

_THREADS = 8


@dataclass(frozen=True, slots=True)
class PullPlan:
    """What a pull would do."""

    missing: tuple[RemoteFile, ...]
    differing: tuple[RemoteFile, ...]
    """Here with another content, or one that cannot be compared; replaced only when that is asked for."""
    complete: int
    refused: tuple[RemoteFile, ...] = ()
    """Whose key would lead out of the folder; never downloaded."""

    def to_fetch(self, *, overwrite: bool) -> tuple[RemoteFile, ...]:
        """The objects to download."""
        return self.missing + (self.differing if overwrite else ())


def plan_pull(
    bucket: Bucket,
    layout: Layout,
    folder: Path,
    *,
    satellites: Sequence[Satellite],
    regions: Sequence[str] | None,
    downloads: bool,
) -> PullPlan:
    """Compare what the bucket has of some regions with a folder.

    The catalog of all STAC collections is no file of a region: ``rebuild_catalog`` makes it of what is here.

    Args:
        bucket: where the results are.
        layout: how they are laid out.
        folder: where they go, under the same keys.
        satellites: which kinds.
        regions: names; None is all.
        downloads: whether the kept native-grid windows are wanted too.
    """
    missing, differing, refused, complete = [], [], [], 0
    for remote in _wanted(bucket, layout, satellites, regions, downloads=downloads):
        if leaves_root(remote.key):
            refused.append(remote)
            continue
        path = folder / remote.key
        if not path.is_file():
            missing.append(remote)
        elif bucket.holds(remote, path):
            complete += 1
        else:
            differing.append(remote)
    return PullPlan(tuple(missing), tuple(differing), complete, tuple(refused))


def pull(
    files: Sequence[RemoteFile], bucket: Bucket, folder: Path, tell: Callable[[RemoteFile], None]
) -> list[tuple[RemoteFile, str]]:
    """Download, several at a time, each file whole or not at all.

    Returns:
        The objects that could not be fetched, with the reason; the rest is there.
    """
    failed: list[tuple[RemoteFile, str]] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="pull") as pool:
        outcomes = pool.map(lambda remote: _fetch(bucket, remote, folder), files)
        for remote, problem in zip(files, outcomes, strict=True):
            if problem is None:
                tell(remote)
            else:
                failed.append((remote, problem))
    return failed


def _wanted(
    bucket: Bucket,
    layout: Layout,
    satellites: Sequence[Satellite],
    regions: Sequence[str] | None,
    *,
    downloads: bool,
) -> Iterator[RemoteFile]:
    for satellite in satellites:
        for prefix in layout.satellite_prefixes(satellite):
            for remote in bucket.list(prefix):
                parts = remote.key.removeprefix(prefix).split("/")
                if not downloads and "download" in parts[:2]:
                    continue
                if regions is None or _is_of(parts, regions):
                    yield remote


def _is_of(parts: Sequence[str], regions: Sequence[str]) -> bool:
    """Whether a key belongs to one of the regions: by a folder's name, or as the start of the file's."""
    folders, name = parts[:-1], parts[-1]
    return any(
        region in folders or name.startswith((f"{region}.", f"{region}_stac_query_results."))
        for region in regions
    )


def _fetch(bucket: Bucket, remote: RemoteFile, folder: Path) -> str | None:
    if leaves_root(remote.key):
        return f"its key leads out of {folder}"
    target = folder / remote.key
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
            aside = Path(scratch) / "content"
            bucket.download(remote, aside)
            aside.replace(target)
    except GlacierflowError as error:  # also an object that was deleted since the listing
        return error.message
    except OSError as error:
        return f"{target} cannot be written: {error.strerror}"
    return None
