"""Whether a product is there already, and what may become of it.

One that lacks tiles which the archive published later is made again unasked. Nothing else is, least of all
from fewer sources than before; ``--reprocess`` asks for that.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glacierflow.model.layout import Layout, acquisition_of
from glacierflow.model.records import Acquisition, LeftOut, Note, Region, StepSettings, Unit
from glacierflow.products import cog, lineage

if TYPE_CHECKING:
    from glacierflow.store import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one acquisition before it is read."""

    is_same: bool = False
    """Its product is there, made from the same with the same settings."""
    differs: str | None = None
    """A product is there and stays although it was made differently: the reason."""
    note: Note | None = None
    """Why one that is there is made again: for the receipt, once it is written."""
    superseded: LeftOut | None = None
    """A product of another name that the new one stands in for."""


class Shelf:
    """A region's products as they are in the store."""

    def __init__(
        self, store: Store, unit: Unit, region: Region, settings: StepSettings, remake: Collection[str]
    ) -> None:
        self._store, self._unit, self._region, self._settings = store, unit, region, settings
        self._remake = remake
        self._layout = Layout(settings.base_path, settings.folder_structure)
        self._listing = threading.Lock()
        self._versions: dict[str | None, str] | None = None

    def look(self, key: str, acquisition: Acquisition) -> Standing:
        """What stands against making the product of an acquisition, if anything.

        Raises:
            StoreError: the store could not be read.
        """
        if key in self._remake:
            return Standing()
        head = self._store.get_head(key, cog.HEAD_BYTES)
        if head is None:
            return self._other_version(key, acquisition)
        header = cog.read_header(head)
        tags = header.tags if header else {}
        wanted = lineage.production_hash(acquisition, self._region, self._settings)
        if tags.get(lineage.PRODUCTION_TAG) == wanted:
            return Standing(is_same=True)
        if self._settings.reprocess:
            return Standing()
        note = self._added(tags, acquisition)
        if note is not None:
            return Standing(note=note)
        gone = lineage.source_names(tags) - {scene.source_name for scene in acquisition.scenes}
        why = "with other settings or on another grid"
        if gone:
            why = f"from {', '.join(sorted(gone))}, which is not used now"
        if not tags.get(lineage.PRODUCTION_TAG):
            why = "by another program"
        return Standing(differs=f"{key} is there, made {why}; --reprocess replaces it")

    def _other_version(self, key: str, acquisition: Acquisition) -> Standing:
        """The same for a product of the acquisition as it was processed before, which has another name."""
        with self._listing:
            if self._versions is None:
                prefix = self._layout.products_prefix(self._unit.satellite, self._region.name)
                self._versions = {acquisition_of(one.key): one.key for one in self._store.list(prefix)}
        other = self._versions.get(acquisition.key)
        if other is None or other == key:
            return Standing()
        other_processing = {
            "sentinel2": "of another processing baseline",
            "landsat": "of the same scene processed at another time",
        }[self._unit.satellite]
        reason = f"superseded by {key}, {other_processing}"
        superseded = LeftOut(item_id=other, code="superseded", reason=reason)
        if self._settings.reprocess:
            return Standing(superseded=superseded)
        header = cog.read_header(self._store.get_head(other, cog.HEAD_BYTES) or b"")
        note = self._added(header.tags if header else {}, acquisition)
        if note is not None:
            return Standing(note=note, superseded=superseded)
        return Standing(
            differs=f"{other} is there, {other_processing}; --reprocess makes {acquisition.stem} too"
        )

    def _added(self, tags: dict[str, str], acquisition: Acquisition) -> Note | None:
        """Why a product that lacks some of the sources, and differs in nothing else, is made again."""
        lacked = lineage.lacked_scenes(tags, acquisition, self._region, self._settings)
        if not lacked:
            return None
        names = ", ".join(scene.source_name for scene in lacked)
        had = len(acquisition.scenes) - len(lacked)
        text = (
            f"{acquisition.stem}: made again, because {names} was not there when it was made from {had} of "
        )
        return Note(code="sources_added", text=f"{text}{len(acquisition.scenes)} sources")
