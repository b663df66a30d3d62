"""``glacierflow check`` and ``compare``: are the images of a tree right, and how do two trees differ?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_for, cloud_of_places, load_line, say
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.errors import StoreError, UnavailableError, UsageError

if TYPE_CHECKING:
    from glacierflow.products.compare import Comparison, Difference
    from glacierflow.products.tree import CheckReport, Tree
    from glacierflow.store import Store


EXIT_UNCHECKED = 2
_MOST_NAMED = 60
"""More findings than this are counted, not named; ``--json`` names all."""
_RUN_ID = re.compile(r"latest|(?:sentinel2|landsat)-\d{8}-\d{8}-[\w.-]+")
_MANIFEST = "manifest.json"

WhereArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR|s3://...|RUN",
        help="Folder or prefix of images, ours or the predecessor's, of any depth; or a run (id, or latest).",
    ),
]
QuickOption = Annotated[
    bool,
    typer.Option("--quick", help="Read headers only: no pixels, so no duplicates and no damaged blocks."),
]

TreeArgument = Annotated[
    str,
    typer.Argument(metavar="DIR|s3://...", help="A folder or prefix of images, ours or the predecessor's."),
]
ToleranceOption = Annotated[
    int,
    typer.Option("--tolerance", min=0, metavar="DN", help="Largest difference that still counts as equal."),
]


@collects(*CONNECTION, "s3_bucket")
def check_command(
    line: CommandLine,
    where: WhereArgument,
    quick: QuickOption = False,
    regions_file: o.RegionsFileOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Check that images are complete and correct.

    Checks grid, profile, pixels and lineage of every image of a folder, a bucket or a run.

    Exits 0 where all is well, 1 where something is wrong, 2 where something could not be checked.
    """
    from glacierflow.cli.render import file_progress
    from glacierflow.products.check import check_tree
    from glacierflow.regions import load_catalogue

    catalogue = {region.name: region for region in load_catalogue(regions_file).regions}
    try:
        tree, missing = _find(where, line)
        with file_progress("checking", quiet=line.quiet) as on_progress:
            report = check_tree(tree, catalogue, quick=quick, on_progress=on_progress)
    except (StoreError, UnavailableError) as error:
        say(f"glacierflow: could not check: {error.message}")
        return EXIT_UNCHECKED
    report = report.with_missing(missing)
    _show_report(report, as_json=as_json)
    return report.exit_code


def _find(where: str, line: CommandLine) -> tuple[Tree, tuple[str, ...]]:
    """The tree named, and the keys that should be in it and are not."""
    from glacierflow.products.tree import open_tree
    from glacierflow.store import LocalStore, open_store, split_s3_uri

    folder = Path(where).expanduser()
    if where.startswith("s3://"):
        cloud, _ = cloud_for(load_line(line), line)
        bucket, key = split_s3_uri(where)
        store = open_store(f"s3://{bucket}", cloud)
        if key and store.exists(f"{key.rstrip('/')}/{_MANIFEST}"):
            return _of_run(key.rstrip("/").rpartition("/")[2], store)
        return open_tree(where, cloud), ()
    if (folder / _MANIFEST).is_file():
        return _of_run(folder.name, LocalStore(folder.absolute().parents[1]))
    if folder.exists():
        from glacierflow.cloud import Cloud

        return open_tree(where, Cloud()), ()
    if _RUN_ID.fullmatch(where):
        from glacierflow.cli.batch.runs import locate_run

        found = locate_run(where, line)
        return _of_run(found.run_id, found.store)
    raise UsageError(
        f"{where} is neither a folder, nor an s3:// address, nor the id of a run",
        next_step="name a folder of images, s3://bucket/prefix, a run's id, or latest",
    )


def _of_run(run_id: str, store: Store) -> tuple[Tree, tuple[str, ...]]:
    """The products that the receipts of a run and its retries name."""
    from glacierflow.products.tree import read_tree
    from glacierflow.runs.family import read_family

    family = read_family(store, run_id)
    receipts = [receipt for several in family.receipts().values() for receipt in several]
    keys = {product.key for receipt in receipts for product in (*receipt.products, *receipt.already_there)}
    tree = read_tree(run_id, store, family.root.settings.base_path, only=keys)
    return tree, tuple(sorted(keys - tree.files.keys()))


def _show_report(report: CheckReport, *, as_json: bool) -> None:
    from glacierflow.cli import render

    if as_json:
        facts = {**report.model_dump(mode="json"), "codes": report.codes, "exit_code": report.exit_code}
        typer.echo(render.to_json(facts))
        return
    for title, findings in (("wrong", report.wrong), ("not checked", report.unchecked)):
        for finding in findings[:_MOST_NAMED]:
            typer.echo(f"{title}: {finding.key}\n  {finding.reason}")
        if len(findings) > _MOST_NAMED:
            typer.echo(f"... and {len(findings) - _MOST_NAMED} more; --json names all")
    if report.codes:
        typer.echo(", ".join(f"{count} {code}" for code, count in report.codes.items()))
    how = "headers" if report.quick else "every pixel"
    files = len({finding.key for finding in report.wrong})
    verdict = f"wrong files: {files}" if files else "nothing is wrong"
    typer.echo(f"images: {report.products}, regions: {report.regions}, checked by {how}; {verdict}")
    if report.untagged:
        typer.echo(f"made by another program, without tags and STAC items: {report.untagged}")
    if report.unchecked:
        typer.echo(f"could not be checked: {len(report.unchecked)}")


@collects(*CONNECTION)
def compare_command(
    line: CommandLine,
    a: TreeArgument,
    b: TreeArgument,
    tolerance: ToleranceOption = 0,
    as_json: o.JsonOption = False,
) -> int:
    """Compare the pixels of two sets of images.

    Images are matched by region and acquisition, whatever their file names.

    Exits 0 where they are the same, 1 where something differs or is missing, 2 where nothing matches or a
    file cannot be read.
    """
    from glacierflow.cli.render import file_progress
    from glacierflow.products.compare import compare_trees
    from glacierflow.products.tree import open_tree

    try:
        cloud = cloud_of_places(line, a, b)
        trees = open_tree(a, cloud), open_tree(b, cloud)
        with file_progress("comparing", quiet=line.quiet) as on_progress:
            found = compare_trees(*trees, tolerance=tolerance, on_progress=on_progress)
    except (StoreError, UnavailableError) as error:
        say(f"glacierflow: could not compare: {error.message}")
        return EXIT_UNCHECKED
    _show_comparison(found, as_json=as_json)
    return found.exit_code


def _show_comparison(found: Comparison, *, as_json: bool) -> None:
    from glacierflow.cli import render

    if as_json:
        facts = {**found.model_dump(mode="json"), "states": found.states, "exit_code": found.exit_code}
        typer.echo(render.to_json(facts))
        return
    notable = [difference for difference in found.differences if difference.state != "identical"]
    for difference in notable[:_MOST_NAMED]:
        typer.echo(_line(difference))
    if len(notable) > _MOST_NAMED:
        typer.echo(f"... and {len(notable) - _MOST_NAMED} more; --json names all")
    if notable and not found.has_pairs:
        typer.echo("no image of one has a match in the other: nothing was compared")
    counts = ", ".join(f"{count} {state}" for state, count in found.states.items())
    typer.echo(counts or "there are no images in either")


def _line(difference: Difference) -> str:
    name = f"{difference.state:9}  {difference.region}  {difference.acquisition}"
    if difference.state in {"only_a", "only_b"}:
        return name
    if difference.reason is not None:
        return f"{name}  {difference.reason}"
    return (
        f"{name}  {difference.identical_share:.4%} equal, {difference.within_1_share:.4%} within 1, largest "
        f"{difference.largest}, rms {difference.rms:.2f}, {difference.only_one_valid} valid in one only"
    )
