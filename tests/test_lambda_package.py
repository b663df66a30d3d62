"""The scheduler's zips: alone in a directory they are enough, small enough, and always the same bytes."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from glacierflow.errors import UnavailableError, UsageError
from glacierflow.functions import package as package_module
from glacierflow.functions.package import Package, make_code, make_layer

ALONE = """
import json, sys
folder, *runtime = sys.argv[1:]
sys.path[:] = [folder, *[path for path in sys.path if "site-packages" not in path]]

class Lent:
    '''Lambda's own boto3 and what it needs, and nothing else that is installed beside it.'''
    names = {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3"}
    def find_spec(self, name, path=None, target=None):
        from importlib.machinery import PathFinder
        return PathFinder.find_spec(name, runtime) if path is None and name in self.names else None

sys.meta_path.append(Lent())
import glacierflow
from glacierflow.regions import load_catalogue
from glacierflow.functions.scheduler.handler import handler
try:
    handler({"do": "juggle"}, None)
    said = None
except Exception as error:
    said = str(error)
print(json.dumps({
    "file": glacierflow.__file__,
    "regions": len(load_catalogue().regions),
    "said": said,
}))
"""


def fake_layer(monkeypatch: pytest.MonkeyPatch) -> Package:
    """A layer of the libraries installed here: wheels of another Python could not be loaded by this one."""

    def copy(pins: list[str], _architecture: str, folder: Path) -> None:
        for pin in pins:
            name = pin.partition("==")[0]
            with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
                for file in metadata.distribution(name).files or ():
                    if not str(file).startswith("..") and "__pycache__" not in str(file):
                        wheel.write(Path(str(file.locate())), str(file))

    monkeypatch.setattr(package_module, "_download", copy)
    return make_layer("x86_64")


def test_the_handler_imports_from_the_two_zips_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alone").mkdir()
    for package in (make_code(), fake_layer(monkeypatch)):
        with zipfile.ZipFile(io.BytesIO(package.content)) as content:
            content.extractall(tmp_path / "unzipped")
    # Lambda puts a layer's python/ on the path beside the code
    (tmp_path / "unzipped" / "python").rename(tmp_path / "layer")
    for path in (tmp_path / "layer").iterdir():
        path.rename(tmp_path / "unzipped" / path.name)
    spec = importlib.util.find_spec("boto3")
    assert spec is not None
    assert spec.origin is not None
    site = Path(spec.origin).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path / "unzipped"), str(site)],
        capture_output=True,
        text=True,
        cwd=tmp_path / "alone",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["file"].startswith(str(tmp_path))
    assert told["regions"] == 192
    assert told["said"] == "do = juggle is not known"


def test_the_same_files_are_the_same_bytes() -> None:
    one, other = make_code(), make_code()
    assert one.content == other.content
    with zipfile.ZipFile(io.BytesIO(one.content)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {entry.date_time for entry in archive.infolist()} == {(2000, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
    assert {"glacierflow/functions/scheduler/handler.py", "glacierflow/data/batch/template.yaml"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("glacierflow/cli/", "glacierflow/local/"))]
    assert len(one.content) < 50_000_000
    assert one.unpacked == sum(
        entry.file_size for entry in zipfile.ZipFile(io.BytesIO(one.content)).infolist()
    )


@pytest.mark.parametrize(("architecture", "machine"), [("x86_64", b"\x3e"), ("arm64", b"\xb7")])
def test_the_layer_asks_pip_for_lambdas_python_and_processor(
    architecture: package_module.Architecture, machine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ELF's e_machine, at byte 18, is what tells the processor of a compiled module."""
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "pydantic_core.whl", "w") as wheel:
            wheel.writestr("pydantic_core/core.so", b"\x7fELF" + bytes(14) + machine)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    layer = make_layer(architecture)
    (command,) = asked
    platforms = [command[at + 1] for at, word in enumerate(command) if word == "--platform"]
    assert all(name.endswith("x86_64" if architecture == "x86_64" else "aarch64") for name in platforms)
    assert command[command.index("--python-version") + 1] == "3.12"
    pins = {word.partition("==")[0] for word in command if "==" in word}
    assert pins == {"annotated-types", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection"}
    with zipfile.ZipFile(io.BytesIO(layer.content)) as archive:
        assert archive.namelist() == ["python/pydantic_core/core.so"]


def test_a_layer_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> None:
        done = subprocess.CompletedProcess([], 1, "", f"WARNING: x\nERROR: {text}\n")
        monkeypatch.setattr(subprocess, "run", lambda *_args, **_more: done)

    refuse("No matching distribution found for pydantic==9")
    with pytest.raises(UsageError, match=r"no wheel for Lambda's Python 3\.12 on arm64"):
        make_layer("arm64")
    refuse("Could not connect")
    with pytest.raises(UnavailableError, match="could not download"):
        make_layer("x86_64")


def test_what_lambda_would_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_module, "_MAX_UNPACKED", 1_000)
    with pytest.raises(UsageError, match=r"scheduler\.zip has .* bytes, and Lambda takes 1000"):
        make_code()
