"""The image of a child: built from a checkout, and weighed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glacierflow.errors import UsageError
from glacierflow.image import docker
from glacierflow.image.docker import Architecture
from glacierflow.settings import LoadedSettings
from glacierflow.settings.load import DEFAULT
from glacierflow.version import __version__

Target = Literal["batch", "lambda"]
IMAGES: dict[Target, str] = {"batch": "glacierflow", "lambda": "glacierflow-lambda"}
"""Name of the image by target."""

# The first of our layers in container/Dockerfile; what comes before it is the base.
_FIRST_OF_OURS = "/opt/glacierflow"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that holds something."""

    created_by: str
    size: int
    """Bytes, unpacked."""
    ours: bool
    """Whether it comes on top of the base image."""


@dataclass(frozen=True, slots=True)
class Weight:
    """An image by layer, the base first."""

    image: str
    layers: tuple[Layer, ...]

    @property
    def base(self) -> int:
        """Bytes of the base image."""
        return sum(layer.size for layer in self.layers if not layer.ours)

    @property
    def ours(self) -> int:
        """Bytes on top of it."""
        return sum(layer.size for layer in self.layers if layer.ours)


def find_checkout() -> Path:
    """The checkout whose code this is.

    Raises:
        UsageError: glacierflow was installed without its sources.
    """
    root = Path(__file__).parents[2]
    if not (root / "container" / "Dockerfile").is_file():
        raise UsageError(
            f"there is no container/Dockerfile in {root}: glacierflow was installed without its sources",
            next_step="clone the repository, install from it, and build there",
        )
    return root


def revision_of(checkout: Path) -> str:
    """Commit of a checkout, with ``-dirty`` where files differ from it; ``unknown`` without git."""
    if shutil.which("git") is None:
        return "unknown"
    git = ["git", "-C", str(checkout)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)  # noqa: S603
    if commit.returncode:
        return "unknown"
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)  # noqa: S603
    return commit.stdout.strip() + ("-dirty" if changes.stdout.strip() else "")


def architecture_for(target: Target, loaded: LoadedSettings, outputs: Mapping[str, str]) -> Architecture:
    """Which processors an image is for: as the main stack says, or ``[LAMBDA] architecture`` set by hand.

    Args:
        target: batch or lambda.
        loaded: settings with their origins.
        outputs: of the main stack; empty where there is none, or nobody may ask.
    """
    by_hand = loaded.origins.get("LAMBDA.architecture", DEFAULT) != DEFAULT
    alone = target == "lambda" and by_hand
    told = loaded.settings.lambda_.architecture if alone else outputs.get("Architecture", "x86_64")
    return "arm64" if told == "arm64" else "x86_64"


def build(
    checkout: Path,
    target: Target,
    *,
    architecture: Architecture = "x86_64",
    base: str | None = None,
    no_cache: bool = False,
    ca_file: Path | None = None,
    quiet: bool = False,
) -> list[str]:
    """Build a target; returns its tags, the plain one and the one with the version.

    It is a single image without attestations: with them BuildKit makes an index, which Lambda refuses
    (Lambda's documentation, "Requirements for container images").

    Args:
        checkout: where ``container/Dockerfile`` is.
        target: batch or lambda.
        architecture: of the instances or the function, which this machine's need not be.
        base: base image; None: as the Dockerfile says.
        no_cache: build every layer anew.
        ca_file: certificates that pip inside the build trusts; stays out of the image and of git.
        quiet: show the engine's output only where the build fails.

    Raises:
        UsageError: the build failed.
    """
    docker.require_engine()
    if ca_file is not None:
        shutil.copyfile(ca_file, checkout / "container" / "certs" / "ca.crt")
    tags = [IMAGES[target], f"{IMAGES[target]}:{__version__}"]
    command = ["docker", "build", "--network", "host", "--file", "container/Dockerfile", "--target", target]
    command += ["--platform", f"linux/{docker.PROCESSORS[architecture]}"]
    # the builder before BuildKit makes no attestations, and does not know the options
    command += ["--provenance=false", "--sbom=false"] if docker.has_buildx() else []
    arguments = {"VERSION": __version__, "REVISION": revision_of(checkout)}
    arguments |= {"BASE": base} if base else {}
    command += [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command += [word for tag in tags for word in ("--tag", tag)]
    command += ["--no-cache"] if no_cache else []
    _run([*command, "."], checkout, quiet=quiet)
    return tags


def _run(command: Sequence[str], folder: Path, *, quiet: bool) -> None:
    # a line a step, where the output is no terminal as well
    environment = os.environ | {"BUILDKIT_PROGRESS": "plain"}
    done = subprocess.run(  # noqa: S603 - a command of our own making
        command, cwd=folder, env=environment, capture_output=quiet, text=True, errors="replace"
    )
    if done.returncode:
        told = "".join((done.stdout or "", done.stderr or ""))[-2000:]
        raise UsageError(
            f"the build failed (docker exits {done.returncode})" + (f":\n{told}" if told else ""),
            next_step="read its last lines; container/README.md tells of certificates and base images",
        )


def weigh(image: str) -> Weight:
    """Size of an image by layer.

    Raises:
        UsageError: there is no such image on this machine.
    """
    docker.require_engine()
    if docker.inspect("image", image) is None:
        raise UsageError(f"there is no image {image} here", next_step="run `glacierflow container build`")
    told = docker.docker(
        "history", "--human=false", "--no-trunc", "--format", "{{.Size}} {{.CreatedBy}}", image
    )
    layers = []
    ours = False
    for line in reversed(told.splitlines()):
        size, _, created_by = line.partition(" ")
        ours = ours or _FIRST_OF_OURS in created_by
        if int(size):
            layers.append(Layer(created_by.strip() or "imported", int(size), ours))
    return Weight(image, tuple(layers))
