"""What importing costs, which way imports go, and what travels in the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "rasterio",
    "boto3",
    "botocore",
    "geopandas",
    "pandas",
    "xarray",
    "dask",
    "numpy",
    "moto",
    "pystac_client",
    "jinja2",
}


def imported_by(code: str) -> set[str]:
    """Top-level modules in memory after running code in a fresh interpreter."""
    tell = "import json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    program = f"import sys\n{code}\n{tell}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not imported_by("import glacierflow") & (HEAVY | {"pydantic", "typer"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["batch", "submit", "--help"],
        ["stack", "deploy", "--help"],
        ["run", "--help"],
        ["velocity", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"from glacierflow.cli.app import run\nassert run({arguments!r}) == 0"
    assert not imported_by(code) & HEAVY


def test_a_child_that_makes_clips_imports_nothing_of_velocity() -> None:
    code = "import glacierflow.task, glacierflow.step.unit, glacierflow.imagery.kernels"
    assert not imported_by(code) & {"cv2", "netCDF4"}


def test_imports_go_down_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_has_outgrown_one_idea() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (ROOT / "glacierflow").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 350
    }
    assert long == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(wheel), "GLACIERFLOW_HOME": str(tmp_path)}
    program = (
        "import glacierflow, sys; from glacierflow.cli.app import run; "
        f"assert glacierflow.__file__.startswith({str(wheel)!r}), glacierflow.__file__; "
        "sys.exit(run(sys.argv[1:]))"
    )
    for arguments in (
        ["regions", "list"],
        ["config", "check"],
        ["run", "--satellite", "sentinel2", "--regions", "134_Arsuk", "--dry-run"],
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    listing = [path.relative_to(wheel).as_posix() for path in wheel.rglob("*") if path.is_file()]
    for wanted in (
        "config.ini",
        "aws_config.ini",
        "ancillary/glacier_regions.gpkg",
        "ancillary/prices.json",
        "ancillary/coast.json",
        "batch/template.yaml",
    ):
        assert f"glacierflow/data/{wanted}" in listing
