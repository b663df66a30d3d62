"""Is every product of a tree what it should be? Grid, profile, pixels, lineage, and the file itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from glacierflow.errors import DataError, GlacierflowError
from glacierflow.host import cpu_count
from glacierflow.model.records import CRS, PIXEL_SIZE_M, Region
from glacierflow.products.inspect import (
    LineageCheck,
    PixelFacts,
    Profile,
    check_blocks,
    open_image,
    pixel_facts,
    profile_of,
)
from glacierflow.products.lineage import PRODUCTION_TAG
from glacierflow.products.tree import CheckReport, Finding, Product, Tree
from glacierflow.store import Entry

_EPSG = int(CRS.removeprefix("EPSG:"))
_TOLERANCE_M = 1e-3
_MOST_THREADS = 16


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a look at one product gave."""

    product: Product
    wrong: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]
    is_tagged: bool
    pixels: PixelFacts | None


def check_tree(
    tree: Tree,
    catalogue: Mapping[str, Region],
    *,
    quick: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Check every product of a tree, several at once.

    Args:
        tree: what lies there.
        catalogue: regions by name; the extent of a product is compared with its region's.
        quick: read headers and names only: no pixels, so neither duplicates nor damaged blocks are seen.
        on_progress: called with (products done, products in all).
    """
    lineage = LineageCheck(tree, quick=quick)

    def look(product: Product) -> _Looked:
        return _look(tree, product, catalogue.get(product.place.region), lineage, quick=quick)

    looked: list[_Looked] = []
    # threads gain more where a network is waited for than where pixels are decoded
    threads = min(_MOST_THREADS, 2 * cpu_count() if not quick else _MOST_THREADS)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # rasterio's: that a file lacks a grid is a finding
        for number, one in enumerate(pool.map(look, tree.products), start=1):
            looked.append(one)
            if on_progress is not None:
                on_progress(number, len(tree.products))
        wrong = [finding for one in looked for finding in one.wrong]
        unchecked = [finding for one in looked for finding in one.unchecked]
        wrong += [*_duplicates(looked), *_templates(tree, catalogue, unchecked)]
    if not tree.products:
        reason = "there is no product in it, neither sentinel2/... nor landsat/..."
        unchecked.append(Finding(key=tree.where, code="nothing", reason=reason))
    return CheckReport(
        where=tree.where,
        products=len(tree.products),
        regions=len({product.place.region for product in tree.products}),
        untagged=sum(not one.is_tagged for one in looked),
        quick=quick,
        wrong=tuple(wrong),
        unchecked=tuple(unchecked),
    )


def _look(
    tree: Tree, product: Product, region: Region | None, lineage: LineageCheck, *, quick: bool
) -> _Looked:
    key, unchecked, profile, pixels = product.entry.key, [], None, None
    wrong: list[Finding] = []
    if region is None:
        reason = f"the catalogue has no region {product.place.region}, so its extent is not known"
        unchecked.append(Finding(key=key, code="unknown_region", reason=reason))
    try:
        with open_image(tree.store, product.entry, head_only=quick) as image:
            profile = profile_of(image)
            wrong += _profile(product, profile, region)
            if not quick:
                pixels = pixel_facts(image)
                check_blocks(image)
        wrong += lineage.problems(product, profile.tags)
    except DataError as error:
        wrong.append(Finding(key=key, code="damaged", reason=error.message))
    except GlacierflowError as error:
        unchecked.append(Finding(key=key, code="unreadable", reason=error.message))
    if pixels is not None:
        wrong += _pixels(key, pixels)
    is_tagged = profile is not None and PRODUCTION_TAG in profile.tags
    return _Looked(product, tuple(wrong), tuple(unchecked), is_tagged, pixels)


def _profile(product: Product, profile: Profile, region: Region | None) -> Iterator[Finding]:
    key = product.entry.key
    wanted: list[tuple[str, str, Any, Any]] = [
        ("bands", "bands", profile.bands, 1),
        ("dtype", "its data type", profile.dtype, "uint16"),
        ("nodata", "its nodata value", profile.nodata, 0),
    ]
    for code, what, found, right in wanted:
        if found != right:
            yield Finding(key=key, code=code, reason=f"{what}: {found}, expected {right}")
    if profile.end > product.entry.size:
        reason = f"it is cut short: {product.entry.size} bytes, its last block ends at {profile.end}"
        yield Finding(key=key, code="damaged", reason=reason)
    yield from _grid(key, profile, PIXEL_SIZE_M[product.place.satellite], region)


def _grid(key: str, profile: Profile, pixel_m: int, region: Region | None) -> Iterator[Finding]:
    if profile.epsg != _EPSG:
        named = "no projection" if profile.epsg is None else f"EPSG:{profile.epsg}"
        yield Finding(key=key, code="crs", reason=f"it is in {named}, expected {CRS}")
    if not _near(profile.resolution, (pixel_m, pixel_m)):
        found = " x ".join(f"{size:g}" for size in profile.resolution)
        yield Finding(key=key, code="resolution", reason=f"its pixels are {found} m, expected {pixel_m} m")
    if region is not None and not _near(profile.bounds, region.bounds):
        found, right = (" ".join(f"{edge:.10g}" for edge in each) for each in (profile.bounds, region.bounds))
        reason = f"its extent is {found}, the region's {right} (xmin ymin xmax ymax)"
        yield Finding(key=key, code="extent", reason=reason)


def _near(values: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return all(abs(one - other) < _TOLERANCE_M for one, other in zip(values, right, strict=True))


def _pixels(key: str, pixels: PixelFacts) -> Iterator[Finding]:
    if pixels.valid == 0:
        yield Finding(key=key, code="all_nodata", reason="every pixel is nodata")
    elif pixels.lowest == pixels.highest:
        reason = f"every valid pixel has the value {pixels.lowest}"
        yield Finding(key=key, code="constant", reason=reason)


def _duplicates(looked: list[_Looked]) -> Iterator[Finding]:
    """Products of one region and satellite with the same pixels; the first of them is taken as right."""
    first: dict[tuple[str, str, str], str] = {}
    for one in looked:
        if one.pixels is None or one.pixels.valid == 0:
            continue
        place, key = one.product.place, one.product.entry.key
        other = first.setdefault((place.satellite, place.region, one.pixels.digest), key)
        if other != key:
            yield Finding(key=key, code="duplicate", reason=f"its pixels are those of {other}")


def _templates(tree: Tree, catalogue: Mapping[str, Region], unchecked: list[Finding]) -> Iterator[Finding]:
    """The image on its grid that a region keeps for other programs; ``unchecked`` gets the unreadable."""
    kinds = {(p.place.layout, p.place.satellite, p.place.region) for p in tree.products}
    for layout, satellite, name in sorted(kinds, key=lambda kind: (kind[1], kind[2])):
        key = layout.template(satellite, name).removeprefix("./")
        if not tree.has(key):
            reason = f"the region {name} has {satellite} images and no template"
            yield Finding(key=key, code="template", reason=reason)
            continue
        try:
            with open_image(tree.store, Entry(key, tree.files[key].size), head_only=True) as image:
                profile = profile_of(image)
        except DataError as error:
            yield Finding(key=key, code="damaged", reason=error.message)
            continue
        except GlacierflowError as error:
            unchecked.append(Finding(key=key, code="unreadable", reason=error.message))
            continue
        yield from _grid(key, profile, PIXEL_SIZE_M[satellite], catalogue.get(name))
