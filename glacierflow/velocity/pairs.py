"""Which two clips make a pair, by rules that are data, and why the others do not. Pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby

from pydantic import model_validator

from glacierflow.model.records import Record, Satellite
from glacierflow.velocity.clips import Clip

ELEVATION_MODEL_CHANGED = dt.date(2021, 8, 23)
"""The day on which ESA changed the elevation model below Sentinel-2 (to Copernicus DEM)."""

_FAMILIES = {"S2": "MSI", "LC": "OLI", "LO": "OLI", "LE": "ETM+", "LT": "TM"}
"""Sensors that see alike, by how a platform's short name begins."""
_NADIR_DEG = 1.0
"""Landsat scenes that are tilted less than this count as nadir."""


class PairRules(Record):
    """Every number that decides which clips are paired."""

    spans: tuple[tuple[int, int], ...]
    """Days between the two images, (least, most), both included; any of them will do."""
    min_coverage: float = 0.2
    """Share of the region that has to be valid in both images."""
    most_per_image: int = 8
    """Pairs in which one image takes part, at most; the nearest in time come first."""
    allow_nearest: bool = False
    """Take clips that were resampled by nearest neighbour, among them the predecessor's."""


def default_rules(satellite: Satellite) -> PairRules:
    """5 (Sentinel-2) or 8 days (Landsat) to 60."""
    return PairRules(spans=((5 if satellite == "sentinel2" else 8, 60),))


class Pair(Record):
    """Two clips of one place."""

    reference: Clip
    """The earlier image."""
    secondary: Clip
    """The later one."""

    @model_validator(mode="after")
    def _in_order(self) -> Pair:
        if self.reference.datetime >= self.secondary.datetime:
            msg = f"the reference ({self.reference.name}) must be earlier than {self.secondary.name}"
            raise ValueError(msg)
        return self

    @property
    def days(self) -> float:
        """Time between the two, days."""
        return days_between(self.reference, self.secondary)

    @property
    def name(self) -> str:
        """``{platform}_{region}_{time 1}_{time 2}_{orbit or path-row}``, the start of its granule's name."""
        one, two = self.reference, self.secondary
        platform = one.platform if one.platform == two.platform else f"{one.platform}-{two.platform}"
        times = "_".join(f"{clip.datetime:%Y%m%dT%H%M%S}" for clip in (one, two))
        return f"{platform}_{one.region}_{times}_{one.orbit}"


class Refusal(Record):
    """One clip, or two, that make no pair, and why."""

    keys: tuple[str, ...]
    code: str
    """Short and stable, for counting: e.g. ``orbit``."""
    reason: str
    """One sentence with the values in it."""


class Pairing(Record):
    """What came of the clips of a tree."""

    clips: int
    pairs: tuple[Pair, ...]
    """By satellite, region and time."""
    refused: tuple[Refusal, ...]

    @property
    def codes(self) -> dict[str, int]:
        """How often each reason applies, the most frequent first."""
        return dict(Counter(one.code for one in self.refused).most_common())


def days_between(one: Clip, other: Clip) -> float:
    """From the first to the second, days."""
    return (other.datetime - one.datetime).total_seconds() / 86_400


def choose_pairs(clips: Iterable[Clip], rules: PairRules) -> Pairing:
    """The pairs of some clips of one satellite, region by region.

    Args:
        clips: of any number of regions, in any order; the same twice counts once.
        rules: what a pair has to be.
    """
    given = sorted(set(clips), key=lambda clip: (clip.satellite, clip.region, clip.datetime, clip.key))
    pairs: list[Pair] = []
    refused: list[Refusal] = []
    for _, of_region in groupby(given, key=lambda clip: (clip.satellite, clip.region)):
        fit, unfit = _fit_clips(list(of_region), rules)
        refused += unfit
        candidates = []
        for one, other in combinations(fit, 2):
            refusal = _refusal(one, other, rules)
            if refusal is None:
                candidates.append(Pair(reference=one, secondary=other))
            else:
                refused.append(refusal)
        taken, beyond = _nearest(candidates, rules.most_per_image)
        pairs += taken
        refused += beyond
    return Pairing(clips=len(given), pairs=tuple(pairs), refused=tuple(refused))


def _fit_clips(clips: Sequence[Clip], rules: PairRules) -> tuple[list[Clip], list[Refusal]]:
    """The clips that can be part of a pair, and why the others cannot."""
    newest = {clip.acquisition: clip for clip in sorted(clips, key=lambda clip: (clip.ours, clip.stem))}
    fit, refused = [], []
    for clip in clips:
        other = newest[clip.acquisition]
        if clip.resampling == "nearest" and not rules.allow_nearest:
            maker = "nearest neighbour" if clip.ours else "another program, which leaves no tags,"
            reason = (
                f"{clip.key} was resampled by {maker} and may be off by half a pixel, which stable ground "
                "does not show; --allow-nearest takes it"
            )
            refused.append(Refusal(keys=(clip.key,), code="nearest", reason=reason))
        elif other is not clip:
            reason = f"{clip.key} shows the same acquisition as {other.key}, of a newer baseline"
            refused.append(Refusal(keys=(clip.key,), code="same_acquisition", reason=reason))
        elif clip.coverage is not None and clip.coverage < rules.min_coverage:
            reason = (
                f"{clip.key} is valid in {clip.coverage:.1%} of the region; "
                f"a pair needs {rules.min_coverage:.1%} in both"
            )
            refused.append(Refusal(keys=(clip.key,), code="coverage", reason=reason))
        else:
            fit.append(clip)
    return fit, refused


def _refusal(one: Clip, other: Clip, rules: PairRules) -> Refusal | None:
    """The first rule that stands against a pair, in the order in which they matter."""
    for code, reason in _objections(one, other, rules):
        return Refusal(keys=(one.key, other.key), code=code, reason=f"{one.name} and {other.name}: {reason}")
    return None


def _objections(one: Clip, other: Clip, rules: PairRules) -> Iterator[tuple[str, str]]:
    families = [_FAMILIES.get(clip.platform[:2], clip.platform) for clip in (one, other)]
    if families[0] != families[1]:
        yield "sensor", f"the sensors {families[0]} and {families[1]} see differently"
    if one.orbit != other.orbit:
        code, what = (
            ("orbit", "relative orbits") if one.satellite == "sentinel2" else ("path_row", "paths and rows")
        )
        yield code, f"{what} {one.orbit} and {other.orbit} differ, so errors of the terrain do not cancel"
    yield from _days_objections(one, other, rules)
    tilted = [clip.off_nadir is not None and abs(clip.off_nadir) >= _NADIR_DEG for clip in (one, other)]
    if tilted[0] != tilted[1]:
        yield (
            "off_nadir",
            f"one looks down, the other {max(one.off_nadir or 0, other.off_nadir or 0):g} degrees aside",
        )
    changed = one.datetime.date() < ELEVATION_MODEL_CHANGED <= other.datetime.date()
    if one.satellite == "sentinel2" and changed and not (one.reprocessed and other.reprocessed):
        baselines = f"{one.baseline} and {other.baseline}"
        yield (
            "elevation_model",
            f"the elevation model changed on {ELEVATION_MODEL_CHANGED} between them, and their baselines "
            f"{baselines} are not both 05.00 or later",
        )
    if (one.bounds, one.shape) != (other.bounds, other.shape):
        yield "other_grid", f"their grids differ: {one.bounds}, {one.shape} and {other.bounds}, {other.shape}"
    if one.resampling != other.resampling:
        yield "resampling", f"they were resampled differently: {one.resampling} and {other.resampling}"


def _days_objections(one: Clip, other: Clip, rules: PairRules) -> Iterator[tuple[str, str]]:
    # orbits repeat to the minute, not to the second: 4.9999 days are 5
    days = round(days_between(one, other))
    if any(least <= days <= most for least, most in rules.spans):
        return
    asked = ", ".join(f"{least} to {most}" for least, most in rules.spans)
    if days < min(least for least, _ in rules.spans):
        yield "too_close", f"{days} days apart; asked for {asked}"
    else:
        yield "too_far", f"{days} days apart; asked for {asked}"


def _nearest(candidates: Sequence[Pair], most: int) -> tuple[list[Pair], list[Refusal]]:
    """At most so many pairs an image, the nearest in time first."""
    used: Counter[str] = Counter()
    taken, refused = [], []
    for pair in sorted(candidates, key=lambda pair: (round(pair.days), pair.name)):
        keys = pair.reference.key, pair.secondary.key
        full = next((key for key in keys if used[key] >= most), None)
        if full is None:
            used.update(keys)
            taken.append(pair)
            continue
        reason = (
            f"{pair.reference.name} and {pair.secondary.name}: {full} is in {most} nearer pairs already; "
            "--most takes more"
        )
        refused.append(Refusal(keys=keys, code="enough", reason=reason))
    return sorted(taken, key=lambda pair: pair.name.partition("_")[2]), refused
