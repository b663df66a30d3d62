"""STAC search: a unit in, acquisitions and the reasons for everything left out."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from glacierflow.model.records import Acquisition, LeftOut, Note, Region, Satellite, Scene, StepSettings, Unit
from glacierflow.net import may_open
from glacierflow.search.availability import why_no_items, worth_searching
from glacierflow.search.footprints import distance_m, overlap_share
from glacierflow.search.items import (
    is_foreign,
    parse_item,
    parse_time,
    processed_at,
    strip_began,
    view_of,
    zero_dn,
)
from glacierflow.search.mgrs import missing_tiles, same_place, uncovered_share
from glacierflow.search.stac_api import Catalogue, Query, collection_interval, search_items

_NOT_ASKED = "not_asked_for"
"""Code of an item that the API should not have given."""
_ELSEWHERE_M = 100_000.0
"""Distance of a footprint beyond which no way to draw it explains that the API gave it."""
_SAME_STRIP = dt.timedelta(seconds=5)
"""By which the beginning of a strip differs when it is processed again; the next begins later than that."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave."""

    acquisitions: tuple[Acquisition, ...]
    """In order of sensing time."""
    left_out: tuple[LeftOut, ...]
    items: int
    """STAC items the API returned."""
    notes: tuple[Note, ...] = ()
    """What the search did not look for, why it found nothing, what was odd about its answer."""


@dataclass(slots=True)
class _Sorting:
    kept: list[Scene] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave(self, scene: Scene, code: str, reason: str) -> None:
        self.left_out.append(LeftOut(item_id=scene.item_id, code=code, reason=reason))


def search_unit(unit: Unit, region: Region, settings: StepSettings) -> Found:
    """Ask the STAC API for a unit's items and group them into acquisitions.

    Both dates are included, to the last moment of the second. Days on which there can be no image are not
    asked for, and an answer without items is explained; both in ``notes``.

    Raises:
        UnavailableError: the API did not answer after retries.
        DataError: the API refused the search.
    """
    plan = worth_searching(unit, region)
    if plan.days is None:
        return Found((), (), 0, plan.notes)
    if unit.satellite == "sentinel2":
        catalogue = Catalogue.of(settings.sentinel2_stac_url, settings.sentinel2_collection, settings)
    else:
        catalogue = Catalogue.of(settings.landsat_stac_url, settings.landsat_collection, settings)
    interval = (
        dt.datetime.combine(plan.days[0], dt.time.min, dt.UTC),
        dt.datetime.combine(plan.days[1], dt.time(23, 59, 59, 999999), dt.UTC),
    )
    query = Query(region.geometry, interval)
    answer = search_items(catalogue, query)
    notes = [*plan.notes, *(Note(code="odd_answer", text=text) for text in answer.notes)]
    sorting = _Sorting()
    items = _keep_asked(answer.items, catalogue, query, sorting)
    if not items:
        today = dt.datetime.now(dt.UTC).date()
        notes.append(why_no_items(unit, plan.days, collection_interval(catalogue), today))
    tiles = region.mgrs_tiles
    if unit.satellite == "sentinel2" and uncovered_share(region):
        added = missing_tiles(region)
        notes.append(_uncovered(region, added, settings))
        tiles += added if settings.mgrs_tiles == "auto" else ()
    _sort(items, unit, region, tiles, settings, catalogue.url, sorting)
    unasked = sum(entry.code == _NOT_ASKED for entry in sorting.left_out)
    if unasked:
        text = f"{unasked} of the {len(answer.items)} items that the STAC API gave were not asked for"
        notes.append(Note(code="odd_answer", text=f"{text}; they are left out"))
    acquisitions = _keep_clear(group_scenes(sorting.kept, unit.satellite, tiles), settings, sorting)
    return Found(acquisitions, tuple(sorting.left_out), len(answer.items), tuple(notes))


def _keep_asked(
    items: Iterable[dict[str, Any]], catalogue: Catalogue, query: Query, sorting: _Sorting
) -> list[dict[str, Any]]:
    """The items of the collection and time that were asked for: some APIs pass over a filter.

    The place is compared later, by tiles and footprints. An item that cannot be compared stays: what is wrong
    with it is said where it is parsed.
    """
    asked = []
    for item in items:
        reason = _why_not_asked(item, catalogue, query)
        if reason is None:
            asked.append(item)
        else:
            sorting.left_out.append(LeftOut(item_id=str(item["id"]), code=_NOT_ASKED, reason=reason))
    return asked


def _why_not_asked(item: dict[str, Any], catalogue: Catalogue, query: Query) -> str | None:
    collection = item.get("collection")
    if isinstance(collection, str) and collection != catalogue.collection:
        return f"it is of the collection {collection}, and {catalogue.collection} was asked for"
    try:
        properties = item["properties"]
        first = parse_time(properties.get("datetime") or properties["start_datetime"])
        last = parse_time(properties.get("datetime") or properties["end_datetime"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None
    if last < query.interval[0] or first > query.interval[1]:
        days = " to ".join(f"{moment:%Y-%m-%d}" for moment in query.interval)
        return f"it is of {first:%Y-%m-%d}, and {days} was asked for"
    return None


def _uncovered(region: Region, added: tuple[str, ...], settings: StepSettings) -> Note:
    share, listed = f"{uncovered_share(region):.2%}", " ".join(region.mgrs_tiles)
    does = "adds" if settings.mgrs_tiles == "auto" else "would add"
    tiles = " ".join(added) or "no tile"
    text = f"{share} of {region.name} lies outside its tiles {listed}; mgrs_tiles = auto {does} {tiles}"
    return Note(code="tiles_missing", text=text)


def _sort(
    items: Iterable[dict[str, Any]],
    unit: Unit,
    region: Region,
    tiles: tuple[str, ...],
    settings: StepSettings,
    url: str,
    sorting: _Sorting,
) -> None:
    parsed = [parse_item(item, unit.satellite) for item in items]
    sorting.left_out += [entry for entry in parsed if isinstance(entry, LeftOut)]
    scenes = _keep_open([entry for entry in parsed if isinstance(entry, Scene)], url, sorting)
    if unit.satellite == "sentinel2":
        _keep_tiles(scenes, tiles, sorting)
    else:
        _keep_landsat(scenes, region, settings, sorting)


def _keep_open(scenes: list[Scene], url: str, sorting: _Sorting) -> list[Scene]:
    """Keep what may be opened: nothing further inwards than the API, whose word it is."""
    kept = []
    for scene in scenes:
        classes = scene.classification_href
        if not may_open(scene.href, url):
            reason = f"its image is at {scene.href}, where nothing is read for a STAC API at {url}"
            sorting.leave(scene, "forbidden_place", reason)
        elif classes is not None and not may_open(classes, url):
            kept.append(scene.model_copy(update={"classification_href": None}))
        else:
            kept.append(scene)
    return kept


def _keep_tiles(scenes: list[Scene], tiles: tuple[str, ...], sorting: _Sorting) -> None:
    """Keep the region's tiles, and of each tile the newest version, all its strips."""
    listed = []
    for scene in scenes:
        if _rank(scene, tiles) < len(tiles):
            listed.append(scene)
        else:
            reason = f"tile {scene.place} is not among the region's tiles {' '.join(tiles)}"
            sorting.leave(scene, "tile_not_listed", reason)
    for _, of_pass in _by(listed, lambda scene: scene.acquisition):
        _keep_versions(of_pass, sorting)


def _keep_versions(of_pass: list[Scene], sorting: _Sorting) -> None:
    """Keep the newest version of every strip of every tile of a pass, all of them with one meaning of DN.

    Where DN of one reflectance differ by 1000, only those of one kind are used: what most strips have, then
    the newest baseline. They are not brought to one, because archives have been wrong in what they say of it.
    """
    kinds = [list(kind) for _, kind in _by(of_pass, zero_dn)]
    chosen = max(kinds, key=_worth)
    kept = [scene for _, same in _by(chosen, lambda scene: scene.place) for scene in _newest(same)]
    sorting.kept += kept
    for scene in of_pass:
        if scene in kept:
            continue
        newer = next(
            (one for one in kept if one.place == scene.place and _replaces(one, scene, of_pass)), None
        )
        if newer is not None:
            told = f"the version of baseline {_version(scene)} is superseded"
            sorting.leave(scene, "superseded", f"{told} by {newer.item_id} of baseline {_version(newer)}")
        else:
            told = f"its reflectance 0 is DN {zero_dn(scene)}, and DN {zero_dn(kept[0])} in {kept[0].item_id}"
            sorting.leave(scene, "other_offset", f"{told} and others of the image")


def _version(scene: Scene) -> str:
    return f"{scene.baseline}, processed {processed_at(scene) or 'nobody knows when'}"


def _worth(kind: list[Scene]) -> tuple[int, str, bool, str]:
    agency = [scene for scene in kind if not is_foreign(scene)]
    strips = {(scene.place, strip_began(scene)) for scene in agency}
    newest = max(kind, key=_age)
    return len(strips), (newest.baseline or "") if agency else "", zero_dn(newest) == 0, processed_at(newest)


def _newest(same: list[Scene]) -> list[Scene]:
    """Of the versions of a tile those that together are all of it, the newest first."""
    kept: list[Scene] = []
    for scene in sorted(same, key=_age, reverse=True):
        if not any(_replaces(newer, scene, same) for newer in kept):
            kept.append(scene)
    return kept


def _replaces(newer: Scene, scene: Scene, versions: list[Scene]) -> bool:
    """Whether all that a scene shows is in a newer one of the same tile and pass.

    Where one strip of a pass ends and the next begins, one tile is two products of one datatake, each with a
    part of the pixels (ESA's "product discriminator"); a reprocessed duplicate is of the same strip. Where
    strips are not told, products of one baseline count as strips, and so do those of an older baseline that
    has more of them: the first valid pixel wins, so a duplicate among them changes nothing.
    """
    if is_foreign(scene) != is_foreign(newer):
        return is_foreign(scene)
    began = strip_began(newer), strip_began(scene)
    if began[0] is not None and began[1] is not None:
        return abs(began[0] - began[1]) <= _SAME_STRIP
    if newer.baseline == scene.baseline:
        return newer.source_name == scene.source_name
    baselines = [one.baseline for one in versions if one.place == scene.place]
    return baselines.count(scene.baseline) <= baselines.count(newer.baseline)


def _rank(scene: Scene, tiles: tuple[str, ...]) -> int:
    """Place of a scene's tile in a list of tiles; beyond its end where it is not there."""
    return next((rank for rank, tile in enumerate(tiles) if same_place(scene.place, tile)), len(tiles))


def _age(scene: Scene) -> tuple[bool, str, str, str]:
    """What sorts the versions of a tile by their processing, the newest last."""
    return not is_foreign(scene), processed_at(scene), scene.baseline or "", scene.item_id


def _keep_landsat(scenes: list[Scene], region: Region, settings: StepSettings, sorting: _Sorting) -> None:
    """Keep wanted tiers and corrections with enough overlap; of one scene's versions the best."""
    wanted = []
    for scene in scenes:
        tier = str(scene.properties.get("landsat:collection_category"))
        correction = str(scene.properties.get("landsat:correction"))
        overlap = overlap_share(scene.footprint, region)
        if tier not in settings.landsat_tiers:
            accepted = ", ".join(settings.landsat_tiers)
            sorting.leave(scene, "tier", f"tier {tier} is not among the wanted tiers {accepted}")
        elif correction not in settings.landsat_corrections:
            accepted = ", ".join(settings.landsat_corrections)
            sorting.leave(scene, "correction", f"correction {correction} is not among {accepted}")
        elif overlap == 0.0 and (away := distance_m(scene.footprint, region)) > _ELSEWHERE_M:
            sorting.leave(scene, _NOT_ASKED, f"its footprint is {away / 1000:.0f} km away from the region")
        elif overlap < settings.landsat_min_overlap:
            sorting.leave(
                scene,
                "low_overlap",
                f"the footprint covers {overlap:.1%} of the region, "
                f"less than {settings.landsat_min_overlap:.0%}",
            )
        else:
            wanted.append(scene)
    for _, same in _by(wanted, lambda scene: scene.acquisition):
        *others, best = sorted(same, key=_landsat_age)
        sorting.kept.append(best)
        for scene in others:
            sorting.leave(scene, "superseded", f"another version of the scene is used: {best.item_id}")


def _keep_clear(
    acquisitions: tuple[Acquisition, ...], settings: StepSettings, sorting: _Sorting
) -> tuple[Acquisition, ...]:
    """Leave out acquisitions under too much cloud; one of unknown cloud stays."""
    limit = settings.max_cloud_cover
    if limit is None:
        return acquisitions
    clear = []
    for acquisition in acquisitions:
        percent = view_of(acquisition).get("eo:cloud_cover")
        if percent is None or percent <= 100 * limit:
            clear.append(acquisition)
            continue
        for scene in acquisition.scenes:
            sorting.leave(
                scene, "cloudy", f"cloud covers {percent:.1f} % of the image, more than {limit:.0%}"
            )
    return tuple(clear)


def _landsat_age(scene: Scene) -> tuple[str, int, str, str]:
    """What sorts the versions of a scene by their processing; of one day the better tier is the last."""
    tier, created = (str(scene.properties.get(n)) for n in ("landsat:collection_category", "created"))
    return processed_at(scene), {"T1": 2, "T2": 1}.get(tier, 0), created, scene.item_id


def _by(scenes: list[Scene], key: Any) -> Iterable[tuple[Any, list[Scene]]]:  # noqa: ANN401 - sort keys
    for value, group in itertools.groupby(sorted(scenes, key=key), key=key):
        yield value, list(group)


def group_scenes(
    scenes: Iterable[Scene], satellite: Satellite, tiles: tuple[str, ...]
) -> tuple[Acquisition, ...]:
    """Scenes of one satellite pass together, in the region's tile order; passes in order of time.

    Sentinel-2 groups by datatake, never by day: at 80 N a place is seen by several orbits on one day.
    """
    acquisitions = []
    for key, group in _by(list(scenes), lambda scene: scene.acquisition):
        newest_first = sorted(group, key=_age, reverse=True)
        merged = sorted(newest_first, key=lambda scene: _rank(scene, tiles))
        first = merged[0]
        # Tiles of one datatake may differ in baseline; the name carries the newest.
        agency = [scene for scene in merged if not is_foreign(scene)] or merged
        newest = max(agency, key=lambda scene: scene.baseline or "") if satellite == "sentinel2" else first
        acquisitions.append(
            Acquisition(
                key=key,
                stem=newest.stem,
                datetime=min(scene.datetime for scene in merged),
                platform=first.platform,
                scenes=tuple(merged),
            )
        )
    return tuple(sorted(acquisitions, key=lambda acquisition: (acquisition.datetime, acquisition.key)))
