"""Settings and sources into the bucket: which files belong there, and only what changed, by checksum."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.errors import UsageError
from glacierflow.model.manifest import SettingsSource
from glacierflow.settings.sources import IniFile, settings_of_object
from glacierflow.store import split_s3_uri
from glacierflow.sync.remote import Bucket

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud


PREFIX = "scripts/greenland-glacier-flow/"
"""Where the bucket's copy lies: the predecessor's place, which other jobs may read."""

EXCLUDED = (".git/*", "__pycache__/*", "*.pyc", "aws/logs/*", "Archive/*", "container/certs/*.crt")
"""Never uploaded, wherever they are: the predecessor's list, and certificates of the machine here."""

_SECRETS = (
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.tfstate", "*.ppk", "id_rsa*", "id_ed25519*"),
    *(".env", ".env.*", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".boto", ".aws/*", ".ssh/*", "credentials"),
    *("*credentials*.json", "*credentials*.csv", "*accesskeys*.csv", "*secret*.json", "*secret*.txt"),
)
"""Names of files that hold keys or passwords, as a rule; never uploaded, even where git tracks them."""

CONFIG = "config.ini"
AWS_CONFIG = "aws/config/aws_config.ini"
"""Where the predecessor kept it."""

_SOURCES = (
    *(".ci", ".github", "ancillary", "batch", "benchmarks", "container", "docs", "glacierflow", "tests"),
    *(
        ".dockerignore",
        ".editorconfig",
        ".gitignore",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CITATION.cff",
    ),
    *("CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
)
"""What of a checkout is source; anything else beside it (results, environments) is not ours to upload."""


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file here and its name below the prefix."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do."""

    changed: tuple[ProjectFile, ...]
    """Missing in the bucket, or with other content there."""
    missing: tuple[ProjectFile, ...]
    """Those of them that are not in the bucket."""
    unchanged: int
    strangers: tuple[str, ...]
    """Keys below the prefix that are no file of the project (any more)."""


def plan_push(files: Sequence[ProjectFile], bucket: Bucket) -> PushPlan:
    """Compare the project with its copy: one listing, contents by checksum.

    Raises:
        UsageError: the bucket is missing or may not be read.
        StoreError: S3 did not answer.
    """
    there = {remote.key: remote for remote in bucket.list(PREFIX)}
    changed = tuple(
        file
        for file in files
        if (remote := there.get(file.key)) is None or not bucket.holds(remote, file.path)
    )
    missing = tuple(file for file in changed if file.key not in there)
    ours = {file.key for file in files}
    strangers = tuple(key for key in there if key not in ours)
    return PushPlan(changed, missing, len(files) - len(changed), strangers)


def push(plan: PushPlan, bucket: Bucket, *, delete: bool, tell: Callable[[str], None]) -> None:
    """Upload what changed, the settings last; with ``delete`` also remove strangers.

    Raises:
        UsageError: the bucket may not be written.
        StoreError: S3 did not answer.
    """
    # Settings last: a job that reads them meanwhile never meets new settings with old sources.
    for file in sorted(plan.changed, key=lambda file: file.name.endswith("config.ini")):
        bucket.put(file.key, file.path.read_bytes())
        tell(f"uploaded {file.key}")
    if delete:
        for key in plan.strangers:
            bucket.delete(key)
            tell(f"removed {key}")


def is_excluded(name: str) -> bool:
    """Whether a path, relative to the project, matches the excludes at any depth, or looks like a secret."""
    parts = name.lower().split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    patterns = [pattern.lower() for pattern in (*EXCLUDED, *_SECRETS)]
    return any(fnmatch.fnmatch(tail, pattern) for tail in tails for pattern in patterns)


def project_files(root: Path, *, config: Path, aws_config: Path) -> list[ProjectFile]:
    """The two settings files and the sources below a checkout, by name.

    Raises:
        UsageError: a settings file is missing, or ``root`` is no checkout.
    """
    for option, path in (("--config", config), ("--aws-config", aws_config)):
        if not path.is_file():
            raise UsageError(
                f"there is no {path} to push",
                next_step=f"run this in the folder that has it, or name it with {option}",
            )
    if not (root / "pyproject.toml").is_file() or not (root / "glacierflow").is_dir():
        raise UsageError(
            f"{root} is no checkout of glacierflow, so there are no sources to push",
            next_step="run this in a checkout, or name one with --project",
        )
    settings = [ProjectFile(config, CONFIG), ProjectFile(aws_config, AWS_CONFIG)]
    return sorted([*settings, *_sources(root)], key=lambda file: file.name)


def _sources(root: Path) -> Iterator[ProjectFile]:
    tracked = _tracked(root)
    for name in _SOURCES:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            relative = path.relative_to(root).as_posix()
            if tracked is not None and relative not in tracked:
                continue
            if path.is_file() and not is_excluded(relative) and not _has_link(root, path):
                yield ProjectFile(path, relative)


def _tracked(root: Path) -> set[str] | None:
    """What git tracks of a checkout; None where there is no git to ask, as in an archive of the sources."""
    if not (root / ".git").exists():
        return None
    # also where the checkout is another user's, as in a container
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        answer = subprocess.run(command, cwd=root, check=True, capture_output=True)  # noqa: S603 - our own
    except (OSError, subprocess.CalledProcessError):
        return None
    return set(answer.stdout.decode(errors="surrogateescape").split("\0"))


def _has_link(root: Path, path: Path) -> bool:
    """Whether a path leads over a link, which may point at anything."""
    parts = [path, *path.parents]
    return any(part.is_symlink() for part in parts[: parts.index(root)])


def read_settings_object(uri: str, cloud: Cloud) -> tuple[IniFile, SettingsSource]:
    """The settings at an s3:// URI, with their hash and version, for the manifest.

    Raises:
        UsageError: no such object, or no s3:// URI of one.
        SettingsError: it is not an INI file.
    """
    bucket, key = split_s3_uri(uri)
    if not key:
        raise UsageError(f"{uri} names a bucket, not a file in it", next_step="write s3://bucket/config.ini")
    return settings_of_object(uri, *Bucket(bucket, cloud).get(key))
