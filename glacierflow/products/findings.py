"""What a check of products found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from glacierflow.model import Record

__all__ = ["CheckReport", "Finding"]

EXIT_FINE, EXIT_WRONG, EXIT_UNCHECKED = 0, 1, 2


class Finding(Record):
    """One thing that is wrong with a file, or that could not be checked."""

    key: str
    code: str
    """Short and stable, for counting: e.g. ``extent``."""
    reason: str
    """One sentence with the values in it."""


class CheckReport(Record):
    """What was found of a tree."""

    where: str
    products: int
    regions: int
    untagged: int
    """Products that carry none of glacierflow's tags: another program made them."""
    quick: bool
    """Only headers were read."""
    wrong: tuple[Finding, ...]
    unchecked: tuple[Finding, ...]

    def with_missing(self, keys: Iterable[str]) -> CheckReport:
        """The same, and these products that should be there and are not."""
        missing = [
            Finding(key=key, code="missing", reason="a receipt names it, and it is not there") for key in keys
        ]
        return self.model_copy(update={"wrong": (*self.wrong, *missing)})

    @property
    def exit_code(self) -> int:
        """1 where something is wrong; else 2 where something could not be checked; else 0."""
        if self.wrong:
            return EXIT_WRONG
        return EXIT_UNCHECKED if self.unchecked else EXIT_FINE

    @property
    def codes(self) -> dict[str, int]:
        """How often each thing is wrong, the most frequent first."""
        return dict(Counter(finding.code for finding in self.wrong).most_common())
