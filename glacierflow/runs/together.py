"""A run and its retries as one status: each slot of the first run as its latest retry left it; pure."""

from __future__ import annotations

from collections.abc import Sequence

from glacierflow.manifest import Manifest
from glacierflow.runs.states import NOT_SUBMITTED
from glacierflow.runs.status import RunStatus, SlotRow

__all__ = ["with_retries"]


def with_retries(root: RunStatus, retries: Sequence[tuple[Manifest, RunStatus]]) -> RunStatus:
    """The first run's rows, those tried again replaced by the retry's.

    Args:
        root: the first run alone.
        retries: manifest and status of each retry, oldest first. A slot whose retry was never sent stays as
            it was.
    """
    rows = {row.slot: row for row in root.rows}
    for manifest, status in retries:
        for row, origin in zip(status.rows, manifest.origin_slots, strict=True):
            if row.state != NOT_SUBMITTED:
                rows[origin] = _after(rows[origin], row)
    return root.model_copy(
        update={
            "rows": tuple(rows[slot] for slot in sorted(rows)),
            "retries": tuple(manifest.run_id for manifest, _ in retries),
        }
    )


def _after(before: SlotRow, row: SlotRow) -> SlotRow:
    """The retry's row in the place of the first run's, with the attempts of both."""
    return row.model_copy(
        update={
            "slot": before.slot,
            "attempts": before.attempts + row.attempts,
            "reclaims": before.reclaims + row.reclaims,
        }
    )
