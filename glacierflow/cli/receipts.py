"""Plans and results of units that run in this process, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from glacierflow.manifest import Manifest
    from glacierflow.receipt import Receipt

__all__ = ["receipts_table", "unit_lines"]


def unit_lines(manifest: Manifest) -> list[str]:
    """One line a unit, and where its products would go."""
    units = [unit for slot in manifest.slots for unit in slot]
    lines = [
        f"  index {manifest.regions[unit.region].index:<5} {unit.region:<32}"
        f" {unit.satellite}  {unit.date1} to {unit.date2}"
        for unit in units
    ]
    return [f"{len(units)} units, to {manifest.store}", *lines]


def receipts_table(receipts: Sequence[Receipt], console: Console) -> None:
    """One row a slot, with the reason where something went wrong; then notes and scenes left out."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("region", "outcome", "written", "there already", "left out", "why"):
        table.add_column(name)
    for receipt in receipts:
        counts = receipt.counts
        table.add_row(
            " ".join(unit.region for unit in receipt.units),
            receipt.outcome,
            str(counts.written),
            str(counts.skipped),
            str(len(receipt.left_out)),
            receipt.error or "",
            style="red" if receipt.exit_code else None,
        )
    console.print(table)
    for receipt in receipts:
        for note in receipt.notes:
            console.print(f"{note.code}: {note.text}", markup=False, highlight=False)
        for entry in receipt.left_out:
            console.print(f"left out {entry.item_id}: {entry.reason}", markup=False, highlight=False)
