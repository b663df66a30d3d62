"""The predecessor's two headline runs, end to end through the embedded cloud, beside the times it reported.

    python benchmarks/headlines.py --quick     3 Landsat regions and 1 Sentinel-2 region, some minutes
    python benchmarks/headlines.py             23 Landsat regions and 3 Sentinel-2 regions

Measured is the whole command ``glacierflow submit --service lambda --wait --local``, from its start to its
end, with every product written. Not measured: making the sample, starting the embedded cloud, deploying the
stack. All functions share this machine's processors, where AWS has as many machines as functions, and the
sample has fewer and smaller images than the real archives: a time here says that all works and what the
orchestration costs, not how quick AWS would be. Exits 1 where a run does not end well or makes no product.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glacierflow.local.sample import write_sample
from glacierflow.model.records import Satellite
from glacierflow.regions import load_catalogue

DATE1, DATE2 = dt.date(2024, 7, 1), dt.date(2024, 7, 31)
GLACIERFLOW = [sys.executable, "-c", "from glacierflow.cli import main; main()"]
NO_RUN = {"products": 0, "slots": [], "states": {}, "wrong": 1}


@dataclass(frozen=True, slots=True)
class Headline:
    """A command of the predecessor, and what it reported of it (its period is not recorded)."""

    satellite: Satellite
    index: str
    quick_index: str
    reported: str


HEADLINES = (
    Headline("landsat", "0:23", "0:3", "about 31 s, 23 Lambdas"),
    Headline("sentinel2", "0:3", "0:1", "about 6 min, 3 Lambdas"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run, as ``submit --wait --json`` tells it, and the wall seconds of that command."""

    seconds: float
    run: dict[str, Any]

    @property
    def is_well(self) -> bool:
        """Every slot succeeded, and there are products."""
        run = self.run
        return not run["wrong"] and run["states"] == {"SUCCEEDED": len(run["slots"])} and run["products"] > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer regions")
    quick = parser.parse_args().quick
    print("| command | here, wall | slots | products | predecessor, all regions |")
    print("| --- | --- | --- | --- | --- |")
    fine = True
    with tempfile.TemporaryDirectory(prefix="glacierflow-headlines-") as scratch:
        for headline in HEADLINES:
            index = headline.quick_index if quick else headline.index
            measured = measure(headline.satellite, index, Path(scratch) / headline.satellite)
            fine = measured.is_well and fine
            command = f"`submit --service lambda --satellite {headline.satellite} --start-end-index {index}`"
            states = ", ".join(f"{count} {state}" for state, count in measured.run["states"].items())
            here = f"{measured.seconds:.0f} s | {states or 'not submitted'} | {measured.run['products']}"
            print(f"| {command} | {here} | {headline.reported} |", flush=True)
    return 0 if fine else 1


def measure(satellite: Satellite, index: str, scratch: Path) -> Measured:
    """Make the sample, deploy into a fresh embedded cloud, then time the one command."""
    archive, home = scratch / "archive", scratch / "home"
    home.mkdir(parents=True)
    write_sample(archive, load_catalogue().select(None, index).regions, DATE1, DATE2, satellites=(satellite,))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GLACIERFLOW_")}
    environ |= {"GLACIERFLOW_HOME": str(home)}

    def glacierflow(*arguments: str, check: bool = True) -> str:
        command = [*GLACIERFLOW, *arguments]
        # in the scratch folder, where no config.ini changes what is measured
        pipe = subprocess.PIPE
        return subprocess.run(command, env=environ, cwd=scratch, check=check, stdout=pipe, text=True).stdout

    try:
        glacierflow("stack", "deploy", "--local", "--with", "lambda", "--yes", "--quiet")
        glacierflow("local", "up", "--archive", str(archive))
        dates = ("--date1", str(DATE1), "--date2", str(DATE2))
        what = ("--satellite", satellite, "--start-end-index", index, *dates)
        how = ("--service", "lambda", "--wait", "--local", "--archive", str(archive), "--json", "--quiet")
        begin = time.perf_counter()
        told = glacierflow("submit", *what, *how, check=False)
        seconds = time.perf_counter() - begin
    finally:
        glacierflow("local", "down", check=False)
    return Measured(seconds, json.loads(told) if told else NO_RUN)


if __name__ == "__main__":
    raise SystemExit(main())
