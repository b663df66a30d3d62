"""Pairs become granules in a store: each whole or not at all, and none twice."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glacierflow.errors import DataError
from glacierflow.model.layout import parse_product
from glacierflow.model.records import PIXEL_SIZE_M, Record
from glacierflow.products.cog import file_sha256, scratch_folder
from glacierflow.products.inspect import open_image
from glacierflow.store import Entry
from glacierflow.velocity.granule import ENDINGS, Velocity, make_item, write_netcdf, write_speed
from glacierflow.velocity.ground import read_surface, settle
from glacierflow.velocity.picture import draw_speed
from glacierflow.velocity.track import Flag, Prepared, Tracking, posting_of, prepare, track
from glacierflow.velocity.units import Converter, Metres, map_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.store import Store
    from glacierflow.velocity.clips import Clip
    from glacierflow.velocity.pairs import Pair

GRID_M = 100
_VERSION = 1
"""Of the method: another makes every granule anew."""
_FOLDER = "2_velocity"


class VelocitySettings(Record):
    """What decides a granule beside its two clips."""

    tracking: Tracking = Tracking()
    max_speed_m_day: float = 50.0
    """The fastest ice that is looked for, metres a day."""
    metres: Metres = "ground"
    min_coverage: float = 0.2
    """Share of the region that has to be valid in both images at once."""


class Made(Record):
    """What became of one pair."""

    pair: str
    key: str
    """Of the NetCDF file."""
    outcome: Literal["made", "there", "refused", "failed"]
    reason: str | None = None
    measured: float | None = None
    """Share of the nodes with a measurement of their own."""
    stable_shift_flag: int | None = None
    error_x: float | None = None
    """m/yr."""
    error_y: float | None = None
    replaced: str | None = None
    """Hash of the granule that was there and that this one replaced."""


@dataclass
class Reader:
    """Clips of a store, each read and filtered once while pairs still need it."""

    store: Store
    settings: Tracking
    bytes_read: int = 0
    _kept: dict[str, Prepared] = field(default_factory=dict)
    _wanted: dict[str, int] = field(default_factory=dict)

    def expect(self, pairs: Iterable[Pair]) -> None:
        """Know how often each clip will be asked for."""
        for pair in pairs:
            for clip in (pair.reference, pair.secondary):
                self._wanted[clip.key] = self._wanted.get(clip.key, 0) + 1

    def get(self, clip: Clip) -> Prepared:
        """The filtered image of a clip.

        Raises:
            DataError: it is not there any more, or cannot be read.
        """
        found = self._kept.get(clip.key)
        if found is None:
            found = self._kept[clip.key] = prepare(self._pixels(clip), self.settings)
        return found

    def done(self, pair: Pair) -> None:
        """Forget what no later pair needs."""
        for clip in (pair.reference, pair.secondary):
            self._wanted[clip.key] -= 1
            if not self._wanted[clip.key]:
                self._kept.pop(clip.key, None)

    def _pixels(self, clip: Clip) -> NDArray[np.uint16]:
        from rasterio.errors import RasterioIOError

        self.bytes_read += clip.size
        with open_image(self.store, Entry(clip.key, clip.size)) as image:
            try:
                pixels: NDArray[np.uint16] = image.source.read(1)
            except RasterioIOError as error:
                raise DataError(f"{clip.key} cannot be read: {error}") from error
        return pixels


def make_granules(
    pairs: Iterable[Pair],
    clips: Store,
    target: Store,
    settings: VelocitySettings,
    *,
    mask: Path | None = None,
    reprocess: bool = False,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> Iterator[Made]:
    """Make the granule of each pair that has none yet, and say what became of each.

    Args:
        pairs: in order of region and time, so that few images are held at once.
        clips: where the clips are.
        target: where granules go.
        settings: of the method.
        mask: file of rock and water.
        reprocess: make those anew that are there.
        now: for ``date_created``.

    Raises:
        UsageError: the mask cannot be used.
        StoreError: the store could not be read or written.
    """
    ordered = list(pairs)
    mask_hash = file_sha256(mask) if mask is not None and mask.is_file() else None
    reader = Reader(clips, settings.tracking)
    reader.expect(ordered)
    for pair in ordered:
        stem = f"{pair.name}_G{GRID_M:04d}_V{_VERSION}"
        prefix = f"{_FOLDER}/{pair.reference.satellite}/{pair.reference.region}/"
        told: dict[str, Any] = {"pair": pair.name, "key": f"{prefix}{stem}.nc"}
        production = production_of(pair, settings, mask_hash)
        before = standing(target, f"{prefix}{stem}")
        if before == production and not reprocess:
            yield Made(**told, outcome="there")
        else:
            try:
                made = measure(pair, reader, settings, mask, production)
            except DataError as error:
                yield Made(**told, outcome="failed", reason=error.message)
            else:
                if isinstance(made, str):
                    yield Made(**told, outcome="refused", reason=made)
                else:
                    _put(made, stem, prefix, target, clips, now())
                    yield _summary(made, told, None if before == production else before)
        reader.done(pair)


def _summary(made: Velocity, told: dict[str, Any], replaced: str | None) -> Made:
    return Made(
        **told,
        outcome="made",
        measured=float((made.shifts.chip > 0).mean()),
        stable_shift_flag=made.ground.stable_shift_flag,
        error_x=made.ground.x.error,
        error_y=made.ground.y.error,
        replaced=replaced,
    )


def production_of(pair: Pair, settings: VelocitySettings, mask_sha256: str | None) -> str:
    """Hash of all that decides a granule: both clips, the method and its settings, the mask."""
    content = {
        "clips": [[clip.key, clip.production or clip.size] for clip in (pair.reference, pair.secondary)],
        "settings": settings.model_dump(mode="json"),
        "mask": mask_sha256,
        "version": _VERSION,
        "grid": GRID_M,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def standing(target: Store, base: str) -> str | None:
    """The hash of the granule that is there whole, or None; its STAC item is written last."""
    item = target.get(f"{base}.json")
    if item is None or not target.exists(f"{base}.nc"):
        return None
    found: str | None = json.loads(item)["properties"].get("glacierflow:production")
    return found


def measure(
    pair: Pair, reader: Reader, settings: VelocitySettings, mask: Path | None, production: str
) -> Velocity | str:
    """The velocities of one pair, or the sentence why there are none.

    Raises:
        DataError: a clip cannot be read.
        UsageError: the mask cannot be used.
    """
    from affine import Affine

    clip = pair.reference
    first, second = reader.get(clip), reader.get(pair.secondary)
    both = float((first.valid & second.valid).mean())
    if both < settings.min_coverage:
        return f"both images are valid in {both:.1%} of the region; a pair needs {settings.min_coverage:.1%}"
    pixel = PIXEL_SIZE_M[clip.satellite]
    posting = posting_of(clip.shape, GRID_M / pixel)
    left, top = clip.bounds[0], clip.bounds[3]
    surface = None
    if mask is not None:
        surface = read_surface(mask, clip.shape, Affine(pixel, 0, left, 0, -pixel, top), posting)
    limit = settings.max_speed_m_day * pair.days / pixel
    shifts = track(first, second, posting, limit, settings.tracking)
    if surface is not None:
        shifts.put(surface.water, Flag.WATER)
    grid = Affine(GRID_M, 0, left, 0, -GRID_M, top)
    nodes = np.meshgrid(
        left + (np.arange(posting.cols) + 0.5) * GRID_M, top - (np.arange(posting.rows) + 0.5) * GRID_M
    )
    scale = map_scale(*nodes)
    vx, vy = Converter(pixel, pair.days, scale, settings.metres).velocity(shifts.x, shifts.y)
    measured = shifts.flag == Flag.MEASURED
    ground = settle(vx, vy, measured, None if surface is None else surface.rock, pair.days)
    if surface is not None:
        shifts.flag[measured & surface.rock] = Flag.ROCK
    return Velocity(
        pair=pair,
        transform=grid,
        posting=posting,
        shifts=shifts,
        vx=vx - ground.x.stable_shift,
        vy=vy - ground.y.stable_shift,
        ground=ground,
        scale=scale,
        pixel_m=pixel,
        metres=settings.metres,
        settings=settings.tracking,
        max_speed_m_day=settings.max_speed_m_day,
        mask=None if mask is None else mask.name,
        production=production,
    )


def _put(made: Velocity, stem: str, prefix: str, target: Store, clips: Store, now: dt.datetime) -> None:
    """Write all files of a granule; the STAC item last, which says that it is whole."""
    with scratch_folder() as folder:
        files = {ending: folder / f"{stem}{ending}" for ending in ENDINGS}
        write_netcdf(files[".nc"], made, created=now)
        write_speed(files["_v.tif"], made)
        one = made.pair.reference
        title = f"{one.region}  {one.datetime:%Y-%m-%d}, {made.pair.days:.0f} days"
        files[".png"].write_bytes(draw_speed(made.v, title))
        sources = [
            posixpath.relpath(key, prefix) if clips is target else clips.uri(key)
            for key in (_item_of(clip) for clip in (made.pair.reference, made.pair.secondary))
        ]
        item = make_item(made, stem, files, sources)
        for ending, path in files.items():
            target.put_file(f"{prefix}{stem}{ending}", path)
    target.put(f"{prefix}{stem}.json", json.dumps(item, indent=1).encode())


def _item_of(clip: Clip) -> str:
    """The key of a clip's STAC item; the clip itself where another program made it."""
    place = parse_product(clip.key)
    if place is None or not clip.ours:
        return clip.key
    return place.layout.stac_item(clip.satellite, clip.region, clip.stem)
