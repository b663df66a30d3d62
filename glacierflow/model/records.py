"""The values everything else speaks in: region, unit, scene, acquisition, settings of the step."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from glacierflow.outside import NAME, leaves_root, printable, told

Satellite = Literal["sentinel2", "landsat"]
SATELLITES: tuple[Satellite, ...] = ("sentinel2", "landsat")
Resampling = Literal["cubic", "bilinear", "lanczos", "nearest"]
FolderStructure = Literal["new", "old"]
TileChoice = Literal["listed", "auto"]

CRS = "EPSG:3413"
"""NSIDC Sea Ice Polar Stereographic North, the grid of every product."""

PIXEL_SIZE_M: dict[Satellite, int] = {"sentinel2": 10, "landsat": 15}
"""Product pixel size in metres: band 8 of MSI, the panchromatic band of ETM+ and OLI."""


def _within(key: str) -> str:
    if leaves_root(key):
        raise ValueError(f"{printable(key)} leaves the bucket or directory that it is in")
    return key


Name = Annotated[str, StringConstraints(pattern=NAME)]
"""A string that becomes the name of a file or folder."""
KeyPath = Annotated[str, AfterValidator(_within)]
"""A key, or the beginning of one, that stays below its bucket or directory."""
Told = Annotated[str, AfterValidator(told)]
"""A text from outside that is kept to be shown."""


class Record(BaseModel):
    """A frozen value that knows its JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Region(Record):
    """One glacier's rectangle in EPSG:3413."""

    name: Name
    index: int
    """Place in the catalogue sorted by name, from 0."""
    mgrs_tiles: tuple[str, ...]
    """Sentinel-2 tiles in merge order: where two overlap, the first wins."""
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    outline: tuple[tuple[float, float], ...]
    """Closed ring of (longitude, latitude) in degrees, dense enough to search with."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax) in metres, EPSG:3413."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def area_km2(self) -> float:
        """Area of the rectangle in the projected plane, square kilometres."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin) / 1e6

    @property
    def utm_zones(self) -> tuple[int, ...]:
        """UTM zones of the Sentinel-2 tiles, ascending."""
        return tuple(sorted({int(tile[:2]) for tile in self.mgrs_tiles}))

    @property
    def geometry(self) -> dict[str, Any]:
        """The outline as a GeoJSON polygon in longitude and latitude."""
        return {"type": "Polygon", "coordinates": [[list(point) for point in self.outline]]}


class Unit(Record):
    """What one child processes: one satellite over one region between two dates, both included."""

    satellite: Satellite
    region: Name
    date1: dt.date
    date2: dt.date


class Scene(Record):
    """One usable STAC item, reduced to what reading and lineage need."""

    item_id: Name
    collection: str
    satellite: Satellite
    platform: str
    datetime: dt.datetime
    """Sensing time of the item, UTC."""
    place: Name
    """MGRS tile (Sentinel-2, e.g. ``22WEB``) or WRS path and row (Landsat, ``009011``)."""
    acquisition: Name
    """Key shared by all items of one image, however often they were processed: platform, datatake time and
    orbit; for Landsat platform, path, row and day."""
    stem: Name
    """File name of the product without its ending, as if this scene were the first of its acquisition."""
    asset_key: str
    href: str
    requester_pays: bool
    epsg: int | None
    """Of the asset's grid, or None where the item does not say: read it from the file."""
    shape: tuple[int, int] | None
    """(rows, columns) of the asset, or None where the item does not say."""
    transform: tuple[float, float, float, float, float, float] | None
    """Affine coefficients a, b, c, d, e, f of the asset's own grid; None: read them from the file."""
    scale: float | None
    offset: float | None
    offset_applied: bool | None
    baseline: str | None
    source_name: Name
    """Name of the source image in lineage files."""
    footprint: dict[str, Any]
    """GeoJSON geometry of the item, longitude and latitude."""
    cloud_cover: float | None
    sun_azimuth: float | None
    sun_elevation: float | None
    checksum: str | None = None
    """The asset's ``file:checksum``, a multihash, where the item gives one."""
    classification_href: str | None = None
    """Where Sentinel-2's scene classification lies."""
    properties: dict[str, Any] = Field(default_factory=dict)
    """The item's remaining metadata, for ``_stac_query_results.csv``."""


class Acquisition(Record):
    """The scenes that make one image, in merge order."""

    key: str
    stem: str
    datetime: dt.datetime
    platform: str
    scenes: tuple[Scene, ...]


class LeftOut(Record):
    """A scene or acquisition that made no product, and why."""

    item_id: Told
    code: str
    """Short and stable, for counting: e.g. ``low_coverage``."""
    reason: Told
    """One sentence with the numbers in it."""


class Note(Record):
    """Something about a unit as a whole that its receipt should tell."""

    code: str
    """Short and stable, for counting: e.g. ``polar_night``."""
    text: Told
    """One sentence with the numbers in it."""


class StepSettings(Record):
    """Every setting that decides what the step produces; travels in the manifest."""

    sentinel2_stac_url: str = "https://earth-search.aws.element84.com/v1"
    landsat_stac_url: str = "https://landsatlook.usgs.gov/stac-server"
    sentinel2_collection: str = "sentinel-2-l2a"
    landsat_collection: str = "landsat-c2l1"
    imagery_s3_endpoint: str | None = None
    """Endpoint for s3:// imagery; None is AWS itself."""
    imagery_region: str = "us-west-2"
    resampling: Resampling = "cubic"
    sentinel2_min_coverage: float = 0.5
    """Share of the region with valid pixels below which a Sentinel-2 image is left out."""
    landsat_min_overlap: float = 0.05
    """Share of the region inside the scene's footprint below which a Landsat scene is left out."""
    max_cloud_cover: float | None = None
    """Share of cloud, as the items tell it of whole tiles or scenes, above which an image is left out."""
    measure_cloud: bool = False
    """Measure cloud over the region itself (Sentinel-2)."""
    max_region_cloud: float | None = None
    """Share of measured cloud above which a Sentinel-2 image is left out; where set, cloud is measured."""
    mgrs_tiles: TileChoice = "listed"
    """``auto`` adds the Sentinel-2 tiles that cover what a region's list does not."""
    landsat_tiers: tuple[str, ...] = ("T1", "T2")
    landsat_corrections: tuple[str, ...] = ("L1TP", "L1GT")
    folder_structure: FolderStructure = "new"
    base_path: KeyPath = "1_download_merge_and_clip"
    keep_downloads: bool = False
    """download_flag: also keep the native-grid window that was read (Sentinel-2)."""
    quicklooks: bool = True
    overviews: bool = False
    """Smaller copies of the image inside each product."""
    reprocess: bool = False
    """Replace products that were made with other settings, instead of leaving them."""
    memory_mb: int | None = None
    request_timeout_s: float = 60.0
    request_attempts: int = 7
    search_timeout_s: float = 600.0
    """Seconds a whole STAC search may take, retries and waits included."""
