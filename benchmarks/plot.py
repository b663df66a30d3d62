"""Draw a run of the benchmarks: seconds an acquisition, bytes and memory, as multiples of glacierflow's.

python benchmarks/plot.py results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from cases import CASES, METHODS
from matplotlib import pyplot
from summary import Series, series_of

COLOURS = {"predecessor": "#b5651d", "odc-stac": "#5b7f95", "glacierflow": "#1b9e77"}
PANELS = {
    "seconds an acquisition": "each_s",
    "bytes over the series": "megabytes",
    "peak memory": "peak_mb",
}


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Write the plot as a PNG."""
    cases = [case for case in CASES if series_of(runs, case, "glacierflow") is not None]
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axes, (title, what) in zip(panels, PANELS.items(), strict=True):
        for place, case in enumerate(cases):
            ours = _median(series_of(runs, case, "glacierflow"), what)
            for line, method in enumerate(METHODS):
                series = series_of(runs, case, method)
                if series is None:
                    continue
                times = _median(series, what) / ours
                at = place + (line - 1) * 0.28
                axes.barh(at, times, 0.26, color=COLOURS[method], label=method if place == 0 else None)
                axes.annotate(f" {times:.1f}x", (times, at), va="center", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlim(0.5, axes.get_xlim()[1] * 3)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("times glacierflow's (log)", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(cases)), [f"{case.region}\n{case.what}" for case in cases])
    panels[0].invert_yaxis()
    panels[0].legend(fontsize=7, frameon=False, loc="lower right")
    figure.savefig(path, dpi=90)


def _median(series: Series | None, what: str) -> float:
    values: list[float] = getattr(series, what)
    return statistics.median(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    path = parser.parse_args().results
    draw(json.loads(path.read_text())["runs"], path.with_suffix(".png"))


if __name__ == "__main__":
    main()
