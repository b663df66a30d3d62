"""An attempt in short, and how it travels in the name of an object: one LIST shows a thousand of them.

A receipt is an object of its own, so that reading those of ten thousand children takes as many calls. A child
therefore leaves two empty objects beside them, when it starts and when it has ended, whose names hold all
that a look at a run needs. Each is written once by one attempt, after the record that it repeats: nobody has
to put them together, none can be lost in a race, and where one is missing the record itself is read.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import zlib
from collections import Counter

from pydantic import Field, ValidationError

from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import BatchPlace, Counts, Machine, Outcome, Receipt, Started
from glacierflow.model.records import Record

_LONGEST_KEY = 1024
"""Bytes of a key in S3 (Amazon S3 user guide, object keys)."""

_VERSION = "1"
"""First character of what follows; another dictionary below is another version."""

_LARGEST = 1 << 16
"""Bytes of an entry as JSON, some sixty times of what any has."""

_DICTIONARY = (
    b'"notes":["no items in the search: found between -01-01 and -12-31"],"left_out":{"duplicate":1,'
    b'"older_baseline":1,"low_coverage":1,"low_overlap":1,"unreadable":1},"error":" acquisitions could '
    b"not be read: a bug in glacierflow: the service did not answer: https://sentinel-cogs.s3.us-west-2.amazonaws.com/"
    b'sentinel-s2-l2a-cogs/ s3://usgs-landsat/collection02/level-1/standard/oli-tirs/ .tif",'
    b'"product_bytes":1,"machine":{"instance_id":"i-0","instance_type":"c7i.m7i.r7i.m6i.2xlarge","zone":"us-west-2a",'
    b'"lifecycle":"on-demand","launch_type":"LAMBDA","launch_type":"FARGATE","lifecycle":"spot",'
    b'"launch_type":"EC2","vcpus":2.0,"memory_mib":7500.0,"image_digest":"sha256:",'
    b'"log_group":"/aws/batch/job","log_stream":"glacierflow-7500/default/"},"exit_code":0,'
    b'"counts":{"found":1,"kept":1,"written":1,"skipped":1,"failed":1},"seconds":{"search":1.0,"read":1.0,'
    b'"warp":1.0,"write":1.0},"bytes_read":1,"peak_memory_mb":1.0}{"started_at":"2026-01-01T00:00:00.000000Z",'
    b'"ended_at":"2026-","host":"ip-10-0-0-0.us-west-2.compute.internal","code_version":"0.1.0",'
    b'"image_digest":"sha256:","batch":{"job_id":"","job_queue":"glacierflow-spot",'
    b'"compute_environment":"arn:aws:batch:us-west-2::compute-environment/glacierflow-","attempt":1},'
)
"""What most entries say: with it one takes a third of the room."""


class AttemptEntry(Record):
    """One attempt: its receipt without the lists, or only its start where it left none."""

    slot: int
    attempt: int
    outcome: Outcome | None = None
    started_at: dt.datetime
    ended_at: dt.datetime | None = None
    host: str
    code_version: str
    image_digest: str | None = None
    batch: BatchPlace = Field(default_factory=BatchPlace)
    machine: Machine | None = None
    exit_code: int | None = None
    counts: Counts = Field(default_factory=Counts)
    left_out: dict[str, int] = Field(default_factory=dict)
    """Scenes left out, by the code of the reason."""
    error: str | None = None
    sent_on: bool = False
    notes: tuple[str, ...] = ()
    """What concerns the units as a whole, such as why one has no images."""
    product_bytes: int = 0
    """Of the products it wrote."""
    seconds: dict[str, float] = Field(default_factory=dict)
    bytes_read: int = 0
    peak_memory_mb: float = 0.0

    @classmethod
    def of(cls, record: Started) -> AttemptEntry:
        """The entry of a receipt, or of a start."""
        kept = {name: getattr(record, name) for name in _KEPT_OF_START}
        if not isinstance(record, Receipt):
            return cls.model_construct(**kept)
        kept |= {name: getattr(record, name) for name in _KEPT_OF_RECEIPT}
        return cls.model_construct(
            **kept,
            left_out=dict(Counter(entry.code for entry in record.left_out)),
            notes=tuple(note.text for note in record.notes),
            product_bytes=sum(product.size for product in record.products),
        )


_KEPT_OF_START = ("slot", "attempt", "started_at", "host", "code_version", "image_digest", "batch", "machine")
_KEPT_OF_RECEIPT = (
    "outcome",
    "ended_at",
    "exit_code",
    "counts",
    "error",
    "sent_on",
    "seconds",
    "bytes_read",
    "peak_memory_mb",
)


def name_of_entry(run: RunLayout, entry: AttemptEntry) -> str | None:
    """The key that tells an entry; None where it says more than a key can hold."""
    told = entry.model_dump_json(exclude_defaults=True, exclude=_IN_THE_KEY)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_DICTIONARY)
    packed = packer.compress(told.encode()) + packer.flush()
    text = _VERSION + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
    key = run.told(entry.slot, entry.attempt, entry.outcome, entry.ended_at or entry.started_at, text)
    return key if len(key.encode()) <= _LONGEST_KEY else None


def entry_of_name(key: str) -> AttemptEntry | None:
    """The inverse; None for a name of another version, or of anything else."""
    found = RunLayout.parse_told(key)
    if found is None or not found.text.startswith(_VERSION):
        return None
    packed = found.text[len(_VERSION) :]
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_DICTIONARY)
    try:
        told = unpacker.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), _LARGEST)
        facts = json.loads(told) if unpacker.eof else None
        if not isinstance(facts, dict):
            return None
        outcome = None if found.outcome == "started" else found.outcome
        own = {"slot": found.slot, "attempt": found.attempt, "outcome": outcome}
        return AttemptEntry.model_validate_json(json.dumps(facts | own))
    except (binascii.Error, zlib.error, ValueError, ValidationError):
        return None


_IN_THE_KEY = {"slot", "attempt", "outcome"}
