"""The catalogue: regions sorted by name, and how some of them are chosen."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glacierflow.errors import RegionError
from glacierflow.model import Region
from glacierflow.regions.files import read_rows
from glacierflow.regions.packaged import packaged_regions
from glacierflow.regions.records import make_regions
from glacierflow.resources import resource_path

__all__ = ["Catalogue", "Selection", "load_catalogue"]

_PACKAGED = "ancillary/glacier_regions.gpkg"
_RANGE = re.compile(r"\s*(?P<first>-?\d+)?\s*:\s*(?P<stop>-?\d+)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen regions in catalogue order, and what the user should be told about the choice."""

    regions: tuple[Region, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All regions, sorted by name; a region's index is its place here."""

    regions: tuple[Region, ...]
    sha256: str
    """Hash of names, tiles and extents: the same from a CSV as from a GeoPackage of the same regions."""
    source: str
    """Path of the file it was read from."""

    def select(self, names: Sequence[str] | None, index_range: str | None) -> Selection:
        """Choose by names, or by a Python slice ``A:B``; an index range wins over names; neither is all.

        Raises:
            RegionError: an unknown name, something that is no slice, or nothing chosen.
        """
        if index_range is not None:
            selection = self._slice(index_range)
            if names is None:
                return selection
            ignored = f"--start-end-index {index_range} wins; the names {', '.join(names)} are not used"
            return Selection(selection.regions, (ignored, *selection.warnings))
        if names is not None:
            return self._named(names)
        return Selection(self.regions, ())

    def _slice(self, text: str) -> Selection:
        match = _RANGE.fullmatch(text)
        if match is None:
            raise RegionError(
                f"{text!r} is not an index range",
                next_step="write A:B, 65: or :10, counted from 0 with B not included, e.g. 0:23",
            )
        first, stop = (None if part is None else int(part) for part in match.groups())
        chosen, count = self.regions[first:stop], len(self.regions)
        if not chosen:
            raise RegionError(
                f"the index range {text} holds no region; the catalogue has {count}, 0 to {count - 1}",
                next_step="write A:B with A smaller than B, e.g. 0:23",
            )
        beyond = any(part is not None and not -count <= part <= count for part in (first, stop))
        warning = (
            f"the index range {text} reaches beyond the catalogue's {count} regions; "
            f"{len(chosen)} are taken, {chosen[0].index} to {chosen[-1].index}"
        )
        return Selection(chosen, (warning,) if beyond else ())

    def _named(self, names: Sequence[str]) -> Selection:
        if not names:
            raise RegionError(
                "no region is named",
                next_step="write names separated by commas; see `glacierflow regions list`",
            )
        known = {region.name: region for region in self.regions}
        for name in names:
            if name not in known:
                raise RegionError(
                    f"there is no region {name}{self._hint(name)}", next_step="see `glacierflow regions list`"
                )
        return Selection(tuple(region for region in self.regions if region.name in set(names)), ())

    def _hint(self, name: str) -> str:
        """The nearest names: those that contain the word, then those spelled alike."""
        by_lower = {region.name.lower(): region.name for region in self.regions}
        word = name.lower()
        containing = [known for known in by_lower if word and word in known]
        # Without its number, jakobshaven is as near to 049_jakobshavn as it looks.
        bare = {known.partition("_")[2] or known: known for known in by_lower}
        alike = difflib.get_close_matches(word, by_lower, n=3) + [
            bare[close] for close in difflib.get_close_matches(word, bare, n=3)
        ]
        near = list(dict.fromkeys(by_lower[known] for known in (*containing, *alike)))[:3]
        return f"; did you mean {' or '.join(near)}?" if near else ""


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read and check a catalogue.

    Args:
        path: CSV with the columns region, mgrs_tiles, xmin, ymin, xmax, ymax (metres, EPSG:3413), or a
            GeoPackage, GeoJSON, Shapefile or FlatGeobuf of such regions; None is the packaged catalogue of
            192 glaciers.

    Raises:
        RegionError: the file is missing or unreadable, or a region in it is not usable.
    """
    file = resource_path(_PACKAGED) if path is None else path
    regions = packaged_regions(file) if path is None else make_regions(read_rows(file), str(file))
    content = [[region.name, region.mgrs_tiles, region.bounds] for region in regions]
    return Catalogue(regions, hashlib.sha256(json.dumps(content).encode()).hexdigest(), str(file))
