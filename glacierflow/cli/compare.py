"""``glacierflow compare``: how the pixels of two trees differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import options as o
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, cloud_for, load_line, say
from glacierflow.errors import StoreError, UnavailableError

if TYPE_CHECKING:
    from glacierflow.aws import Cloud
    from glacierflow.products.compare import Comparison, Difference

__all__ = ["compare_command"]

EXIT_UNCHECKED = 2
_MOST_NAMED = 60

TreeArgument = Annotated[
    str,
    typer.Argument(metavar="DIR|s3://...", help="A folder or prefix of images, ours or the predecessor's."),
]
ToleranceOption = Annotated[
    int, typer.Option("--tolerance", min=0, metavar="DN", help="Largest difference that is still the same.")
]


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
    from glacierflow.cli.progress import file_progress
    from glacierflow.products.compare import compare_trees
    from glacierflow.products.tree import open_tree

    try:
        cloud = _cloud(line, a, b)
        trees = open_tree(a, cloud), open_tree(b, cloud)
        with file_progress("comparing", quiet=line.quiet) as on_progress:
            found = compare_trees(*trees, tolerance=tolerance, on_progress=on_progress)
    except (StoreError, UnavailableError) as error:
        say(f"glacierflow: could not compare: {error.message}")
        return EXIT_UNCHECKED
    _show(found, as_json=as_json)
    return found.exit_code


def _cloud(line: CommandLine, *places: str) -> Cloud:
    """The settings' cloud where one of the places is in it; two directories need none."""
    if any(place.startswith("s3://") for place in places):
        return cloud_for(load_line(line), line)[0]
    from glacierflow.aws import Cloud

    return Cloud()


def _show(found: Comparison, *, as_json: bool) -> None:
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
        typer.echo("no image of one has its like in the other: nothing was compared")
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
