"""What an attempt tells by a name: all of it comes back, and no name is longer than S3 and a disk allow."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_samples import NOW, make_receipt, make_started, some_manifest

from glacierflow.model.attempts import AttemptEntry, entry_of_name, name_of_entry
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import OUTCOMES, BatchPlace, Counts, Machine, Receipt
from glacierflow.model.records import Note

MANIFEST = some_manifest(5)
RUN = RunLayout(MANIFEST.run_id)
DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TRUE_TO_LIFE = {
    "host": "ip-10-0-123-45.us-west-2.compute.internal",
    "image_digest": DIGEST,
    "batch": BatchPlace(
        job_id="8f3b2c1d-9a77-4c1e-b1c5-0f5c9a1d2e3f:4711",
        job_queue="glacierflow-spot",
        compute_environment="arn:aws:batch:us-west-2:123456789012:compute-environment/glacierflow-spot-3",
        attempt=2,
    ),
    "machine": Machine(
        instance_id="i-0abc1234def567890",
        instance_type="m6i.2xlarge",
        zone="us-west-2c",
        lifecycle="spot",
        launch_type="EC2",
        vcpus=2.0,
        memory_mib=7500.0,
        image_digest=DIGEST,
        log_group="/glacierflow/batch",
        log_stream="glacierflow-7500/default/3f2504e04f8941d39a0c0305e82c3301",
    ),
}


def some_receipt(**fields: object) -> Receipt:
    receipt = make_receipt(MANIFEST, 3, "partial", 2, ended_at=NOW + dt.timedelta(seconds=412.123456))
    return receipt.model_copy(update={**TRUE_TO_LIFE, **fields})


def test_a_receipt_of_a_real_child_fits_with_a_long_sentence_and_comes_back_whole() -> None:
    sentence = (
        "1 of 312 acquisitions could not be read: https://sentinel-cogs.s3.us-west-2.amazonaws.com/"
        "sentinel-s2-l2a-cogs/22/W/EV/2024/7/S2B_22WEV_20240711_0_L2A/B08.tif: tile 12 of 144 does not "
        "decode: the bytes from 1048576 to 1310720 are not a DEFLATE stream (invalid distance too far back)"
    )
    entry = AttemptEntry.of(
        some_receipt(
            error=sentence,
            counts=Counts(found=523, kept=312, written=250, skipped=61, failed=1),
            seconds={"search": 3.123, "read": 201.123, "warp": 100.123, "write": 55.321},
            bytes_read=5123456789,
            peak_memory_mb=1234.5,
        )
    )
    name = name_of_entry(RUN, entry)
    assert name is not None
    assert entry_of_name(name) == entry
    assert max(len(part) for part in name.split("/")) <= 200


def test_a_start_is_told_too_and_apart_from_the_ends() -> None:
    entry = AttemptEntry.of(make_started(MANIFEST, 4, 7).model_copy(update=TRUE_TO_LIFE))
    name = name_of_entry(RUN, entry)
    assert name is not None
    assert name.startswith(RUN.told_prefix(ended=False))
    assert entry_of_name(name) == entry


def test_names_are_in_order_of_time_and_the_same_for_the_same_attempt() -> None:
    entries = [
        AttemptEntry.of(make_receipt(MANIFEST, slot, ended_at=NOW + dt.timedelta(milliseconds=later)))
        for slot, later in ((4, 0), (1, 5), (0, 1200), (3, 86_400_000))
    ]
    names = [name_of_entry(RUN, entry) for entry in entries]
    assert names == sorted(str(name) for name in names)
    assert names == [name_of_entry(RUN, entry) for entry in entries]


@given(
    outcome=st.sampled_from(OUTCOMES),
    error=st.none() | st.text(max_size=2_000),
    notes=st.lists(st.text(max_size=200), max_size=5),
    counts=st.tuples(*[st.integers(0, 10**6)] * 5),
)
def test_whatever_fits_comes_back_as_it_was_and_nothing_is_longer_than_a_key(
    outcome: str, error: str | None, notes: list[str], counts: tuple[int, ...]
) -> None:
    fields = dict(zip(("found", "kept", "written", "skipped", "failed"), counts, strict=True))
    receipt = make_receipt(MANIFEST, 1, outcome, 3, error=error, counts=Counts(**fields))
    texts = tuple(Note(code="x", text=text) for text in notes)
    entry = AttemptEntry.of(receipt.model_copy(update={"notes": texts}))
    name = name_of_entry(RUN, entry)
    assert name is None or (len(name.encode()) <= 1024 and entry_of_name(name) == entry)


def test_what_is_too_long_for_a_key_is_left_to_the_receipt() -> None:
    noise = "".join(chr(33 + number * 7919 % 89) for number in range(3_000))
    entry = AttemptEntry.of(make_receipt(MANIFEST, 0, "failed", error=noise[::3] + noise[1::3]))
    many = entry.model_copy(update={"notes": tuple(f"{number:x} {number**9}" for number in range(200))})
    assert name_of_entry(RUN, many) is None


@pytest.mark.parametrize(
    "text", ["", "1", "1!!", "1AAAA", "2abc", "1S0ktLgEA", f"1{'A' * 900}", "1q1YqLU4tAgA="]
)
def test_a_name_that_nobody_of_us_wrote_tells_nothing(text: str) -> None:
    name = name_of_entry(RUN, AttemptEntry.of(some_receipt()))
    assert name is not None
    folder = f"{RUN.told_prefix(ended=True)}20240801T120005000Z/3.2.partial"
    assert name.split("/3.2.partial/")[0] != folder
    assert entry_of_name(f"{folder}/{text}") is None
    assert entry_of_name(RUN.receipt(3, 2, "partial")) is None
