"""Children in containers, as a user starts them: the pixels are the same, and a reclaim loses nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded
import numpy as np
import pytest
import rasterio
from samples import real_archive, real_arguments, real_regions
from test_predecessor import commands, parsed, typed

from container.engine import docker, documented
from glacierflow.cloud import Cloud
from glacierflow.local import control

SAMPLE_DATES = ("--date1", "2024-07-01", "--date2", "2024-07-12")
# not root, whoever runs the tests: products belong to the owner of the directory they go to
UID = os.getuid() or 1000
BASE = ("--base", os.environ["GLACIERFLOW_BASE_IMAGE"]) if "GLACIERFLOW_BASE_IMAGE" in os.environ else ()
"""The base image this machine has, where it is not the public one."""


HERE = ("build", "size", "run")
"""Verbs of ``glacierflow container`` that need nothing but an engine."""


class User(embedded.User):
    """A person at a terminal whose embedded cloud runs children as containers."""

    def types(self, *arguments: str, expect: int = 0) -> str:
        """Both outputs."""
        return "".join(self.typed(*arguments, expect=expect))

    def made(self, name: str) -> Path:
        """A directory for products, as the user who is not root makes it."""
        directory = self.folder / name
        directory.mkdir()
        os.chown(directory, UID, UID)
        return directory


@pytest.fixture(scope="module")
def user(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    one = User(tmp_path_factory.mktemp("user"))
    one.types("local", "up", "--executor", "docker", "--image", image)
    yield one
    control.down(one.folder / "home" / "local")


def pixels(directory: Path) -> dict[str, Any]:
    """Image and grid of every product below a directory, by path."""
    found = {}
    for path in sorted(directory.rglob("*.tif")):
        with rasterio.open(path) as product:
            found[str(path.relative_to(directory))] = (product.read(1), product.transform, product.crs)
    return found


def assert_same_products(one: Path, other: Path, *, at_least: int = 1) -> None:
    first, second = pixels(one), pixels(other)
    assert list(first) == list(second)
    assert len(first) >= at_least
    for name, (image, transform, crs) in first.items():
        np.testing.assert_array_equal(image, second[name][0], err_msg=name)
        assert (transform, crs) == second[name][1:]
        assert image.any()


def receipts(directory: Path) -> list[dict[str, Any]]:
    paths = sorted(directory.glob("runs/*/attempts/*/*.json"))
    return [json.loads(path.read_text()) for path in paths if not path.name.endswith("started.json")]


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_an_index_of_the_sample_has_the_same_pixels_in_a_container(user: User, satellite: str) -> None:
    asked = ("--satellite", satellite, *SAMPLE_DATES, "--local")
    plain, contained = user.made(f"plain-{satellite}"), user.made(f"contained-{satellite}")
    user.types("run", "--start-end-index", "137:138", *asked, "--base-dir", str(plain))
    user.types("container", "run", "--index", "137", *asked, "--to", str(contained), "--memory", "1500")
    assert_same_products(plain, contained)
    (receipt,) = receipts(contained)
    assert receipt["outcome"] == "done"
    assert receipt["batch"]["job_queue"] == "glacierflow-container-run"
    owners = {path.stat().st_uid for path in contained.rglob("*")}
    assert owners == {UID}


REAL_UNITS = {
    "sentinel2": ("902_Berlin", "--date1", "2016-05-01", "--date2", "2016-06-30"),
    "landsat": ("901_Yahtse", "--date1", "2016-07-01", "--date2", "2016-08-31"),
}


def real_unit(satellite: str) -> tuple[int, tuple[str, ...]]:
    """Index of the real region, and the arguments that ask for its real scenes."""
    regions = real_regions()
    assert regions.is_file(), f"the real pixels are not there: {real_archive()}"
    name, *dates = REAL_UNITS[satellite]
    names = sorted(row.split(",")[0] for row in regions.read_text().splitlines()[1:])
    return names.index(name), ("--satellite", satellite, *dates, "--local", *real_arguments())


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_real_pixels_are_the_same_in_a_container(user: User, satellite: str) -> None:
    index, asked = real_unit(satellite)
    plain, contained = user.made(f"real-plain-{satellite}"), user.made(f"real-contained-{satellite}")
    user.types("run", "--start-end-index", f"{index}:{index + 1}", *asked, "--base-dir", str(plain))
    user.types("container", "run", "--index", str(index), *asked, "--to", str(contained), "--memory", "1500")
    assert_same_products(plain, contained)


def test_an_array_of_five_runs_as_containers(user: User) -> None:
    asked = ("--satellite", "landsat", "--start-end-index", "176:181", *SAMPLE_DATES, "--local")
    plain = user.made("array-plain")
    user.types("run", *asked, "--base-dir", str(plain))
    told = user.types("batch", "submit", *asked, "--wait", "--fetch", "array-contained", "--json")
    answer = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert answer["states"] == {"SUCCEEDED": 5}
    assert_same_products(
        plain / "1_download_merge_and_clip",
        user.folder / "array-contained" / "1_download_merge_and_clip",
        at_least=5,
    )
    assert (
        docker("ps", "--all", "--quiet", "--filter", f"label=glacierflow.home={user.folder}/home/local") == ""
    )


def test_a_child_of_a_run_is_replayed(user: User) -> None:
    asked = ("--satellite", "landsat", "--start-end-index", "136:138", *SAMPLE_DATES, "--local")
    told = user.types("batch", "submit", *asked, "--wait", "--json", "--fetch", "replayed-run")
    run_id = json.loads(told[told.index("{") : told.rindex("}") + 1])["run_id"]
    replay = user.made("replay")
    user.types("container", "run", "--run", run_id, "--slot", "1", "--local", "--to", str(replay))
    (receipt,) = receipts(replay)
    assert (receipt["run_id"], receipt["slot"], receipt["outcome"]) == (run_id, 1, "done")
    for name, (image, *_) in pixels(replay).items():
        with rasterio.open(user.folder / "replayed-run" / name) as product:
            np.testing.assert_array_equal(product.read(1), image)
    assert "has slots 0 to 1" in user.types(
        "container", "run", "--run", run_id, "--slot", "2", "--local", expect=64
    )


def test_lambdas_image_runs_a_child_as_well(user: User, lambda_image: str) -> None:
    asked = ("--index", "136", "--satellite", "landsat", *SAMPLE_DATES, "--local")
    directory = user.made("lambda-image")
    user.types("container", "run", *asked, "--image", lambda_image, "--to", str(directory))
    (receipt,) = receipts(directory)
    assert receipt["outcome"] == "done"
    assert pixels(directory)


def test_a_kill_loses_and_doubles_nothing(user: User) -> None:
    index, asked = real_unit("sentinel2")
    plain, disturbed = user.made("undisturbed"), user.made("disturbed")
    user.types("run", "--start-end-index", f"{index}:{index + 1}", *asked, "--base-dir", str(plain))
    again = ("container", "run", "--index", str(index), *asked, "--to", str(disturbed))
    reclaimed = user.start(*again)
    assert reclaimed.stderr is not None
    # a line that is the child's: it is at work
    assert any(not line.startswith("glacierflow:") for line in reclaimed.stderr)
    docker("kill", docker("ps", "--quiet", "--filter", "name=^glacierflow-[0-9a-f]{32}$").strip())
    assert "exit code 137" in reclaimed.communicate(timeout=300)[0]
    assert reclaimed.returncode == 1
    assert not receipts(disturbed)
    user.types(*again)
    assert [receipt["outcome"] for receipt in receipts(disturbed)] == ["done"]
    assert_same_products(plain, disturbed, at_least=2)


def test_too_little_memory_is_told(user: User) -> None:
    told = user.types(
        *("container", "run", "--index", "137", "--satellite", "sentinel2", *SAMPLE_DATES, "--local"),
        *("--to", str(user.made("small")), "--memory", "64"),
        expect=1,
    )
    assert "out of memory: the limit is 64 MiB" in told
    assert "exit code 137" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param((), "either --index, or --run and --slot", id="neither"),
        pytest.param(("--index", "1", "--run", "x", "--slot", "0"), "either --index", id="both"),
        pytest.param(("--run", "x"), "--run and --slot belong together", id="no-slot"),
        pytest.param(("--index", "1", "--to", "x", "--s3-bucket", "y"), "two places", id="two-places"),
        pytest.param(("--index", "900", "--local"), "900", id="no-such-index"),
    ],
)
def test_nonsense_is_refused_before_anything_starts(
    user: User, arguments: tuple[str, ...], told: str
) -> None:
    assert told in user.types("container", "run", "--satellite", "landsat", *arguments, expect=64)


def test_a_missing_image_is_named(user: User) -> None:
    told = user.types(
        *("container", "run", "--index", "137", "--satellite", "landsat", *SAMPLE_DATES, "--local"),
        *("--to", str(user.made("none")), "--image", "127.0.0.1:1/none"),
        expect=64,
    )
    assert "the container does not start" in told
    assert "glacierflow container build" in told


def test_build_labels_the_commit_and_size_tells_the_layers(user: User) -> None:
    user.types("container", "build", "--quiet", *BASE)
    labels = docker("image", "inspect", "--format", "{{json .Config.Labels}}", "glacierflow:0.1.0")
    assert json.loads(labels)["org.opencontainers.image.version"] == "0.1.0"
    weight = json.loads(user.types("container", "size", "--json"))
    assert weight["ours"] == sum(layer["size"] for layer in weight["layers"] if layer["ours"]) < 500e6
    assert len([layer for layer in weight["layers"] if layer["ours"]]) == 2
    assert "there is no image glacierflow:none" in user.types(
        "container", "size", "glacierflow:none", expect=64
    )


def test_commands_of_the_predecessors_page_run_as_they_are_written(
    user: User, lambda_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need nothing but an engine; a shim leaves out ``--no-cache``, which takes minutes."""
    shim = user.folder / "shim" / "docker"
    shim.parent.mkdir()
    shim.write_text(
        '#!/bin/sh\nfor word; do shift; [ "$word" = --no-cache ] || set -- "$@" "$word"; done\n'
        f'exec {shutil.which("docker")} "$@"\n'
    )
    shim.chmod(0o755)
    monkeypatch.setitem(user.environment, "PATH", f"{shim.parent}:{user.environment['PATH']}")
    if BASE:
        monkeypatch.setitem(user.environment, "GLACIERFLOW_BASE_IMAGE", BASE[1])
    # days of which a sample is made in seconds; the document leaves them to the settings
    monkeypatch.setitem(user.environment, "GLACIERFLOW_DATE1", SAMPLE_DATES[1])
    monkeypatch.setitem(user.environment, "GLACIERFLOW_DATE2", SAMPLE_DATES[3])
    here = [words for words in commands() if parsed(words)[0] in {f"container {verb}" for verb in HERE}]
    assert {words[1] for words in here} == set(HERE)
    for words in {shlex.join(words): words for words in here}.values():
        user.types(*typed(words))
    made = user.folder / "output"
    assert pixels(made)
    (receipt,) = receipts(made)
    assert receipt["outcome"] == "done"


def test_the_lambda_image_is_built_and_labelled(user: User, lambda_image: str) -> None:
    assert user.types("container", "build", "--target", "lambda", "--quiet", *BASE).split() == [
        lambda_image,
        f"{lambda_image}:0.1.0",
    ]
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", f"{lambda_image}:0.1.0"))
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert "glacierflow.functions.handler.handler" in config["Cmd"]


def test_no_cache_is_passed_on(image: str, tmp_path: Path) -> None:
    """Building every layer anew takes minutes; what docker is asked for is what counts."""
    shim, asked = tmp_path / "bin" / "docker", tmp_path / "asked"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\n[ "$1" = build ] || exec {shutil.which("docker")} "$@"\necho "$@" > {asked}\n'
    )
    shim.chmod(0o755)
    user = User(tmp_path)
    user.environment["PATH"] = f"{shim.parent}:{user.environment['PATH']}"
    user.types("container", "build", "--no-cache")
    assert "--no-cache" in asked.read_text().split()
    user.types("container", "build")
    assert "--no-cache" not in asked.read_text().split()


def test_the_documented_docker_run_makes_the_same_products(user: User) -> None:
    asked = ("--satellite", "sentinel2", "--start-end-index", "137:138", *SAMPLE_DATES)
    plain, folder = user.made("documented-plain"), user.made("documented")
    user.types("run", *asked, "--local", "--base-dir", str(plain))
    (folder / "out").mkdir()
    stac = json.loads(user.types("local", "status", "--json"))["url"] + "/stac"
    manifest = folder / "out" / "manifest.json"
    user.types("plan", *asked, "--manifest", str(manifest), "--base-dir", "/out", "--stac-url", stac)
    line = documented("docker run --rm")
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_products(plain, folder / "out")


def test_docker_run_of_a_bare_index_makes_that_regions_images(user: User) -> None:
    """The command of container/README.md; the network and the STAC API's address are the test's."""
    asked = ("--satellite", "sentinel2", "--start-end-index", "5:6")
    plain, folder = user.made("bare-plain"), user.made("bare")
    dates = ("--date1", "2024-07-01", "--date2", "2024-07-06")
    user.types("run", *asked, *dates, "--local", "--base-dir", str(plain))
    stac = json.loads(user.types("local", "status", "--json"))["url"] + "/stac"
    (folder / "out").mkdir()
    ours = f"docker run --rm --network host -e GLACIERFLOW_SENTINEL2_STAC_URL={stac}"
    line = documented("docker run -e").replace("docker run", ours, 1)
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "region 5: sentinel2 006_barthinolisbrae 2024-07-01 to 2024-07-06, to /out" in done.stdout
    assert_same_products(plain, folder / "out", at_least=2)
    assert {path.stat().st_uid for path in (folder / "out").rglob("*")} == {os.getuid()}
    (receipt,) = receipts(folder / "out")
    assert (receipt["outcome"], receipt["slot"]) == ("done", 0)
    (manifest,) = (folder / "out" / "runs").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["run_id"] == receipt["run_id"]


def bare(*options: str, expect: int = 0) -> str:
    """What a container with nothing but these options says."""
    command = ["docker", "run", "--rm", "--network", "host", *options, "glacierflow"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def test_settings_of_a_bare_index_may_be_a_mounted_file(user: User) -> None:
    folder = user.made("mounted")
    asked = ("--satellite", "sentinel2", "--start-end-index", "133:134", *SAMPLE_DATES)
    plain = user.made("mounted-plain")
    user.types("run", *asked, "--local", "--base-dir", str(plain))
    stac = json.loads(user.types("local", "status", "--json"))["url"] + "/stac"
    config = user.folder / "mounted.ini"
    config.write_text(
        "[SETTINGS]\nsatellite = sentinel2\n[DATES]\ndate1 = 2024-07-01\ndate2 = 2024-07-12\n"
        f"[PATHS]\nbase_dir = /fs/project/somewhere\n[IMAGERY]\nsentinel2_stac_url = {stac}\n"
    )
    config.chmod(0o644)
    folder.chmod(0o777)
    settings = ("-v", f"{config}:/config.ini:ro", "-e", "GLACIERFLOW_CONFIG=/config.ini")
    bare("-e", "GLACIERFLOW_INDEX=133", *settings, "-v", f"{folder}:/out")
    assert_same_products(plain, folder)
    assert {path.stat().st_uid for path in folder.rglob("*")} == {1000}


def test_what_a_bare_container_lacks_is_told(image: str) -> None:
    assert "GLACIERFLOW_INDEX is set" in bare(expect=64)
    told = bare("-e", "AWS_BATCH_JOB_ARRAY_INDEX=192", expect=64)
    assert "index 192 is outside the catalogue, which has the regions 0..191" in told
    told = bare("-e", "AWS_BATCH_JOB_ARRAY_INDEX=5", expect=64)
    assert "base_dir = /out cannot be written: Permission denied" in told
    assert '--volume "$PWD/out:/out"' in told


def test_products_go_to_a_bucket(user: User) -> None:
    asked = ("--satellite", "landsat", *SAMPLE_DATES, "--local")
    plain = user.made("bucket-plain")
    user.types("run", "--start-end-index", "138:139", *asked, "--base-dir", str(plain))
    user.types("container", "run", "--index", "138", *asked, "--s3-bucket", control.DEFAULT_BUCKET)
    endpoint = control.status(user.folder / "home" / "local")
    assert endpoint is not None
    s3 = Cloud(endpoint_url=endpoint.url, embedded=True).client("s3")
    fetched = user.folder / "bucket"
    for key in pixels(plain):
        (fetched / key).parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(control.DEFAULT_BUCKET, key, str(fetched / key))
    assert_same_products(plain, fetched)


def test_the_embedded_cloud_wants_an_image_for_its_containers(user: User, tmp_path: Path) -> None:
    other = User(tmp_path)
    told = other.types("local", "up", "--executor", "docker", "--image", "none-such", expect=64)
    assert "there is no image none-such here" in told
    assert "glacierflow container build" in told
    try:
        assert "processes" in other.types("local", "up", "--executor", "auto", "--image", "none-such")
    finally:
        other.types("local", "down")


NO_DOCKER = "there is no docker command"
EVERY_VERB = (("build",), ("size",), ("push",), ("run", "--index", "1", "--satellite", "landsat"))


@pytest.mark.parametrize("arguments", EVERY_VERB, ids=lambda arguments: arguments[0])
def test_without_an_engine_every_verb_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    user = User(tmp_path)
    user.environment["DOCKER_HOST"] = f"unix://{tmp_path}/nothing.sock"
    code, said = (1, "no Docker engine answers") if shutil.which("docker") else (64, NO_DOCKER)
    assert said in user.types("container", *arguments, expect=code)


@pytest.mark.parametrize("arguments", EVERY_VERB, ids=lambda arguments: arguments[0])
def test_without_docker_every_verb_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    user = User(tmp_path)
    user.environment["PATH"] = str(tmp_path)
    assert NO_DOCKER in user.types("container", *arguments, expect=64)
