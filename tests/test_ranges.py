"""s3:// ranges: where they are asked for, and with which credentials. Faults are in test_range_faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from range_faults import FaultyServer

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery.ranges import Ranges, _s3_url
from glacierflow.model.records import StepSettings

BODY = bytes(range(200))


@pytest.fixture
def bucket() -> Iterator[FaultyServer]:
    server = FaultyServer({"usgs-landsat/a%20b/c.TIF": BODY}, lambda _n, _f: None)
    yield server
    server.close()


def test_a_paid_range_is_signed_with_the_keys_of_the_moment(
    bucket: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    ranges = Ranges(Cloud(), StepSettings(imagery_s3_endpoint=bucket.url))
    data, version = ranges.fetch("s3://usgs-landsat/a b/c.TIF", 10, 20, requester_pays=True)
    assert data == BODY[10:30]
    assert version.size == 200
    (headers,) = bucket.headers
    assert headers["x-amz-request-payer"] == "requester"
    assert headers["X-Amz-Security-Token"] == "token"
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=KEY/")
    # what decides the cost and the bytes is under the signature
    assert {"host", "range", "x-amz-request-payer"} <= set(
        headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    )


def test_a_public_bucket_is_read_without_credentials(
    bucket: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    ranges = Ranges(Cloud(), StepSettings(imagery_s3_endpoint=bucket.url))
    assert ranges.fetch("s3://usgs-landsat/a b/c.TIF", 0, 300)[0] == BODY
    assert "Authorization" not in bucket.headers[0]


@pytest.mark.parametrize(
    ("href", "endpoint", "url"),
    [
        ("s3://b/k/a.tif", None, "https://b.s3.us-west-2.amazonaws.com/k/a.tif"),
        ("s3://b.c/k/a.tif", None, "https://s3.us-west-2.amazonaws.com/b.c/k/a.tif"),
        ("s3://b/k/a.tif", "http://127.0.0.1:9/", "http://127.0.0.1:9/b/k/a.tif"),
        ("s3://b/k+1/ä.tif", None, "https://b.s3.us-west-2.amazonaws.com/k%2B1/%C3%A4.tif"),
    ],
)
def test_where_a_bucket_answers(href: str, endpoint: str | None, url: str) -> None:
    assert _s3_url(href, endpoint, "us-west-2") == url


def test_a_file_on_disk_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(BODY)
    ranges = Ranges(Cloud(), StepSettings())
    data, version = ranges.fetch(f"file://{tmp_path}/a.tif", 190, 20)
    assert data == BODY[190:]
    assert (version.size, ranges.bytes_read, ranges.requests) == (200, 10, 1)
    with pytest.raises(DataError, match=r"gone\.tif could not be read: No such file"):
        ranges.fetch(str(tmp_path / "gone.tif"), 0, 10)
