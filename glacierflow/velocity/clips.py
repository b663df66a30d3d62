"""What the header of a clip tells to those who pair it. No pixel is read."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from glacierflow.errors import DataError
from glacierflow.model.layout import sensing_time
from glacierflow.model.records import CRS, Record, Resampling, Satellite
from glacierflow.products.inspect import Profile, open_image, profile_of
from glacierflow.products.lineage import PRODUCTION_TAG, SOURCES_TAG
from glacierflow.products.tree import Product, Tree

_READERS = 16
"""Headers asked for at a time: each is one small request."""
_SENTINEL2 = re.compile(r"(S2[A-Z])_MSIL2A_\d{8}T\d{6}_N(\d{4})_R(\d{3})")
_LANDSAT = re.compile(r"(L[COTEM]0\d)_L1[A-Z]{2}_(\d{6})_\d{8}_\d{8}_\d{2}_")
_REPROCESSED = "05.00"
"""Since this baseline all of Sentinel-2's archive is made anew with one elevation model (Collection 1)."""


class Clip(Record):
    """One image of a region, as its header and its name tell of it."""

    key: str
    satellite: Satellite
    region: str
    stem: str
    acquisition: str
    """What it shows, whatever the processing baseline."""
    datetime: dt.datetime
    """Sensing time, UTC."""
    platform: str
    """``S2A``, ``LC08``: mission, sensor and number."""
    orbit: str
    """Relative orbit (Sentinel-2, ``R068``), or WRS path and row (Landsat, ``009011``)."""
    baseline: str | None
    """Processing baseline of Sentinel-2, the oldest of the sources: ``05.11``."""
    items: tuple[str, ...]
    """Ids of the STAC items it was made from, in merge order."""
    resampling: Resampling
    ours: bool
    """False: the predecessor's, which wrote no tags and resampled by nearest neighbour."""
    coverage: float | None
    """Share of valid pixels, 0..1, where the header tells it."""
    off_nadir: float | None
    """Degrees, where the header tells it."""
    production: str | None
    """Hash of all that decides the pixels; None where another program made them."""
    size: int
    """Bytes of the file."""
    bounds: tuple[float, float, float, float]
    """(xmin, ymin, xmax, ymax) in metres, EPSG:3413."""
    shape: tuple[int, int]
    """(rows, columns)."""

    @property
    def reprocessed(self) -> bool:
        """Whether Sentinel-2's present elevation model lies below it, whenever it was taken."""
        return self.baseline is not None and self.baseline >= _REPROCESSED

    @property
    def name(self) -> str:
        """How sentences name it."""
        return f"{self.platform} of {self.datetime:%Y-%m-%d %H:%M}"


class Unusable(Record):
    """A file that is no clip to pair, and why."""

    key: str
    code: str
    """``unreadable`` or ``unnamed``."""
    reason: str


def read_clips(
    tree: Tree, wanted: Callable[[Product], bool] = lambda _product: True
) -> tuple[tuple[Clip, ...], tuple[Unusable, ...]]:
    """The clips of a tree by region and time, from 64 kB of each, and the files that are none.

    Args:
        tree: in a directory or a bucket.
        wanted: which of its products are meant.

    Raises:
        StoreError: the store could not be read.
    """
    products = [product for product in tree.products if wanted(product)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda product: _read(tree, product), products))
    clips = sorted(
        (one for one in found if isinstance(one, Clip)),
        key=lambda clip: (clip.satellite, clip.region, clip.datetime, clip.key),
    )
    return tuple(clips), tuple(one for one in found if isinstance(one, Unusable))


def _read(tree: Tree, product: Product) -> Clip | Unusable:
    key = product.entry.key
    try:
        with open_image(tree.store, product.entry, head_only=True) as image:
            profile = profile_of(image)
        return clip_of(product, profile)
    except DataError as error:
        return Unusable(key=key, code="unreadable", reason=f"{key}: {error.message}")
    except ValueError:
        return Unusable(
            key=key, code="unnamed", reason=f"{key}: the name tells neither the time nor the orbit or path"
        )


def clip_of(product: Product, profile: Profile) -> Clip:
    """A clip from where it lies and from its header.

    Raises:
        DataError: it is not one band of uint16 in EPSG:3413.
        ValueError: its name does not tell time and orbit.
    """
    if (profile.bands, f"EPSG:{profile.epsg}") != (1, CRS):
        raise DataError(f"it has {profile.bands} bands in EPSG:{profile.epsg}; a clip has one in {CRS}")
    place, tags = product.place, profile.tags
    platform, orbit, baseline = _name_facts(place.stem)
    sources = json.loads(tags.get(SOURCES_TAG, "[]"))
    baselines = [str(one["baseline"]) for one in sources if one.get("baseline")]
    ours = PRODUCTION_TAG in tags
    return Clip(
        key=product.entry.key,
        satellite=place.satellite,
        region=place.region,
        stem=place.stem,
        acquisition=place.acquisition,
        datetime=sensing_time(place.stem),
        platform=platform,
        orbit=orbit,
        baseline=min(baselines, default=baseline),
        items=tuple(str(one["item"]) for one in sources if one.get("item")),
        resampling=_resampling(tags) if ours else "nearest",
        ours=ours,
        coverage=_number(tags, "GLACIERFLOW_COVERAGE"),
        off_nadir=_number(tags, "GLACIERFLOW_OFF_NADIR"),
        production=tags.get(PRODUCTION_TAG),
        size=product.entry.size,
        bounds=profile.bounds,
        shape=profile.shape,
    )


def _name_facts(stem: str) -> tuple[str, str, str | None]:
    """Platform, orbit or path and row, and baseline."""
    found = _SENTINEL2.match(stem)
    if found:
        return found[1], f"R{found[3]}", f"{found[2][:2]}.{found[2][2:]}"
    found = _LANDSAT.search(stem)
    if found is None:
        raise ValueError(stem)
    return found[1], found[2], None


def _resampling(tags: Mapping[str, str]) -> Resampling:
    name = tags.get("GLACIERFLOW_RESAMPLING", "cubic")
    known: Sequence[Resampling] = ("cubic", "bilinear", "lanczos", "nearest")
    for one in known:
        if one == name:
            return one
    raise DataError(f"its tag GLACIERFLOW_RESAMPLING is {name}, which no release writes")


def _number(tags: Mapping[str, str], name: str) -> float | None:
    return float(tags[name]) if name in tags else None
