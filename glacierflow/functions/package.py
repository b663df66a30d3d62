"""The scheduler's code as a zip and a layer, and whether the code of a stack is where it is looked for.

Both are the same bytes whenever they hold the same files: names sorted, times and permissions fixed.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.host import resource_path
from glacierflow.image.push import digest_in_ecr
from glacierflow.stack.deploy import describe
from glacierflow.stack.parameters import choose_parameters
from glacierflow.stack.templates import Template, stack_name
from glacierflow.store import open_store

Architecture = Literal["x86_64", "arm64"]

_PYTHON = "3.12"
"""Of the function in ``batch/schedule.yaml``."""
_PLATFORMS: dict[Architecture, tuple[str, ...]] = {
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
}
_LIBRARIES = ("pydantic",)
"""What a function needs beyond Lambda's own boto3; their dependencies come with them."""
_DATA = ("ancillary/glacier_regions.gpkg", "ancillary/prices.json", "config.ini", "aws_config.ini", "batch")
_LEFT_OUT = ("cli/", "local/", "data/")
"""Below the package: what only a person's machine uses; the data is packed from where it lies."""
_MAX_ZIP, _MAX_UNPACKED = 50_000_000, 250_000_000
"""Bytes Lambda takes (Lambda developer guide, "Lambda quotas": 50 MB zipped, 250 MB unzipped with layers)."""
_EPOCH = (2000, 1, 1, 0, 0, 0)

_IMAGE, _ZIPS = "lambda", "schedule"
"""The templates that need something."""
_WAYS = {_IMAGE: "glacierflow lambda deploy", _ZIPS: "glacierflow lambda package --zip dist --push"}


@dataclass(frozen=True, slots=True)
class Package:
    """One zip."""

    name: str
    content: bytes
    files: int
    unpacked: int
    """Bytes."""

    @property
    def sha256(self) -> str:
        """Of the zip, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def make_code() -> Package:
    """``scheduler.zip``: the package's sources and what travels with them.

    Raises:
        UsageError: it is larger than Lambda takes.
    """
    root = Path(__file__).parents[1]
    files = {}
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_LEFT_OUT):
            files[f"glacierflow/{name}"] = path.read_bytes()
    for name, path in _data():
        files[f"glacierflow/data/{name}"] = path.read_bytes()
    return _pack("scheduler.zip", files)


def make_layer(architecture: Architecture) -> Package:
    """``scheduler-layer.zip``: the libraries, as wheels for Lambda's Python, of the versions installed here.

    Raises:
        UsageError: there is no wheel of that version for Lambda, or the layer is larger than Lambda takes.
        UnavailableError: pip is missing, or reaches no index.
    """
    with tempfile.TemporaryDirectory() as folder:
        _download(_pins(_LIBRARIES), architecture, Path(folder))
        files: dict[str, bytes] = {}
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as content:
                names = [name for name in content.namelist() if not name.endswith("/")]
                files |= {f"python/{name}": content.read(name) for name in names}
    return _pack("scheduler-layer.zip", files)


def _data() -> Iterator[tuple[str, Path]]:
    for name in _DATA:
        top = resource_path(name)
        if top.is_file():
            yield name, top
            continue
        yield from ((f"{name}/{path.name}", path) for path in top.glob("*.yaml"))


def _pins(names: Sequence[str]) -> list[str]:
    """Libraries and all they need, at the versions that run (and were tested) here."""
    found: dict[str, str] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        installed = metadata.distribution(name)
        found[name] = f"{name}=={installed.version}"
        for requirement in installed.requires or ():
            # what an extra or an older Python would need is not
            if ";" not in requirement:
                wanted.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower())
    return sorted(found.values())


def _download(pins: Sequence[str], architecture: Architecture, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", _PYTHON, "--implementation", "cp", "--dest", str(folder)]
    for platform in _PLATFORMS[architecture]:
        command += ["--platform", platform]
    done = subprocess.run([*command, *pins], capture_output=True, text=True)  # noqa: S603 - pip itself
    if done.returncode == 0:
        return
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if "No matching distribution" in said:
        raise UsageError(
            f"there is no wheel for Lambda's Python {_PYTHON} on {architecture}: {said}",
            next_step="install a released version of it, or name another --arch",
        )
    raise UnavailableError(f"pip could not download the layer's libraries: {said}")


def _pack(name: str, files: Mapping[str, bytes]) -> Package:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[path])
    package = Package(name, buffer.getvalue(), len(files), sum(map(len, files.values())))
    for size, most in ((len(package.content), _MAX_ZIP), (package.unpacked, _MAX_UNPACKED)):
        if size > most:
            raise UsageError(f"{name} has {size} bytes, and Lambda takes {most}")
    return package


def check_code(templates: Iterable[Template], cloud: Cloud, base: str, given: Mapping[str, str]) -> None:
    """Refuse stacks whose code is not where they would look for it; CloudFormation would take all back.

    Args:
        templates: what is to be deployed on top of the main stack, which has bucket and repository.
        cloud: which AWS; the embedded cloud runs this very code and wants no image.
        base: name of the main stack.
        given: values by parameter, for all templates together.

    Raises:
        UsageError: naming all that is missing, and the commands that put it there.
        UnavailableError: AWS cannot be reached.
    """
    missing: dict[str, list[str]] = {}
    for template in templates:
        values = _values(template, cloud, base, given) if template.name in _WAYS else None
        if values is None:
            continue
        found = _images(values, cloud) if template.name == _IMAGE else _zips(values, cloud)
        missing |= {template.name: words} if (words := list(found)) else {}
    if missing:
        stacks = " and ".join(stack_name(base, name) for name in missing)
        things = ", ".join(word for words in missing.values() for word in words)
        where = " --local" if cloud.embedded else ""
        ways = ", ".join(f"`{_WAYS[name]}{where}`" for name in missing)
        raise UsageError(
            f"what {stacks} would run is not there yet: {things}; only the stack {base} was touched",
            next_step=f"run {ways}, then this command again",
        )


def _values(template: Template, cloud: Cloud, base: str, given: Mapping[str, str]) -> dict[str, str] | None:
    """All parameters as they would be; None where they are as at the last time."""
    state = describe(cloud, stack_name(base, template.name))
    last = {} if state is None or state.status == "REVIEW_IN_PROGRESS" else dict(state.parameters)
    values = last | choose_parameters(template, cloud, base, given)
    if last and values == last:
        return None
    return {name: str(one.get("Default", "")) for name, one in template.parameters.items()} | values


def _images(values: Mapping[str, str], cloud: Cloud) -> Iterator[str]:
    """The tag the template falls back on; an image that is named is the user's own affair."""
    if values["FunctionImage"] or cloud.embedded:
        return
    repository, tag = values["RepositoryName"], values["FunctionImageTag"]
    if digest_in_ecr(cloud.client("ecr"), repository, tag) is None:
        yield f"the image {repository}:{tag}"


def _zips(values: Mapping[str, str], cloud: Cloud) -> Iterator[str]:
    store = open_store(f"s3://{values['Bucket']}", cloud)
    for key in (values["CodeKey"], values["LayerKey"]):
        if not store.exists(key):
            yield store.uri(key)
