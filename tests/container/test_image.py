"""The image as it is: small, without privileges, and nothing left of the build."""

from __future__ import annotations

import json
import subprocess

from container.engine import LIKE_BATCH, build, docker, documented, inside, layers

MAX_MB = 500
SITE = "/opt/glacierflow/lib/python3*/site-packages"

IMPORT_ALL = """
import importlib, pathlib, numpy
site = pathlib.Path(numpy.__file__).parents[1]
names = []
for file in site.rglob("*.so"):
    if not file.parent.name.endswith(".libs") and not file.name.startswith("lib"):
        inner = file.relative_to(site)
        names.append(".".join((*inner.parts[:-1], inner.name.split(".")[0])))
for name in names:
    if not name.endswith(("tbbpool", "omppool")):  # numba's other thread pools, whose libraries are optional
        importlib.import_module(name)
print(len(names))
"""


def test_our_layers_are_small(image: str) -> None:
    history = docker("history", "--human=false", "--no-trunc", "--format", "{{.Size}} {{.CreatedBy}}", image)
    ours = [int(line.split()[0]) for line in history.splitlines() if "/opt/" in line and "COPY" in line]
    assert len(ours) == 2
    assert 0 < sum(ours) / 1e6 <= MAX_MB


def test_a_change_of_the_code_is_a_small_layer(image: str) -> None:
    code, dependencies = (
        int(inside(image, "sh", "-c", f"du -sb {path} | tail -1").split()[0])
        for path in ("/opt/app", "/opt/glacierflow")
    )
    assert code < 6e6 < dependencies


def test_it_starts_without_privileges(image: str) -> None:
    command = ["docker", "run", *LIKE_BATCH, "--env", "GLACIERFLOW_MANIFEST=/tmp/none", image]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "GLACIERFLOW_MANIFEST = /tmp/none: there is no such object" in ended.stdout.splitlines()[0]
    assert ended.returncode == 64


def test_nobody_is_root_and_only_tmp_is_writable(image: str) -> None:
    probe = (
        "id -u; for d in /opt/app /opt/glacierflow / /tmp; do touch $d/x 2>/dev/null && echo $d; done; true"
    )
    assert inside(image, "sh", "-c", probe).split() == ["1000", "/tmp"]
    # the image's own rights forbid it too, where a root file system is not read-only
    assert docker("run", "--rm", image, "sh", "-c", probe).split() == ["1000", "/tmp"]


def test_any_other_user_can_run_it(image: str) -> None:
    said = docker("run", *LIKE_BATCH, "--user", "4321:4321", image, "python", "-c", "import glacierflow.task")
    assert said == ""


def test_every_compiled_module_loads(image: str) -> None:
    """Thinning has damaged none of them."""
    assert int(inside(image, "python", "-W", "ignore", "-c", IMPORT_ALL)) > 50


def test_what_a_child_calls_is_there(image: str) -> None:
    names = "('s3', 'sts', 'sso', 'sso-oidc')"
    inside(
        image,
        "python",
        "-c",
        f"import boto3; [boto3.client(name, region_name='us-west-2') for name in {names}]",
    )
    projected = "from pyproj import Transformer as T; print(T.from_crs(32622, 3413).transform(5e5, 7.7e6))"
    assert inside(image, "python", "-c", projected).startswith("(")


def test_a_lazy_array_is_computed_there(image: str) -> None:
    """xarray and dask are whole after thinning: their own tests are gone, and what they import is not."""
    computed = (
        "import dask.array as da, pandas, xarray as xr; "
        "images = xr.DataArray(da.ones((2, 30, 30), chunks=10), dims=('time', 'y', 'x'),"
        " coords={'time': pandas.to_datetime(['2024-07-01', '2024-07-03'])}); "
        "print(images.sel(time='2024-07-03').sum().compute(scheduler='threads').item())"
    )
    assert inside(image, "python", "-c", computed).strip() == "900.0"


def test_nothing_of_the_build_is_left(image: str) -> None:
    found = inside(
        image,
        "sh",
        "-c",
        f"ls -d /build {SITE}/pip {SITE}/geopandas {SITE}/*/tests {SITE}/*/data/ec2 2>/dev/null;"
        "find /opt -name '*.a' -o -name '*.crt' -o -name '*.pyx' -o -name '.git*'; command -v gcc strip;"
        "ls -A ~root/.cache /tmp 2>/dev/null | grep -v :; true",
    )
    assert found == ""


def test_bytecode_is_compiled_and_never_checked(image: str) -> None:
    """Flags of a .pyc (PEP 552): bit 0 a hash, bit 1 checked against the source."""
    flags = (
        "import glacierflow.task, numpy, pathlib; print([pathlib.Path(m.__cached__).read_bytes()[4] "
        "for m in (glacierflow.task, numpy)])"
    )
    assert inside(image, "python", "-c", flags).strip() == "[1, 1]"


def test_labels_tell_version_and_revision(image: str) -> None:
    """Labels come last in the build, so that they cost nothing."""
    line = documented("docker build --network host -f container/Dockerfile -t")
    build(
        line.replace(
            "-t glacierflow", "-t glacierflow-labels --build-arg VERSION=1.2 --build-arg REVISION=abc"
        )
    )
    labels = json.loads(
        docker("image", "inspect", "--format", "{{json .Config.Labels}}", "glacierflow-labels")
    )
    assert labels["org.opencontainers.image.version"] == "1.2"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert layers("glacierflow-labels") == layers(image)
    docker("image", "rm", "glacierflow-labels")


def test_lambda_is_the_same_layers_and_one_more(image: str, lambda_image: str) -> None:
    assert layers(lambda_image)[:-1] == layers(image)
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", lambda_image))
    assert config["Entrypoint"] == ["python", "-m", "awslambdaric"]
    assert config["Cmd"] == ["glacierflow.functions.handler.handler"]
    docker(
        "run",
        *LIKE_BATCH,
        "--entrypoint",
        "python",
        lambda_image,
        "-c",
        "import awslambdaric, runtime_client, glacierflow.functions.handler",
    )
