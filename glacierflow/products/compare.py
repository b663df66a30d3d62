"""How the pixels of two trees differ, product by product."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from glacierflow.errors import DataError
from glacierflow.host import cpu_count
from glacierflow.model.records import Record
from glacierflow.products.inspect import open_image, profile_of, strips
from glacierflow.products.tree import Product, Tree

EXIT_SAME, EXIT_DIFFERENT, EXIT_UNCHECKED = 0, 1, 2

State = Literal["identical", "close", "different", "grid", "damaged", "only_a", "only_b"]
STATES: tuple[State, ...] = ("identical", "close", "different", "grid", "damaged", "only_a", "only_b")
_GOOD = {"identical", "close"}


class Difference(Record):
    """Two products of one acquisition, or one that the other tree lacks."""

    satellite: str
    region: str
    acquisition: str
    state: State
    """``close``: nowhere further apart than the tolerance, and valid in the same places."""
    keys: tuple[str, ...]
    pixels: int = 0
    """Pixels that are valid in both."""
    identical_share: float = 0.0
    """Share of these that are equal."""
    within_1_share: float = 0.0
    """Share of these at most 1 DN apart."""
    largest: int = 0
    """Largest difference between them, DN."""
    rms: float = 0.0
    """Root of the mean squared difference, DN."""
    only_one_valid: int = 0
    """Pixels that are nodata in one of the two alone."""
    reason: str | None = None
    """Why they were not compared."""


class Comparison(Record):
    """Two trees."""

    a: str
    b: str
    tolerance: int
    differences: tuple[Difference, ...]
    """One for each acquisition of either tree, the identical ones too."""

    @property
    def states(self) -> dict[str, int]:
        """How many acquisitions are in each state."""
        found = [difference.state for difference in self.differences]
        return {state: found.count(state) for state in STATES if state in found}

    @property
    def has_pairs(self) -> bool:
        """Whether any acquisition has an image in both trees."""
        return bool(self.states.keys() - {"only_a", "only_b"})

    @property
    def exit_code(self) -> int:
        """0: the same; 1: something differs; 2: no image is in both, or a file could not be read."""
        states = set(self.states)
        if not self.has_pairs:
            return EXIT_UNCHECKED
        if states - _GOOD - {"damaged"}:
            return EXIT_DIFFERENT
        return EXIT_UNCHECKED if "damaged" in states else EXIT_SAME


def compare_trees(
    a: Tree, b: Tree, *, tolerance: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Compare the products of two trees, matched by satellite, region and acquisition.

    File names, folder structures, processing baselines and compression may differ.

    Args:
        a: one tree.
        b: the other.
        tolerance: largest difference, in DN, that still counts as the same.
        on_progress: called with (acquisitions done, acquisitions in all).
    """
    in_a, in_b = _by_acquisition(a), _by_acquisition(b)
    names = sorted(in_a.keys() | in_b.keys())

    def look(name: tuple[str, str, str]) -> Difference:
        return _compare(a, in_a.get(name), b, in_b.get(name), name, tolerance)

    found: list[Difference] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(2 * cpu_count()) as pool:
        warnings.simplefilter("ignore")  # rasterio's: a file without a grid is told as a difference
        for number, difference in enumerate(pool.map(look, names), start=1):
            found.append(difference)
            if on_progress is not None:
                on_progress(number, len(names))
    return Comparison(a=a.where, b=b.where, tolerance=tolerance, differences=tuple(found))


def _by_acquisition(tree: Tree) -> dict[tuple[str, str, str], Product]:
    """Of two files of one acquisition the last, which has the newest baseline."""
    return {
        (product.place.satellite, product.place.region, product.place.acquisition): product
        for product in tree.products
    }


def _compare(
    a: Tree,
    product_a: Product | None,
    b: Tree,
    product_b: Product | None,
    name: tuple[str, str, str],
    tolerance: int,
) -> Difference:
    satellite, region, acquisition = name
    keys = tuple(product.entry.key for product in (product_a, product_b) if product is not None)
    facts: dict[str, Any] = {
        "satellite": satellite,
        "region": region,
        "acquisition": acquisition,
        "keys": keys,
    }
    if product_a is None or product_b is None:
        return Difference(**facts, state="only_b" if product_a is None else "only_a")
    try:
        with open_image(a.store, product_a.entry) as one, open_image(b.store, product_b.entry) as other:
            grids = [(image.epsg, image.shape, image.bounds) for image in map(profile_of, (one, other))]
            if grids[0] != grids[1]:
                return Difference(**facts, state="grid", reason=f"{grids[0]} against {grids[1]}")
            return Difference(**facts, **_differ(zip(strips(one), strips(other), strict=True), tolerance))
    except DataError as error:
        return Difference(**facts, state="damaged", reason=error.message)


def _differ(pairs: Iterator[tuple[Any, Any]], tolerance: int) -> dict[str, Any]:
    pixels = identical = within_1 = largest = only_one = 0
    squares = 0.0
    for one, other in pairs:
        both = (one != 0) & (other != 0)
        only_one += int(np.count_nonzero((one != 0) != (other != 0)))
        apart = np.abs(one[both].astype(np.int64) - other[both].astype(np.int64))
        pixels += apart.size
        identical += int(np.count_nonzero(apart == 0))
        within_1 += int(np.count_nonzero(apart <= 1))
        largest = max(largest, int(apart.max(initial=0)))
        squares += float(np.square(apart, dtype=np.float64).sum())
    state: State = "different"
    if only_one == 0 and largest <= tolerance:
        state = "identical" if identical == pixels else "close"
    return {
        "state": state,
        "pixels": pixels,
        "identical_share": identical / pixels if pixels else 1.0,
        "within_1_share": within_1 / pixels if pixels else 1.0,
        "largest": largest,
        "rms": (squares / pixels) ** 0.5 if pixels else 0.0,
        "only_one_valid": only_one,
    }
