"""Which files of a project belong into the bucket's copy, and under which names."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glacierflow.errors import UsageError

__all__ = ["EXCLUDED", "PREFIX", "ProjectFile", "is_excluded", "project_files"]

PREFIX = "scripts/greenland-glacier-flow/"
"""Where the bucket's copy lies: the predecessor's place, which other jobs may read."""

EXCLUDED = (".git/*", "__pycache__/*", "*.pyc", "aws/logs/*", "Archive/*", "container/certs/*.crt")
"""Never uploaded, wherever they are: the predecessor's list, and certificates of the machine here."""

CONFIG = "config.ini"
AWS_CONFIG = "aws/config/aws_config.ini"
"""Where the predecessor kept it."""

_SOURCES = (
    *(".ci", "ancillary", "batch", "benchmarks", "container", "docs", "glacierflow", "tests"),
    *(".dockerignore", ".gitignore"),
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
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


def is_excluded(name: str) -> bool:
    """Whether a path, relative to the project, matches the excludes at any depth."""
    parts = name.split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return any(fnmatch.fnmatch(tail, pattern) for tail in tails for pattern in EXCLUDED)


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
    for name in _SOURCES:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            relative = path.relative_to(root).as_posix()
            if path.is_file() and not is_excluded(relative):
                yield ProjectFile(path, relative)
