"""A catalogue for people: as a GeoDataFrame, and as a map."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.model.records import CRS, Region
from glacierflow.regions.catalogue import load_catalogue

if TYPE_CHECKING:
    import geopandas
    from PIL import ImageDraw, ImageFont


Box = tuple[float, float, float, float]

_LONGEST_SIDE_PX = 2800
_MARGIN_PX = 170
"""Room for names beyond the outermost rectangle."""
_FINEST_M = 50.0
"""Metres a pixel has at least; one region alone need not fill the picture."""
_HULL_RATIO = 0.4
"""0 follows every rectangle, 1 is the convex hull; this bends with the coast and keeps the inland."""
_SHORE_M = 12_000

_SEA, _LAND, _SHORE = "#dfe9f1", "#fbfaf6", "#a9b4bb"
_PLAIN, _CHOSEN, _CHOSEN_FILL, _INK, _FAINT = "#2f6690", "#c1440e", "#f2a65a", "#1d2a33", "#5f6f7a"


@dataclass(frozen=True, slots=True)
class _Frame:
    """From metres in EPSG:3413 to pixels from the upper left."""

    xmin: float
    ymax: float
    m_per_px: float
    size: tuple[int, int]

    def point(self, x: float, y: float) -> tuple[float, float]:
        return (
            _MARGIN_PX + (x - self.xmin) / self.m_per_px,
            _MARGIN_PX + (self.ymax - y) / self.m_per_px,
        )

    def box(self, bounds: Box) -> Box:
        """A rectangle (xmin, ymin, xmax, ymax) in metres as left, top, right, bottom, two pixels at least."""
        left, top = self.point(bounds[0], bounds[3])
        right, bottom = self.point(bounds[2], bounds[1])
        return left, top, max(right, left + 2), max(bottom, top + 2)


def draw_map(regions: geopandas.GeoDataFrame, chosen: Sequence[str] = ()) -> bytes:
    """Draw all regions; the chosen ones are filled.

    Args:
        regions: a catalogue of at least one region, as ``regions`` gives it.
        chosen: names of the regions to make stand out.

    Returns:
        A PNG, at most about 2800 pixels on its longer side.
    """
    from PIL import Image, ImageDraw, ImageFont

    frame = _frame(regions)
    homes = {
        name: frame.box(tuple(bounds))
        for name, bounds in zip(regions["region"], regions.bounds.to_numpy().tolist(), strict=True)
    }
    image = Image.new("RGB", frame.size, _SEA)
    pen = ImageDraw.Draw(image)
    for ring in _land(regions):
        pen.polygon([frame.point(x, y) for x, y in ring], fill=_LAND, outline=_SHORE, width=2)
    stand_out = set(chosen)
    for name, home in sorted(homes.items(), key=lambda one: one[0] in stand_out):
        picked = name in stand_out
        pen.rectangle(
            home,
            fill=_CHOSEN_FILL if picked else None,
            outline=_CHOSEN if picked else _PLAIN,
            width=2,
        )
    legend = _draw_legend(pen, frame, len(regions), len(stand_out))
    _draw_names(pen, frame, homes, stand_out, ImageFont.load_default(size=12), legend)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _frame(regions: geopandas.GeoDataFrame) -> _Frame:
    xmin, ymin, xmax, ymax = regions.total_bounds.tolist()
    m_per_px = max(_FINEST_M, max(xmax - xmin, ymax - ymin) / (_LONGEST_SIDE_PX - 2 * _MARGIN_PX))
    width = round((xmax - xmin) / m_per_px) + 2 * _MARGIN_PX
    height = round((ymax - ymin) / m_per_px) + 2 * _MARGIN_PX
    return _Frame(xmin, ymax, m_per_px, (width, height))


def _land(regions: geopandas.GeoDataFrame) -> Iterator[list[tuple[float, float]]]:
    import shapely

    outlines = regions.union_all()
    hull = shapely.concave_hull(shapely.MultiPoint(regions.get_coordinates().to_numpy()), ratio=_HULL_RATIO)
    for part in shapely.get_parts(hull.union(outlines).buffer(_SHORE_M)):
        yield list(part.exterior.coords)


def _draw_legend(pen: ImageDraw.ImageDraw, frame: _Frame, count: int, chosen: int) -> Box:
    """Counts and a scale bar in the lower right corner; returns the room they take."""
    from PIL import ImageFont

    length_km = next(
        (km for km in (500, 200, 100, 50, 20, 10, 5, 2, 1) if km * 1000 / frame.m_per_px <= 300), 1
    )
    length = length_km * 1000 / frame.m_per_px
    title = f"{count} region{'s' if count > 1 else ''}" + (f", {chosen} chosen" if chosen else "")
    left, top = frame.size[0] - 360.0, frame.size[1] - 120.0
    pen.text((left, top), title, fill=_INK, font=ImageFont.load_default(size=26))
    pen.rectangle((left, top + 44, left + length, top + 50), fill=_INK)
    note = f"{length_km} km in EPSG:3413 (polar stereographic)"
    pen.text((left, top + 58), note, fill=_FAINT, font=ImageFont.load_default(size=15))
    return left, top, float(frame.size[0]), float(frame.size[1])


def _draw_names(
    pen: ImageDraw.ImageDraw,
    frame: _Frame,
    homes: dict[str, Box],
    chosen: set[str],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    legend: Box,
) -> None:
    """Each name beside its rectangle, where there is room, with a line to it where it had to go further."""
    taken = [legend, *homes.values()]
    for name, home in sorted(homes.items(), key=lambda one: one[0] not in chosen):
        width = pen.textlength(name, font=font) + 2
        place = next(
            (
                box
                for box in _places(home, width, 14.0)
                if _inside(box, frame.size) and not _meets(box, taken)
            ),
            None,
        )
        if place is None:
            continue
        taken.append(place)
        _draw_leader(pen, home, place)
        pen.text(place[:2], name, fill=_CHOSEN if name in chosen else _INK, font=font)


def _places(home: Box, width: float, height: float) -> Iterator[Box]:
    """Places for a name around a rectangle, the nearest first."""
    left, top, right, bottom = home
    middle = (top + bottom - height) / 2
    for away in range(3, 250, 6):
        for shift in sorted({0, away / 2, -away / 2, float(away), -float(away)}, key=abs):
            yield right + away, middle + shift, right + away + width, middle + shift + height
            yield left - away - width, middle + shift, left - away, middle + shift + height
        for x in (left, right - width):
            yield x, bottom + away, x + width, bottom + away + height
            yield x, top - away - height, x + width, top - away


def _inside(box: Box, size: tuple[int, int]) -> bool:
    return box[0] >= 4 and box[1] >= 4 and box[2] <= size[0] - 4 and box[3] <= size[1] - 4


def _meets(box: Box, others: list[Box]) -> bool:
    return any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
        for other in others
    )


def _draw_leader(pen: ImageDraw.ImageDraw, home: Box, place: Box) -> None:
    """A thin line between the nearest points of a rectangle and a name that is not right beside it."""
    start = tuple(min(max((place[i] + place[i + 2]) / 2, home[i]), home[i + 2]) for i in (0, 1))
    end = tuple(min(max(start[i], place[i]), place[i + 2]) for i in (0, 1))
    if (start[0] - end[0]) ** 2 + (start[1] - end[1]) ** 2 > 12**2:
        pen.line([start[0], start[1], end[0], end[1]], fill=_FAINT, width=1)


def regions(regions_file: str | Path | None = None) -> geopandas.GeoDataFrame:
    """All regions of a catalogue, as ``glacierflow.regions()`` gives them.

    >>> import glacierflow
    >>> glacierflow.regions().loc[48, "region"]
    '049_jakobshavn'

    Args:
        regions_file: another catalogue, of any kind that ``--regions-file`` takes; None is the packaged one.

    Returns:
        One row a region. The index, ``index``, is the catalogue's: the number that ``--start-end-index``
        counts by. ``region`` is the name, ``mgrs_tiles`` the Sentinel-2 tiles in merge order and
        ``utm_zones`` their zones, both separated by spaces, ``area_km2`` the area in square kilometres, and
        ``geometry`` the outline, a rectangle in EPSG:3413 (metres). ``to_file`` makes a file that
        ``--regions-file`` takes.

    Raises:
        RegionError: the file is missing or unreadable, or a region in it is not usable.
    """
    return to_frame(load_catalogue(None if regions_file is None else Path(regions_file)).regions)


def to_frame(of: Sequence[Region]) -> geopandas.GeoDataFrame:
    """Some regions as ``regions`` gives all."""
    import geopandas
    import shapely

    columns = {
        "region": [region.name for region in of],
        "mgrs_tiles": [" ".join(region.mgrs_tiles) for region in of],
        "utm_zones": [" ".join(f"{zone:02d}" for zone in region.utm_zones) for region in of],
        "area_km2": [region.area_km2 for region in of],
    }
    outlines = [shapely.box(*region.bounds) for region in of]
    frame = geopandas.GeoDataFrame(columns, geometry=outlines, crs=CRS, index=[one.index for one in of])
    return frame.rename_axis("index")
