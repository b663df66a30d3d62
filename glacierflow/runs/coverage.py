"""The coverage matrix: what there is of each region in each period; pure, as text, CSV and picture."""

from __future__ import annotations

import calendar
import csv
import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glacierflow.outside import cell
from glacierflow.runs.verify import UnitCheck, UnitState

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw


SIGNS: dict[UnitState, str] = {
    "complete": "#",
    "no_data": ".",
    "partial": "~",
    "missing": "-",
    "damaged": "X",
    "unchecked": "?",
}
"""One character a state, so that ten years of months fit a terminal."""

COLOURS: dict[UnitState, str] = {
    "complete": "#1b7837",
    "no_data": "#d9d9d9",
    "partial": "#e6ab02",
    "missing": "#ffffff",
    "damaged": "#b2182b",
    "unchecked": "#7570b3",
}
_WORST: tuple[UnitState, ...] = ("damaged", "missing", "unchecked", "partial", "complete", "no_data")
"""Of several units in one cell the first of these is shown."""

_CELL, _MARGIN, _LINE = 14, 8, 13
"""Pixels of the picture: a cell's side, the border, a line of text."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Regions (rows) by periods (columns)."""

    satellite: str
    regions: tuple[str, ...]
    periods: tuple[tuple[dt.date, dt.date], ...]
    cells: dict[tuple[str, tuple[dt.date, dt.date]], UnitCheck]
    """A pair that was not asked for has none."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each period."""
        return tuple(period_label(*period) for period in self.periods)

    def row(self, region: str) -> tuple[UnitCheck | None, ...]:
        """One region's cells in order of time."""
        return tuple(self.cells.get((region, period)) for period in self.periods)


def coverage_of(units: Sequence[UnitCheck]) -> Coverage:
    """Arrange the units of a report; regions stand in their order of name, which is the catalogue's."""
    cells: dict[tuple[str, tuple[dt.date, dt.date]], UnitCheck] = {}
    for check in units:
        place = check.unit.region, (check.unit.date1, check.unit.date2)
        known = cells.get(place)
        if known is None or _WORST.index(check.state) < _WORST.index(known.state):
            cells[place] = check
    satellites = {check.unit.satellite for check in units}
    return Coverage(
        satellite="+".join(sorted(satellites)),
        regions=tuple(sorted({region for region, _ in cells})),
        periods=tuple(sorted({period for _, period in cells})),
        cells=cells,
    )


def period_label(date1: dt.date, date2: dt.date) -> str:
    """``2016``, ``2016-Q1`` or ``2016-03`` for whole ones, else both dates."""
    whole = date1.day == 1 and date2.day == calendar.monthrange(date2.year, date2.month)[1]
    months = (date2.year - date1.year) * 12 + date2.month - date1.month + 1
    if whole and months == 12 and date1.month == 1:
        return f"{date1.year}"
    if whole and months == 3 and date1.month % 3 == 1:
        return f"{date1.year}-Q{date1.month // 3 + 1}"
    if whole and months == 1:
        return f"{date1:%Y-%m}"
    return f"{date1}..{date2}"


def coverage_csv(coverage: Coverage) -> str:
    """One line a cell: region, dates, state, products, reason; good for a spreadsheet and for a pivot."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["satellite", "region", "period", "date1", "date2", "state", "products", "reason"])
    for region in coverage.regions:
        for label, check in zip(coverage.labels, coverage.row(region), strict=True):
            if check is not None:
                unit = check.unit
                where = [unit.satellite, unit.region, label, unit.date1, unit.date2]
                lines.writerow([*where, check.state, check.products, cell(check.reason or "")])
    return text.getvalue()


def coverage_png(coverage: Coverage, title: str) -> bytes:
    """The matrix as a picture with a legend, for a paper's supplement.

    Args:
        coverage: what to draw.
        title: first line of the picture.
    """
    from PIL import Image
    from PIL.ImageDraw import Draw

    names = max((len(region) for region in coverage.regions), default=0) * 7 + _MARGIN
    labels = max((len(label) for label in coverage.labels), default=0) * 7 + _MARGIN
    left, top = _MARGIN + names, _MARGIN + 2 * _LINE + labels
    width = max(left + _CELL * len(coverage.periods) + _MARGIN, _MARGIN * 2 + 7 * len(title), 620)
    height = top + _CELL * len(coverage.regions) + _MARGIN
    picture = Image.new("RGB", (width, height), "white")
    draw = Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, fill="black")
    _legend(draw)
    for column, label in enumerate(coverage.labels):
        upright = Image.new("RGB", (labels, _LINE), "white")
        Draw(upright).text((0, 0), label, fill="black")
        picture.paste(upright.rotate(90, expand=True), (left + _CELL * column, top - labels))
    for line, region in enumerate(coverage.regions):
        y = top + _CELL * line
        draw.text((_MARGIN, y), region, fill="black")
        for column, check in enumerate(coverage.row(region)):
            if check is not None:
                corner = left + _CELL * column, y
                draw.rectangle(
                    (*corner, corner[0] + _CELL - 2, corner[1] + _CELL - 2),
                    fill=COLOURS[check.state],
                    outline="#808080",
                )
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def _legend(draw: ImageDraw) -> None:
    x, y = _MARGIN, _MARGIN + _LINE
    for state, colour in COLOURS.items():
        draw.rectangle((x, y + 1, x + 10, y + 11), fill=colour, outline="#808080")
        draw.text((x + 14, y), state, fill="black")
        x += 100
