"""The table of a run of the benchmarks: medians of paired ratios beside what must come out.

python benchmarks/summary.py results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import CASES, FASTER_THAN_ODC, SHORT, TIMES_THE_FLOOR, Case


@dataclass(frozen=True, slots=True)
class Series:
    """One method in one region, a number for each repeat."""

    short_s: list[float]
    """Wall seconds of the short series, start of Python included."""
    each_s: list[float]
    """Wall seconds that each further acquisition takes."""
    megabytes: list[float]
    """Fetched over the case's long series."""
    requests: list[float]
    """Over the long series."""
    cpu_s: list[float]
    """Processor seconds that each further acquisition takes."""
    peak_mb: list[float]
    """Of the longest series that was run."""


def series_of(runs: list[dict[str, Any]], case: Case, method: str) -> Series | None:
    """One method in one region; None where it was not run."""
    mine = [run for run in runs if run["region"] == case.region and run["method"] == method]
    shorts = [run for run in mine if run["acquisitions"] == SHORT]
    longs = [run for run in mine if run["acquisitions"] != SHORT]
    if not shorts or len(shorts) != len(longs):
        return None
    pairs = list(zip(shorts, longs, strict=True))

    def each(what: str) -> list[float]:
        more = longs[0]["acquisitions"] - SHORT
        return [max(0.001, (long[what] - short[what]) / more) for short, long in pairs]

    def whole(what: str) -> list[float]:
        rest = case.long - longs[0]["acquisitions"]
        return [long[what] + rest * one for (_, long), one in zip(pairs, each(what), strict=True)]

    return Series(
        short_s=[short["wall_s"] for short in shorts],
        each_s=each("wall_s"),
        megabytes=whole("megabytes"),
        requests=whole("requests"),
        cpu_s=each("cpu_s"),
        peak_mb=[long["peak_mb"] for long in longs],
    )


def tables(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    of_machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in of_machine["versions"].items())
    return "\n".join(
        [
            f"{results['made']}, {of_machine['cores']} cores of {of_machine['processor']}, "
            f"Python {of_machine['python']}; {of_machine['latency_ms']} ms a request, "
            f"{of_machine['rate_mb_s']} MB/s. {versions}.",
            "",
            *_targets(results),
            "",
            *_measured(results["runs"]),
            "",
            *_floors(results.get("floor", {})),
        ]
    )


def _targets(results: dict[str, Any]) -> Iterator[str]:
    yield "| region | what | must be | is | |"
    yield "| --- | --- | --- | --- | --- |"
    for case in CASES:
        ours, theirs, peer = (
            series_of(results["runs"], case, method) for method in ("glacierflow", "predecessor", "odc-stac")
        )
        if ours is None:
            continue
        where = f"{case.region} ({case.what})"
        yield _at_most(where, f"peak memory, MB, {case.long} acquisitions", case.memory_mb, ours.peak_mb)
        if theirs is not None:
            fewer = _ratio(theirs.megabytes, ours.megabytes)
            yield _at_least(where, f"fewer bytes, {case.long} acquisitions", case.fewer_bytes, fewer)
            if case.faster is not None:
                faster = _ratio(theirs.each_s, ours.each_s)
                yield _at_least(where, "faster an acquisition", case.faster, faster)
            if case.faster_short is not None:
                short = _ratio(theirs.short_s, ours.short_s)
                yield _at_least(where, f"faster, {SHORT} acquisitions in all", case.faster_short, short)
        if peer is not None:
            than_peer = _ratio(peer.each_s, ours.each_s)
            yield _at_least(where, "faster an acquisition than odc-stac", FASTER_THAN_ODC, than_peer)
        if case.floor_s is not None:
            of_computed = [each / case.floor_s for each in ours.each_s]
            what = f"times the floor computed beforehand ({case.floor_s} s), an acquisition"
            yield _at_most(where, what, TIMES_THE_FLOOR, of_computed)
        floor = results.get("floor", {}).get(case.region)
        if floor is not None:
            of_own = [each / floor["total_s"] for each in ours.each_s]
            what = f"times the floor of our own parts ({floor['total_s']:.2f} s), an acquisition"
            yield _at_most(where, what, TIMES_THE_FLOOR, of_own)


def _ratio(larger: list[float], smaller: list[float]) -> list[float]:
    return [a / b for a, b in zip(larger, smaller, strict=True)]


def _at_least(where: str, what: str, wanted: float, values: list[float]) -> str:
    found = statistics.median(values)
    return f"| {where} | {what} | at least {wanted:g}x | {found:.1f}x | {_mark(found >= wanted)} |"


def _at_most(where: str, what: str, wanted: float, values: list[float]) -> str:
    found = statistics.median(values)
    shown = f"{found:.0f}" if wanted >= 100 else f"{found:.2f}"
    return f"| {where} | {what} | at most {wanted:g} | {shown} | {_mark(found <= wanted)} |"


def _mark(is_met: bool) -> str:
    return "holds" if is_met else "**missed**"


def _measured(runs: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| region | method | 3 acquisitions, s | each further, s | its processor s | peak MB | "
        "MB over the series | requests |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for case in CASES:
        for method in dict.fromkeys(run["method"] for run in runs):
            series = series_of(runs, case, method)
            if series is None:
                continue
            numbers = [
                *(_median(series.short_s, 1), _median(series.each_s, 2), _median(series.cpu_s, 2)),
                *(_median(values, 0) for values in (series.peak_mb, series.megabytes, series.requests)),
            ]
            yield f"| {case.region} ({case.long}) | {method} | {' | '.join(numbers)} |"


def _floors(floors: dict[str, dict[str, float]]) -> Iterator[str]:
    for region, parts in floors.items():
        named = ("fetch", "inflate", "predictor", "cubic", "write")
        seconds = ", ".join(f"{name} {parts[f'{name}_s']:.3f}" for name in named)
        yield f"Floor of an acquisition of {region}: {parts['total_s']:.3f} s ({seconds}; one thread each)."
        yield ""


def _median(values: Iterable[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    path = parser.parse_args().results
    text = tables(json.loads(path.read_text()))
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
