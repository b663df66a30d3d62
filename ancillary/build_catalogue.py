"""Make the region catalogue: ``python ancillary/build_catalogue.py FACTS.csv OUT.gpkg``.

The same table always gives the same content, and with one version of GDAL the same bytes.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.errors import GlacierflowError
from glacierflow.model.records import CRS
from glacierflow.regions import Catalogue, load_catalogue

if TYPE_CHECKING:
    import geopandas

LAYER = "glacier_regions"
_WRITTEN = "2000-01-01T00:00:00.000Z"
"""GeoPackage notes when it was changed; a fixed time keeps the file the same."""


def catalogue_frame(catalogue: Catalogue) -> geopandas.GeoDataFrame:
    """One row a region: its rectangle in EPSG:3413 and its facts; the lon/lat outline as WKT."""
    import geopandas
    from shapely.geometry import Polygon, box

    rows = [
        {
            "region": region.name,
            "index": region.index,
            "mgrs_tiles": " ".join(region.mgrs_tiles),
            "xmin": region.xmin,
            "ymin": region.ymin,
            "xmax": region.xmax,
            "ymax": region.ymax,
            "area_km2": round(region.area_km2, 6),
            "utm_zones": " ".join(str(zone) for zone in region.utm_zones),
            "outline_lonlat": Polygon(region.outline).wkt,
            "geometry": box(*region.bounds),
        }
        for region in catalogue.regions
    ]
    return geopandas.GeoDataFrame(rows, geometry="geometry", crs=CRS)


def build(facts: Path, out: Path) -> Catalogue:
    """Read the table, write the GeoPackage, and read it back.

    Raises:
        RegionError: the table has a region that is not usable.
        RuntimeError: what was written does not read as what was meant.
    """
    import pyogrio

    catalogue = load_catalogue(facts)
    out.unlink(missing_ok=True)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
    try:
        catalogue_frame(catalogue).to_file(out, layer=LAYER, driver="GPKG")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    written = load_catalogue(out)
    if written.sha256 != catalogue.sha256:
        msg = f"{out} does not hold the regions of {facts}"
        raise RuntimeError(msg)
    return written


def main(arguments: list[str]) -> int:
    """Run as a script; return the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: build_catalogue.py FACTS.csv OUT.gpkg\n")
        return 64
    try:
        catalogue = build(Path(arguments[0]), Path(arguments[1]))
    except GlacierflowError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    sys.stdout.write(f"{arguments[1]}: {len(catalogue.regions)} regions, sha256 {catalogue.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
