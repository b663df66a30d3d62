"""``glacierflow batch verify``: whether all products are there, whole and unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.runs import RunsArgument, heading, locate_runs
from glacierflow.cli.context import CommandLine, say
from glacierflow.cli.options import CONNECTION, JsonOption, collects
from glacierflow.errors import (
    CredentialsError,
    GlacierflowError,
    RunError,
    StoreError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from glacierflow.runs.coverage import Coverage
    from glacierflow.runs.verify import Depth, VerifyReport


EXIT_UNCHECKED = 2
_MOST_NAMED = 40
"""More units than this are counted, not named; ``--csv`` names all."""

QuickOption = Annotated[bool, typer.Option("--quick", help="Compare existence and size only.")]
ReadOption = Annotated[
    bool, typer.Option("--read", help="Read every byte, whatever S3 says; the default with --local.")
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write the coverage matrix as CSV, one line for each cell."),
]
PngOption = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Write the coverage matrix as a picture.")
]


class _UncheckedError(GlacierflowError):
    """Something stood between us and the products."""


@collects(*CONNECTION, "s3_bucket")
def verify_command(
    line: CommandLine,
    runs: RunsArgument = None,
    quick: QuickOption = False,
    read: ReadOption = False,
    csv: CsvOption = None,
    png: PngOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare a run's products with its receipts: complete, no data, partial, missing or damaged.

    A unit is judged by its latest good attempt, in the runs named, their canaries and their retries.
    Exits 0 where all is complete or has no data, 1 where something is wrong, 2 where something could not be
    checked.
    """
    if quick and read:
        raise UsageError("--quick and --read exclude each other", next_step="leave one of the two out")
    # Anyone can alter a file of the embedded cloud behind its back, so there nothing stands for the bytes.
    depth: Depth = "quick" if quick else "read" if read or line.local else "recorded"
    try:
        report = _verify(runs, line, depth)
    except _UncheckedError as error:
        say(f"glacierflow: could not check: {error.message}")
        return EXIT_UNCHECKED
    _write(report, csv, png)
    _show(report, as_json=as_json)
    return report.exit_code


def _verify(runs: list[str] | None, line: CommandLine, depth: Depth) -> VerifyReport:
    from glacierflow.runs.family import read_joined
    from glacierflow.runs.verify import verify_run

    try:
        found, run_ids = locate_runs(runs, line)
    except (CredentialsError, StoreError, UnavailableError) as error:
        raise _UncheckedError(error.message) from error
    try:
        return verify_run(read_joined(found.store, run_ids), found.store, depth=depth)
    except RunError:
        raise
    except GlacierflowError as error:
        # whatever the store refuses: nothing is known of the products, good or bad
        raise _UncheckedError(error.message) from error


def _write(report: VerifyReport, csv: Path | None, png: Path | None) -> None:
    from glacierflow.runs.coverage import coverage_csv, coverage_of, coverage_png

    coverage = coverage_of(report.units)
    if csv is not None:
        write_file(csv, coverage_csv(coverage).encode(), option="--csv")
    if png is not None:
        title = f"{' + '.join(report.runs)}, verified {report.checked_at:%Y-%m-%d %H:%M} UTC"
        write_file(png, coverage_png(coverage, title), option="--png")


def write_file(path: Path, data: bytes, *, option: str) -> None:
    """Write what an option asks for.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(
            f"{option} = {path} cannot be written: {error.strerror}", next_step="name another file"
        ) from error


def _show(report: VerifyReport, *, as_json: bool) -> None:
    from glacierflow.cli import render
    from glacierflow.runs.coverage import SIGNS, coverage_of
    from glacierflow.runs.progress import products_in_words

    if as_json:
        facts = report.model_dump(mode="json")
        typer.echo(
            render.to_json({**facts, "states": report.states, "products": report.products, "new": report.new})
        )
        return
    for text in (*heading(report.runs, report.retries), *_matrix(coverage_of(report.units))):
        typer.echo(text)
    signs = "  ".join(f"{SIGNS[state]} {state}" for state in SIGNS if state in report.states)
    typer.echo(f"\n{signs}\n")
    notable = [unit for unit in report.units if unit.state not in {"complete", "no_data"}]
    for unit in notable[:_MOST_NAMED]:
        of_run = f" of {unit.run_id}" if len(report.runs) > 1 else ""
        where = f"slot {unit.slot}{of_run}  {unit.unit.region}  {unit.unit.date1}..{unit.unit.date2}"
        typer.echo(f"{unit.state:9} {where}  {unit.reason}")
    if len(notable) > _MOST_NAMED:
        typer.echo(f"... and {len(notable) - _MOST_NAMED} more; --csv FILE names all")
    counts = ", ".join(f"{count} {state}" for state, count in report.states.items())
    how = {"quick": "existence and size", "recorded": "checksums", "read": "every byte"}[report.depth]
    products = products_in_words(report.new, report.products)
    typer.echo(f"{counts}; products: {products}; compared by {how}")


def _matrix(coverage: Coverage) -> list[str]:
    """Periods as columns where their names fit, else one character each between the first and the last."""
    from glacierflow.runs.coverage import SIGNS

    names = max(len(region) for region in coverage.regions)
    labels = coverage.labels
    wide = max(len(label) for label in labels)
    if (wide + 2) * len(labels) > 100:
        wide, head = 0, f"{labels[0]} to {labels[-1]}, {len(labels)} periods"
    else:
        head = "  ".join(label.ljust(wide) for label in labels)
    gap = "" if wide == 0 else "  "
    rows = []
    for region in coverage.regions:
        signs = [" " if check is None else SIGNS[check.state] for check in coverage.row(region)]
        rows.append(f"{region:{names}}  {gap.join(sign.ljust(wide) for sign in signs)}".rstrip())
    return [f"{'':{names}}  {head}".rstrip(), *rows]
