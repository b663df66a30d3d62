"""The range for the end of a run, and failures grouped, by hand computed cases."""

from __future__ import annotations

from typing import Any

import pytest
from runs_samples import some_row as row
from runs_samples import status_of as status

from glacierflow.runs.progress import estimate_end, group_failures
from glacierflow.runs.status import SlotRow

DONE = [row(slot, "SUCCEEDED", seconds=seconds) for slot, seconds in enumerate((100.0, 200.0, 300.0))]


def test_left_work_is_shared_by_what_runs() -> None:
    # quartiles of 100, 200, 300 are 150 and 250; two run, one of them for 50 s; four wait
    left = [
        row(3, "RUNNING", seconds=50.0),
        row(4, "STARTING"),
        *[row(slot, "RUNNABLE") for slot in range(5, 9)],
    ]
    eta = estimate_end(status(*DONE, *left))
    assert eta.low_s == (100 + 150 + 4 * 150) / 2
    assert eta.high_s == (200 + 250 + 4 * 250) / 2
    assert eta.basis == "3 ended children of the same class, 2 running"


def test_the_last_child_may_take_as_long_as_any_did() -> None:
    many = [row(slot, "RUNNING", seconds=0.0) for slot in range(3, 13)]
    assert estimate_end(status(*DONE, *many)).high_s == 300


def test_another_class_tells_nothing() -> None:
    eta = estimate_end(status(*DONE, row(3, "RUNNING", memory_mib=31500)))
    assert (eta.low_s, eta.high_s) == (None, None)
    assert eta.basis == "fewer than 3 children of the 31500 MiB class have ended"


def test_children_that_ended_and_were_not_read_are_not_called_too_few() -> None:
    unread = [row(slot, "SUCCEEDED", read=False) for slot in range(900)]
    eta = estimate_end(status(*unread, row(900, "RUNNING"), row(901, "RUNNING", memory_mib=31500)))
    assert eta.basis == "fewer than 3 children of the 31500 MiB class have ended"
    assert estimate_end(status(*unread, row(900, "RUNNING"))).basis == (
        "the receipts of the children of the 7500 MiB class that have ended are not read yet: --receipts"
    )


def test_failed_children_do_not_shorten_the_estimate() -> None:
    failed = [row(slot, "FAILED", seconds=1.0, wrong=True) for slot in range(3)]
    assert estimate_end(status(*failed, row(3, "RUNNING"))).low_s is None


def test_nothing_running_gives_no_range_and_an_ended_run_none_to_wait_for() -> None:
    assert estimate_end(status(*DONE, row(3, "RUNNABLE"))).basis == "nothing runs at the moment"
    assert estimate_end(status(*DONE)).high_s == 0.0


def failed(slot: int, failure: str, reason: str, **fields: Any) -> SlotRow:
    facts = {"failure": failure, "reason": reason, "next_step": "do it", "wrong": True} | fields
    return row(slot, "FAILED", **facts)


def test_thirty_seven_failures_are_three_signatures() -> None:
    rows = [failed(slot, "oom", f"it ran out of memory at {slot} MB") for slot in range(30)]
    rows += [failed(slot, "spot", f"Host EC2 (instance i-{slot:017x}) terminated") for slot in range(30, 36)]
    rows += [failed(36, "data", "band 8 of S2A_MSIL2A_20240715T150921 is not a TIFF"), row(37, "SUCCEEDED")]
    groups = group_failures(rows)
    assert [(group.failure, len(group.slots)) for group in groups] == [("oom", 30), ("spot", 6), ("data", 1)]
    assert (groups[1].slot, groups[1].region) == (30, "030_made_up")
    assert groups[1].example == "Host EC2 (instance i-0000000000000001e) terminated"


def test_what_is_only_partial_or_stuck_comes_after_what_is_wrong() -> None:
    partial = [failed(slot, "data", "1 of 3", wrong=False) for slot in range(5)]
    groups = group_failures([*partial, failed(9, "bug", "KeyError")])
    assert [(group.failure, group.wrong) for group in groups] == [("bug", True), ("data", False)]


def test_the_example_is_one_that_left_a_receipt() -> None:
    groups = group_failures([failed(1, "data", "x"), failed(2, "data", "x", outcome="failed")])
    assert groups[0].slot == 2


@pytest.mark.parametrize("failure", ["spot", "oom"])
def test_the_same_words_of_another_class_are_another_group(failure: str) -> None:
    assert len(group_failures([failed(1, failure, "x"), failed(2, "bug", "x")])) == 2
