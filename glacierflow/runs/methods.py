"""The methods paragraph and tables of a paper, from what the run recorded; pure.

A unit counts by its latest good attempt, in the run or in one of its retries; products count once, whichever
attempt wrote them.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glacierflow.model.receipt import ProductThere, Receipt
from glacierflow.model.records import PIXEL_SIZE_M, LeftOut, Satellite, Unit
from glacierflow.outside import cell
from glacierflow.runs.family import Family
from glacierflow.runs.verify import latest_good

_WHAT: dict[Satellite, str] = {
    "sentinel2": "Sentinel-2 Level-2A band 8 (near infrared)",
    "landsat": "Landsat Collection 2 Level-1 panchromatic (near infrared of TM)",
}
_RESAMPLED = {"cubic": "cubic convolution", "nearest": "nearest neighbour"}


@dataclass(frozen=True, slots=True)
class Excluded:
    """A scene that became no product."""

    units: tuple[Unit, ...]
    """One; all of its slot where the receipt is of a version that did not tell which."""
    entry: LeftOut

    @property
    def region(self) -> str:
        """Of several units, all."""
        return "+".join(dict.fromkeys(unit.region for unit in self.units))


@dataclass(frozen=True, slots=True)
class Methods:
    """What a run did, in numbers."""

    family: Family
    products: dict[str, list[ProductThere]]
    """By region, in order of time; each key once."""
    excluded: tuple[Excluded, ...]
    found: int
    """STAC items that the searches returned."""
    outcomes: dict[str, int]
    """Units by the outcome of their latest good attempt; ``unfinished`` where there is none."""
    versions: tuple[str, ...]
    digests: tuple[str, ...]
    searched: tuple[str, str] | None
    """First and last day of the searches."""

    @property
    def units(self) -> list[Unit]:
        """All units of the run."""
        return [unit for slot in self.family.root.slots for unit in slot]


def methods_of(family: Family) -> Methods:
    """Collect what the receipts of a run and its retries say."""
    receipts = family.receipts()
    products: dict[str, dict[str, ProductThere]] = {name: {} for name in sorted(family.root.regions)}
    excluded, found, outcomes = [], 0, Counter[str]()
    for slot, of_slot in receipts.items():
        units = family.root.slots[slot]
        judged = [latest_good(of_slot, number) for number in range(len(units))]
        for number, receipt in enumerate(judged):
            outcomes[receipt.end_of(number).outcome if receipt else "unfinished"] += 1
            if receipt is not None and receipt.tells_units:
                found += receipt.end_of(number).counts.found
                excluded += [Excluded((units[number],), entry) for entry in receipt.left_out_of(number)]
        for receipt in _untold(judged):
            found += receipt.counts.found
            excluded += [Excluded(units, entry) for entry in receipt.left_out]
        for receipt in of_slot:
            listed: list[ProductThere] = [*receipt.already_there, *receipt.products]
            for product in listed:
                products[units[product.unit].region][product.key] = product
    every = [receipt for of_slot in receipts.values() for receipt in of_slot]
    days = sorted(f"{receipt.started_at:%Y-%m-%d}" for receipt in every)
    return Methods(
        family=family,
        products={
            region: sorted(of_region.values(), key=lambda product: product.datetime)
            for region, of_region in products.items()
        },
        excluded=tuple(excluded),
        found=found,
        outcomes=dict(sorted(outcomes.items())),
        versions=_distinct(receipt.code_version for receipt in every),
        digests=_distinct(receipt.image_digest for receipt in every),
        searched=(days[0], days[-1]) if days else None,
    )


def _untold(judged: Iterable[Receipt | None]) -> list[Receipt]:
    """The receipts among them, each once, that count for the slot as a whole only."""
    whole = [receipt for receipt in judged if receipt is not None and not receipt.tells_units]
    return list({(receipt.run_id, receipt.attempt): receipt for receipt in whole}.values())


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def methods_markdown(methods: Methods) -> str:
    """The paragraph, the exclusions by reason, and a table with a line a region."""
    parts = [f"# Methods of {_listed(methods.family.runs)}", methods_paragraph(methods)]
    if methods.excluded:
        parts.append(_exclusions(methods))
    parts.append(_regions(methods))
    return "\n\n".join(parts) + "\n"


def methods_paragraph(methods: Methods) -> str:
    """How the images were made, in the words of a paper."""
    root, settings = methods.family.root, methods.family.root.settings
    satellite, units = methods.units[0].satellite, methods.units
    sentinel2 = satellite == "sentinel2"
    collection = settings.sentinel2_collection if sentinel2 else settings.landsat_collection
    address = settings.sentinel2_stac_url if sentinel2 else settings.landsat_stac_url
    count = sum(len(of_region) for of_region in methods.products.values())
    resampled = _RESAMPLED.get(settings.resampling, settings.resampling)
    limit = (
        f"Images with valid pixels over less than {settings.sentinel2_min_coverage:.0%} of the region were "
        "left out."
        if sentinel2
        else f"Scenes whose footprint covers less than {settings.landsat_min_overlap:.0%} of the region were "
        "left out."
    )
    first, last = methods.searched or ("", "")
    when = f" between {first} and {last}" if first != last else f" on {first}" if first else ""
    return (
        f"{_WHAT[satellite]} images of {len(root.regions)} regions from "
        f"{min(unit.date1 for unit in units)} to {max(unit.date2 for unit in units)} were searched in the "
        f"STAC collection {collection} ({address}){when}. "
        f"The searches returned {methods.found} items, which made {count} images; "
        f"{len(methods.excluded)} items or acquisitions were left out, each with a recorded reason. "
        f"Each image was resampled once, by {resampled}, from its own grid to EPSG:3413 at "
        f"{PIXEL_SIZE_M[satellite]} m over the rectangle of its region. {limit} "
        f"Of {len(units)} units of work {_outcomes(methods)}. "
        f"Processing was done with glacierflow {_listed(methods.versions)}{_image(methods)}; "
        f"the region catalogue has the sha256 {root.catalogue_sha256[:16]}."
    )


def _outcomes(methods: Methods) -> str:
    words = {
        "done": "were completed",
        "no_data": "had no usable image",
        "partial": "lack images that could not be read",
        "unfinished": "were not finished",
    }
    return _listed([f"{count} {words[outcome]}" for outcome, count in methods.outcomes.items()])


def _image(methods: Methods) -> str:
    return f" (container image {_listed(methods.digests)})" if methods.digests else ""


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words) or "of an unknown version"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _exclusions(methods: Methods) -> str:
    lines = ["| left out because of | items | for example |", "|---|---:|---|"]
    codes = Counter(excluded.entry.code for excluded in methods.excluded)
    for code, count in sorted(codes.items(), key=lambda pair: (-pair[1], pair[0])):
        example = next(one.entry.reason for one in methods.excluded if one.entry.code == code)
        lines.append(f"| {code} | {count} | {example.replace('|', '/')} |")
    return "\n".join(lines)


def _regions(methods: Methods) -> str:
    lines = ["| region | images | first | last | left out |", "|---|---:|---|---|---:|"]
    left = Counter(excluded.region for excluded in methods.excluded)
    for region, products in methods.products.items():
        first, last = ((f"{products[at].datetime:%Y-%m-%d}" if products else "") for at in (0, -1))
        lines.append(f"| {region} | {len(products)} | {first} | {last} | {left[region]} |")
    return "\n".join(lines)


def scenes_csv(methods: Methods) -> str:
    """One line an image: region, time, acquisition, what it was made from, where it lies."""
    written = _written(methods.family.receipts().values())
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["region", "datetime", "acquisition", "coverage", "sources", "key", "sha256"])
    for region, products in methods.products.items():
        for product in products:
            coverage, sources, sha256 = written.get(product.key, ("", "", ""))
            place = [region, product.datetime.isoformat(), cell(product.acquisition)]
            lines.writerow([*place, coverage, cell(sources), cell(product.key), sha256])
    return text.getvalue()


def _written(receipts: Iterable[Sequence[Receipt]]) -> dict[str, tuple[str, str, str]]:
    """Coverage, sources and hash by key, of the products that an attempt of the run wrote."""
    return {
        product.key: (f"{product.coverage:.4f}", " ".join(product.sources), product.sha256)
        for of_slot in receipts
        for receipt in of_slot
        for product in receipt.products
    }


def exclusions_csv(methods: Methods) -> str:
    """One line a scene that became no product, with its reason."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["region", "date1", "date2", "item", "code", "reason"])
    for one in methods.excluded:
        entry, dates = one.entry, (one.units[0].date1, one.units[-1].date2)
        lines.writerow([one.region, *dates, cell(entry.item_id), entry.code, cell(entry.reason)])
    return text.getvalue()
