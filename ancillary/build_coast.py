"""Cut the coast for the map of a report: ``python ancillary/build_coast.py COUNTRIES.json OUT.json``.

``COUNTRIES.json`` is ``countries-10m.json`` of npm's ``world-atlas`` 2.0.2: Natural Earth 1:10m as TopoJSON.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.model.records import CRS

if TYPE_CHECKING:
    import geopandas

FRAME_M = (-1_100_000, -3_600_000, 1_400_000, -500_000)
"""xmin, ymin, xmax, ymax in EPSG:3413: Greenland, and the shores around it."""
UNIT_M = 100
"""Coordinates are whole numbers of this many metres."""
_GREENLAND_TOLERANCE_M, _OTHERS_TOLERANCE_M = 500, 3_000
_SMALLEST_M2 = 4e6
"""Islands below this area are no more than a dot on the map."""


def cut(countries: geopandas.GeoDataFrame) -> dict[str, object]:
    """Greenland and its neighbours as rings in EPSG:3413, each ``[x, y, x, y, ...]`` in units."""
    from shapely.geometry import box

    frame = box(*FRAME_M)
    # Antarctica and the equator have no place in this projection
    countries = countries.set_crs("EPSG:4326", allow_override=True)
    north = countries.set_geometry(countries.geometry.make_valid()).clip(box(-180, 50, 180, 90))
    here = north.to_crs(CRS)
    here["geometry"] = here.geometry.make_valid().intersection(frame)
    is_greenland = here["name"] == "Greenland"
    return {
        "crs": CRS,
        "unit_m": UNIT_M,
        "frame": [value // UNIT_M for value in FRAME_M],
        "greenland": _rings(here[is_greenland].geometry.simplify(_GREENLAND_TOLERANCE_M)),
        "others": _rings(here[~is_greenland].geometry.simplify(_OTHERS_TOLERANCE_M)),
    }


def _rings(shapes: geopandas.GeoSeries) -> list[list[int]]:
    parts = [part for part in shapes.explode(ignore_index=True) if part.geom_type == "Polygon"]
    parts = sorted((part for part in parts if part.area >= _SMALLEST_M2), key=lambda part: -part.area)
    return [[round(value / UNIT_M) for point in part.exterior.coords for value in point] for part in parts]


def main(arguments: list[str]) -> int:
    """Run as a script; return the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: build_coast.py COUNTRIES.json OUT.json\n")
        return 64
    import geopandas

    coast = cut(geopandas.read_file(arguments[0], layer="countries"))
    Path(arguments[1]).write_text(f"{json.dumps(coast, separators=(',', ':'))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
