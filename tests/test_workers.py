"""``glacierflow run --scheduler``: the same products, made by the workers of a dask scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from real_stac import DATES, REGION, RealStac, serve_real
from samples import real_regions

from glacierflow.cli.app import run
from glacierflow.products.compare import compare_trees
from glacierflow.products.tree import read_tree
from glacierflow.store import LocalStore

LocalCluster: Any = distributed.LocalCluster  # untyped


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    options = {"processes": False, "dashboard_address": ":0", "protocol": "tcp://"}
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def stac() -> Iterator[RealStac]:
    with serve_real() as served:
        yield served


def run_berlin(stac: RealStac, folder: Path, capsys: Any, *more: str) -> tuple[int, dict[str, Any]]:
    where = [
        "--regions-file",
        str(real_regions()),
        "--regions",
        REGION,
        "--base-dir",
        str(folder),
    ]
    dates = ["--satellite", "sentinel2", "--date1", DATES[0], "--date2", DATES[1]]
    code = run(["run", *where, *dates, "--stac-url", stac.url, "--json", *more])
    receipt: dict[str, Any] = json.loads(capsys.readouterr().out)["receipts"][0]
    return code, receipt


def test_workers_make_the_same_products(
    stac: RealStac, scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    code, receipt = run_berlin(stac, here, capsys)
    assert (code, receipt["counts"]["written"]) == (0, 2)
    code, by_workers = run_berlin(stac, there, capsys, "--scheduler", scheduler)
    assert (code, by_workers["counts"]["written"]) == (0, 2)
    # both workers read headers of their own, so never less
    assert receipt["bytes_read"] <= by_workers["bytes_read"] < 2 * receipt["bytes_read"]
    assert by_workers["requests"] >= receipt["requests"] > 0
    assert {"read", "warp", "write"} <= by_workers["seconds"].keys()
    found = compare_trees(*(read_tree(str(root), LocalStore(root), "") for root in (here, there)))
    assert found.states == {"identical": 2}


def test_a_worker_that_cannot_read_a_scene_says_why(
    stac: RealStac, scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    href = stac.api.items[0]["assets"]["nir"]["href"]
    stac.files.faults[href.removeprefix(stac.files.url)] = 404
    code, receipt = run_berlin(stac, tmp_path, capsys, "--scheduler", scheduler)
    assert (code, receipt["outcome"], receipt["counts"]["written"]) == (0, "partial", 1)
    assert href in receipt["error"]
    assert "404" in receipt["error"]


def test_a_scheduler_that_is_not_there_is_refused_before_anything_is_written(
    stac: RealStac, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glacierflow.cli.run._CONNECT_S", 0.3)
    command = ["run", "--regions", "134_Arsuk", "--base-dir", str(tmp_path), "--stac-url", stac.url]
    assert run([*command, "--scheduler", "tcp://127.0.0.1:1"]) == 64
    assert "does not answer" in capsys.readouterr().err
    config = tmp_path / "config.ini"
    config.write_text("[FLAGS]\ndownload_flag = 1\n")
    assert run([*command, "--config", str(config), "--scheduler", "tcp://127.0.0.1:1"]) == 64
    assert "download_flag" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.ini"]
    assert stac.api.searches == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("foo", "missing port number"),
        ("tcp://foo", "missing port number"),
        ("foo:port", "invalid literal"),
        ("tcp://127.0.0.1:99999", "a port below 65536"),
        ("tcp://:8786", "a host"),
        ("nonsense://x:1", "unknown address scheme"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_connects(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    said: str,
) -> None:
    def connect(*_: Any, **__: Any) -> None:
        pytest.fail("a client was made")

    monkeypatch.setattr(distributed, "Client", connect)
    command = ["run", "--regions", "134_Arsuk", "--base-dir", str(tmp_path), "--scheduler", address]
    assert run(command) == 64
    told = capsys.readouterr().err
    assert f"--scheduler = {address} is not an address: " in told
    assert said in told
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_without_workers_is_refused(
    stac: RealStac, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp://") as cluster:
        command = ["run", "--regions", "134_Arsuk", "--base-dir", str(tmp_path), "--stac-url", stac.url]
        assert run([*command, "--scheduler", cluster.scheduler_address]) == 64
    assert "has no workers" in capsys.readouterr().err
