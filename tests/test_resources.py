"""Processors and memory that a container or function really has."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glacierflow import host
from glacierflow.host import cpu_count, give_memory_back, memory_budget_mb


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    two = (f"{tmp_path}/cpu.max",), (f"{tmp_path}/cpu.cfs_quota_us", f"{tmp_path}/cpu.cfs_period_us")
    monkeypatch.setattr(host, "_CGROUP_QUOTAS", two)
    monkeypatch.setattr(host, "_CGROUP_LIMITS", (f"{tmp_path}/memory.max",))
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)


@pytest.mark.parametrize(
    ("said", "processors"),
    [
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("25000 100000\n", 1),
        ("max 100000\n", 8),
        ("6400000 100000\n", 8),
        ("nonsense", 8),
        ("", 8),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, said: str, processors: int) -> None:
    (tmp_path / "cpu.max").write_text(said)
    assert cpu_count() == processors


@pytest.mark.parametrize(("quota", "processors"), [("200000", 2), ("-1", 8)])
def test_the_quota_of_an_older_kernel(tmp_path: Path, quota: str, processors: int) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    assert cpu_count() == 8, "one file alone says nothing"
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_count() == processors


@pytest.mark.parametrize(("mib", "processors"), [(512, 1), (1769, 1), (3008, 2), (10240, 6)])
def test_a_lambda_function_has_what_its_memory_gives(
    monkeypatch: pytest.MonkeyPatch, mib: int, processors: int
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(mib))
    assert cpu_count() == processors
    assert memory_budget_mb(1_000_000) <= mib * 1.048576


def test_memory_is_the_least_of_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_budget_mb(100) == 100
    (tmp_path / "memory.max").write_text("64000000\n")
    assert memory_budget_mb(100) == 64
    assert memory_budget_mb(None) == 64


def test_glibc_is_told_to_give_memory_back_and_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    library: Any = SimpleNamespace(mallopt=lambda *pair: told.append(pair))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    give_memory_back()
    assert dict(told) == {-8: 2, -3: 4_194_304, -1: 16_777_216}
    library = SimpleNamespace()
    give_memory_back()
    assert len(told) == 3
