"""An estimate as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glacierflow.runs.estimate import Estimate

__all__ = ["estimate_json", "estimate_lines"]


def estimate_lines(estimate: Estimate) -> list[str]:
    """What it costs on each service, what is in it, and what was assumed."""
    lines = [
        _basis(estimate),
        f"about {estimate.images:,} images, {estimate.read_gb:,.1f} GB read, {estimate.written_gb:,.1f} GB"
        f" written, {estimate.child_hours:,.1f} child hours, the longest child"
        f" {estimate.longest_minutes:,.0f} min",
        f"  {'':<24}{'compute':>12}{'disk, IPv4':>12}{'shared':>12}{'in all':>12}",
    ]
    for line in estimate.lines:
        note = f"  {line.note}" if line.note else ""
        lines.append(
            f"  {line.service:<24}{_usd(line.compute_usd)}{_usd(line.around_usd)}{_usd(estimate.shared_usd)}"
            f"{_usd(estimate.total_usd(line))}{note}"
        )
    lines += [
        f"  shared: S3 requests ${estimate.requests_usd:,.2f}, logs ${estimate.logs_usd:,.2f},"
        f" a year of S3 storage ${estimate.storage_year_usd:,.2f}, between regions"
        f" ${estimate.egress_usd:,.2f}",
        f"prices: {estimate.price_source}",
        "assumed:",
        *(f"  - {text}" for text in estimate.assumptions),
    ]
    return lines


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """The same for programs."""
    totals = {line.service: round(estimate.total_usd(line), 4) for line in estimate.lines}
    return {**estimate.model_dump(mode="json"), "total_usd": totals}


def _basis(estimate: Estimate) -> str:
    if estimate.price_basis_why is None:
        return f"spot prices: {estimate.price_basis}"
    return f"spot prices: {estimate.price_basis} ({estimate.price_basis_why})"


def _usd(value: float) -> str:
    return f"{'$' + format(value, ',.2f' if value >= 1 else '.4f'):>12}"
