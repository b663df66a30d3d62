"""Whether a run's products are there, whole and unchanged: manifest x receipts x what lies in the store.

AWS Batch is not asked: what it calls SUCCEEDED is not the proof. A unit is judged by its latest good attempt,
in the run or in one of its retries, and by what that says of it: of several in a slot each by itself.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from glacierflow.errors import DataError, GlacierflowError
from glacierflow.model.layout import Layout, parse_product
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import ProductRecord, Receipt
from glacierflow.model.records import Record, Unit
from glacierflow.runs.facts import product_keys
from glacierflow.runs.family import Family
from glacierflow.runs.states import GOOD_OUTCOMES
from glacierflow.store import Entry, Store

UnitState = Literal["complete", "no_data", "partial", "missing", "damaged", "unchecked"]
STATES: tuple[UnitState, ...] = ("complete", "no_data", "partial", "missing", "damaged", "unchecked")

Depth = Literal["quick", "recorded", "read"]
"""How products are compared: ``quick`` by existence and size; ``recorded`` also by the entity tag or the
checksum that S3 keeps, and by reading where it keeps neither; ``read`` by reading every byte."""

_WORST = ("damaged", "missing", "unchecked")
_THREADS = 16
_MULTIHASH = len("1220")
"""Characters before the digest in ``file:checksum``: SHA-256, 32 bytes."""


class Problem(Record):
    """One product that is not as it should be."""

    key: str
    kind: Literal["missing", "damaged", "unchecked"]
    reason: str


class UnitCheck(Record):
    """What was found of one unit."""

    run_id: str
    """The first run."""
    slot: int
    """In the first run."""
    unit: Unit
    state: UnitState
    products: int
    """Products that should be there: new ones, and those that were already there."""
    new: int
    """Products that the run wrote."""
    reason: str | None = None
    """Why it is not complete."""
    problems: tuple[Problem, ...] = ()


class VerifyReport(Record):
    """What was found of a run with its retries."""

    run_id: str
    runs: tuple[str, ...]
    """All first runs, where several are verified as one; ``run_id`` alone, as a rule."""
    retries: tuple[str, ...]
    depth: Depth
    checked_at: dt.datetime
    units: tuple[UnitCheck, ...]

    @property
    def states(self) -> dict[str, int]:
        """Units by state."""
        counts = Counter(unit.state for unit in self.units)
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def products(self) -> int:
        """Products that should be there."""
        return sum(unit.products for unit in self.units)

    @property
    def new(self) -> int:
        """Of those, the ones that the run wrote."""
        return sum(unit.new for unit in self.units)

    @property
    def exit_code(self) -> int:
        """0 all complete or without data, 1 something is wrong, 2 nothing wrong but not all was checked."""
        if any(unit.state in {"partial", "missing", "damaged"} for unit in self.units):
            return 1
        return 2 if any(unit.state == "unchecked" for unit in self.units) else 0


@dataclass(slots=True)
class _Expected:
    """What the receipts say of one product; any of several writers may have been the last."""

    sizes: set[int] = field(default_factory=set)
    sha256: set[str] = field(default_factory=set)
    etags: set[str] = field(default_factory=set)
    sources: set[frozenset[str]] = field(default_factory=set)


@dataclass(slots=True)
class _Promise:
    """All that the receipts of a run and its retries say should be there."""

    receipts: dict[int, list[Receipt]]
    products: defaultdict[str, _Expected] = field(default_factory=lambda: defaultdict(_Expected))
    """By key."""
    keys: defaultdict[tuple[int, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    """By slot of the first run and number of the unit in it."""
    new: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many of them the run wrote."""

    def __post_init__(self) -> None:
        for slot, of_slot in self.receipts.items():
            new, in_all = product_keys(of_slot)
            self.new.update((slot, one.unit) for one in new.values())
            for key, there in in_all.items():
                self.keys[slot, there.unit].add(key)
                self.products[key]
            for receipt in of_slot:
                for made in receipt.products:
                    self._note(made)

    def _note(self, made: ProductRecord) -> None:
        known = self.products[made.key]
        known.sizes.add(made.size)
        known.sha256.add(made.sha256)
        known.sources.add(frozenset(made.sources))
        if made.etag is not None:
            known.etags.add(made.etag)


def verify_run(
    family: Family, store: Store, *, depth: Depth = "recorded", tell: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Compare what should be there with what is.

    Args:
        family: the run and its retries.
        store: where its products lie.
        depth: how closely.
        tell: called with the number of products compared so far and in all.

    Raises:
        StoreError: receipts or listings cannot be read at all.
    """
    promise = _Promise(family.receipts())
    there = _listing(family, store)
    keys = sorted(promise.products)
    problems: dict[str, Problem] = {}

    def check(key: str) -> Problem | None:
        return _check(key, promise.products[key], there.get(key), store, depth)

    with ThreadPoolExecutor(_THREADS) as pool:
        # what the listing told needs no threads, of which a hundred thousand keys would keep many busy
        found = map(check, keys) if depth == "quick" else pool.map(check, keys)
        for number, (key, problem) in enumerate(zip(keys, found, strict=True), 1):
            if problem is not None:
                problems[key] = problem
            if tell is not None:
                tell(number, len(keys))
    return VerifyReport(
        run_id=family.root.run_id,
        runs=family.runs,
        retries=family.retries,
        depth=depth,
        checked_at=dt.datetime.now(dt.UTC),
        units=tuple(
            _judge(family, slot, number, promise, problems)
            for slot, units in enumerate(family.root.slots)
            for number in range(len(units))
        ),
    )


def _listing(family: Family, store: Store) -> dict[str, Entry]:
    """Everything below the product prefixes of the regions."""
    prefixes = sorted({prefix for member in family.members for prefix in _prefixes(member.manifest)})
    with ThreadPoolExecutor(_THREADS) as pool:
        listings = pool.map(lambda prefix: list(store.list(prefix)), prefixes)
        return {entry.key: entry for listing in listings for entry in listing}


def _prefixes(manifest: Manifest) -> set[str]:
    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    return {layout.products_prefix(unit.satellite, unit.region) for slot in manifest.slots for unit in slot}


def _check(key: str, expected: _Expected, entry: Entry | None, store: Store, depth: Depth) -> Problem | None:
    """What is wrong with one product, if anything; one that a later run completed is as it should be."""
    problem = _differs(key, expected, entry, store, depth)
    if problem is None or problem.kind != "damaged":
        return problem
    try:
        later = _completed(key, expected, store)
    except GlacierflowError as error:
        return Problem(key=key, kind="unchecked", reason=error.message)
    return _differs(key, later, entry, store, depth) if later else problem


def _completed(key: str, expected: _Expected, store: Store) -> _Expected | None:
    """What its STAC item says of a product, where it is made from more sources than the receipts name."""
    place = parse_product(key)
    if place is None:
        return None
    content = store.get(place.layout.stac_item(place.satellite, place.region, place.stem))
    try:
        item = json.loads(content or b"{}")
        sources = {source["name"] for source in item["properties"]["glacierflow:sources"]}
        image = item["assets"]["image"]
        found = _Expected({image["file:size"]}, {image["file:checksum"][_MULTIHASH:]})
    except (ValueError, KeyError, TypeError):
        return None  # no item of ours: the receipts alone count
    return found if expected.sources and all(sources > before for before in expected.sources) else None


def _differs(
    key: str, expected: _Expected, entry: Entry | None, store: Store, depth: Depth
) -> Problem | None:
    if entry is None:
        return Problem(key=key, kind="missing", reason="it is not there")
    if entry.size == 0 or (expected.sizes and entry.size not in expected.sizes):
        sizes = " or ".join(str(size) for size in sorted(expected.sizes)) or "more than 0"
        return Problem(key=key, kind="damaged", reason=f"it has {entry.size} bytes, not {sizes}")
    if depth == "quick" or (depth == "recorded" and entry.etag in expected.etags):
        return None
    try:
        return _compare_bytes(key, expected, store, depth)
    except DataError as error:
        return Problem(key=key, kind="damaged", reason=error.message)
    except GlacierflowError as error:
        return Problem(key=key, kind="unchecked", reason=error.message)


def _compare_bytes(key: str, expected: _Expected, store: Store, depth: Depth) -> Problem | None:
    recorded = store.recorded_sha256(key)
    wanted = expected.sha256 or ({recorded} if recorded else set())
    found = recorded if depth == "recorded" and recorded in wanted else store.sha256(key)
    if found is None:
        return Problem(key=key, kind="missing", reason="it went away while it was compared")
    if wanted and found not in wanted:
        what = "its receipt" if expected.sha256 else "what was put"
        reason = f"its bytes are not those of {what}: sha256 {found[:12]}..., not {min(wanted)[:12]}..."
        return Problem(key=key, kind="damaged", reason=reason)
    return None


def _judge(
    family: Family, slot: int, number: int, promise: _Promise, problems: dict[str, Problem]
) -> UnitCheck:
    """State of one unit: what is wrong with its products comes before what its attempts say."""
    keys, receipts = sorted(promise.keys[slot, number]), promise.receipts[slot]
    own = [problems[key] for key in keys if key in problems]
    good = latest_good(receipts, number)
    state: UnitState = "complete" if keys else "no_data"
    reason = None if keys or good is None else _why_no_data(good, number)
    if own:
        worst = min(own, key=lambda problem: _WORST.index(problem.kind))
        more = f" (and {len(own) - 1} more)" if len(own) > 1 else ""
        state, reason = worst.kind, f"{worst.key}: {worst.reason}{more}"
    if good is None and state not in {"damaged", "missing"}:
        state, reason = "missing", _why_nothing(family, slot, number, receipts)
    elif good is not None and not own and (end := good.end_of(number)).outcome == "partial":
        state, reason = "partial", end.error
    place = family.place_of(slot)
    return UnitCheck(
        run_id=place.run_id,
        slot=place.slot,
        unit=family.root.slots[slot][number],
        state=state,
        products=len(keys),
        new=promise.new[slot, number],
        reason=reason,
        problems=tuple(own),
    )


def latest_good(receipts: Sequence[Receipt], number: int) -> Receipt | None:
    """Of a slot's receipts, oldest first, the latest by which one of its units ended well."""
    for receipt in reversed(receipts):
        if receipt.end_of(number).outcome in GOOD_OUTCOMES:
            return receipt
    return None


def _why_nothing(family: Family, slot: int, number: int, receipts: Sequence[Receipt]) -> str:
    if receipts:
        end = receipts[-1].end_of(number)
        return f"no attempt finished; the last ended {end.outcome}: {end.error}"
    begun = any(own in member.attempts for member, own in family.places(slot))
    return "no attempt finished; one started and left no receipt" if begun else "no attempt has started"


def _why_no_data(receipt: Receipt, number: int) -> str:
    if not receipt.tells_units:
        return f"unit {number} of its slot has no products"
    return "; ".join(note.text for note in receipt.notes_of(number)) or "nothing was found"
