"""A run that has ended, in a message a person reads on a telephone; pure."""

from __future__ import annotations

from collections import defaultdict

from glacierflow.runs.status import RunStatus

__all__ = ["summary_message"]

_MAX_SUBJECT = 100
"""Characters SNS takes, all of them ASCII."""
_MOST_NAMED = 5


def summary_message(status: RunStatus) -> tuple[str, str]:
    """Subject and text: what became of the run, what went wrong and what to do next."""
    wrong = len(status.wrong)
    verdict = f"{wrong} of {len(status.rows)} units went wrong" if wrong else "all is well"
    subject = f"glacierflow: {verdict}: {status.run_id}"
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in status.outcomes.items())
    lines = [
        f"run {status.run_id}",
        *(f"  with its retry {retry}" for retry in status.retries),
        f"{len(status.rows)} units: {outcomes or 'none started'}",
        f"{status.products} products in {status.attempts} attempts, {status.reclaims} of them reclaimed",
        f"records {status.store}/runs/{status.run_id}/",
    ]
    groups = defaultdict(list)
    for row in status.wrong:
        groups[row.failure or "unknown"].append(row)
    for failure, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        named = ", ".join("+".join(row.regions) for row in rows[:_MOST_NAMED])
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        lines.append(f"{len(rows)} {failure}: {named}{more}: {rows[0].reason}")
    if wrong:
        lines.append(f"next: glacierflow batch retry {status.run_id} --dry-run")
    return subject.encode("ascii", "replace").decode()[:_MAX_SUBJECT], "\n".join(lines)
