"""Run the benchmarks: each method as a whole process, in turn, against the same server; ratios come out.

    python benchmarks/run.py            the small region once, some minutes
    python benchmarks/run.py --full     four regions, three times each; about an hour, 7 GB of disk

Writes ``results.json``, ``results.md`` and ``results.png`` into ``--out``, with ``--full`` beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cases import CASES, METHODS, SHORT, Case, day_of
from measure import measure

from glacierflow.version import __version__

HERE = Path(__file__).parent
LATENCY_MS, RATE_MB_S = 30, 125
_PACKAGES = ("odc-stac", "rioxarray", "rasterio", "dask", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--regions", nargs="+", choices=[case.region for case in CASES])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeat", type=int, help="paired runs; 1, or 3 with --full")
    parser.add_argument("--archive", type=Path, help="directory of the archive; a cache folder otherwise")
    parser.add_argument(
        "--sparse", action="store_true", help="tiny tiles: tries the scripts, measures nothing"
    )
    parser.add_argument("--out", type=Path, help="for results; otherwise benchmark-output")
    given = parser.parse_args()
    regions = given.regions or [case.region for case in (CASES if given.full else CASES[:1])]
    cases = [case for case in CASES if case.region in regions]
    out: Path = given.out or (HERE if given.full else Path("benchmark-output"))
    out.mkdir(parents=True, exist_ok=True)
    archive = make_archive(given.archive, regions, sparse=given.sparse)
    results: dict[str, Any] = {
        "made": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "machine": machine(),
        "runs": [],
    }
    compile_kernels()
    with serve(archive) as server:
        for entry in run_all(cases, given.methods, given.repeat or (3 if given.full else 1), server):
            print(json.dumps(entry), flush=True)
            results["runs"].append(entry)
            (out / "results.json").write_text(json.dumps(results, indent=1))
    results["floor"] = floors(cases, archive)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    for script in ("summary.py", "plot.py"):
        subprocess.run([sys.executable, HERE / script, out / "results.json"], check=True)


def make_archive(directory: Path | None, regions: Sequence[str], *, sparse: bool) -> Path:
    """Make what is missing of the archive, and read it once so that no run waits for the disk."""
    command = [sys.executable, str(HERE / "archive.py"), "--regions", *regions]
    command += ["--dir", str(directory)] if directory else []
    made = subprocess.run(
        [*command, *(["--sparse"] if sparse else [])], check=True, stdout=subprocess.PIPE, text=True
    )
    found = Path(made.stdout.splitlines()[-1].rpartition(": ")[0])
    for path in (found / "images").glob("*.tif"):
        with path.open("rb") as image:
            while image.read(1 << 24):
                pass
    return found


def compile_kernels() -> None:
    """Once a machine and version, some seconds: no measured run should have to."""
    code = "from glacierflow.imagery.kernels import compile_all; compile_all()"
    subprocess.run([sys.executable, "-c", code], check=True)


@contextlib.contextmanager
def serve(archive: Path) -> Iterator[str]:
    """The server while the block lasts; its address."""
    command = [sys.executable, str(HERE / "server.py"), str(archive), "--port", "0"]
    command += ["--latency-ms", str(LATENCY_MS), "--rate-mb-s", str(RATE_MB_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run_all(
    cases: Sequence[Case], methods: Sequence[str], repeat: int, server: str
) -> Iterator[dict[str, Any]]:
    """All methods in turn, so that whatever else the machine does meets them alike."""
    for number in range(repeat):
        for case in cases:
            for is_long in (False, True):
                for method in methods:
                    acquisitions = case.acquisitions(method) if is_long else SHORT
                    yield run_one(case.region, method, acquisitions, server) | {"repeat": number}


def run_one(region: str, method: str, acquisitions: int, server: str) -> dict[str, Any]:
    """One method over one series, into a folder that is thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="glacierflow-bench-"))
    try:
        command = command_of(method, region, acquisitions, f"{server}/stac", folder / "out")
        measured = measure(command, folder / "log.txt", server, folder=folder)
        images = [path for path in (folder / "out").rglob("S2*.tif") if path.parent.name != "download"]
    finally:
        shutil.rmtree(folder)
    if len(images) != acquisitions:
        raise SystemExit(f"{method} made {len(images)} images of {region}, expected {acquisitions}")
    return {"region": region, "method": method, "acquisitions": acquisitions} | asdict(measured)


def floors(cases: Sequence[Case], archive: Path) -> dict[str, Any]:
    """What an acquisition costs at least, where it is asked for."""
    found = {}
    for case in cases:
        if case.floor_s is not None:
            command = [sys.executable, str(HERE / "floor.py"), "--dir", str(archive), "--region", case.region]
            done = subprocess.run(
                [*command, "--rate-mb-s", str(RATE_MB_S)], check=True, stdout=subprocess.PIPE
            )
            found[case.region] = json.loads(done.stdout)
    return found


def command_of(method: str, region: str, acquisitions: int, stac: str, out: Path) -> list[str]:
    """The command line of a method."""
    dates = ["--date1", str(day_of(0)), "--date2", str(day_of(acquisitions - 1))]
    if method == "glacierflow":
        program = str(Path(sys.executable).with_name("glacierflow"))
        what = ["--satellite", "sentinel2", "--regions", region, *dates]
        return [program, "run", *what, "--stac-url", stac, "--base-dir", str(out), "--quiet"]
    script = HERE / {"predecessor": "predecessor.py", "odc-stac": "odc_stac.py"}[method]
    return [sys.executable, str(script), "--stac", stac, "--region", region, *dates, "--out", str(out)]


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line for line in lines if line.startswith("model name")]
    return {
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "latency_ms": LATENCY_MS,
        "rate_mb_s": RATE_MB_S,
        "versions": {"glacierflow": __version__} | {package: version(package) for package in _PACKAGES},
    }


if __name__ == "__main__":
    main()
