"""A manifest on disk, for a cluster or any other scheduler without AWS."""

from __future__ import annotations

from pathlib import Path

from glacierflow.cli.batch.planning import Draft, arrange_units, units_of
from glacierflow.errors import StoreError, UsageError

__all__ = ["write_plan"]


def write_plan(draft: Draft, path: Path) -> int:
    """Write the manifest of a draft to a file, for a scheduler without AWS; how many slots it has.

    Its children write products and records to the settings' output directory.

    Raises:
        UsageError: the file exists, or there is nothing to do.
        StoreError: it cannot be written.
    """
    from glacierflow.runs.plan import build_manifest

    loaded, choice = draft.loaded, draft.choice
    arrangement = arrange_units(draft, units_of(draft))
    made = build_manifest(
        arrangement.slots,
        choice.regions,
        draft.step,
        catalogue_sha256=choice.catalogue_sha256,
        store=str(loaded.settings.output_dir.expanduser().absolute()),
        order=arrangement.order,
        settings_source=loaded.source,
    ).model_copy(update={"service": "local"})
    _write(path, made.model_dump_json(indent=1))
    return len(made.slots)


def _write(path: Path, text: str) -> None:
    """Never over another manifest: children may be at work with it."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", next_step="name another file, or delete it first") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
