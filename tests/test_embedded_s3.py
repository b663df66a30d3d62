"""S3 of the embedded cloud: ranges, requester-pays, conditional and multipart writes, mounted archives."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from botocore.exceptions import ClientError
from embedded import REGION, BatchBench

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.local import control
from glacierflow.store import S3Store

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

pytestmark = pytest.mark.embedded

BUCKET = "greenland-glacier-data"
PAYER = {"RequestPayer": "requester"}
DATA = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def s3(cloud_endpoint: Endpoint) -> Any:
    return BatchBench(cloud_endpoint.url).s3


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        pytest.param("bytes=10-19", 10, 20, id="inside"),
        pytest.param("bytes=1000-", 1000, 1024, id="open-end"),
        pytest.param("bytes=-24", 1000, 1024, id="suffix"),
        pytest.param("bytes=1020-5000", 1020, 1024, id="beyond-end"),
        pytest.param("bytes=0-1023", 0, 1024, id="all"),
    ],
)
def test_ranges(s3: Any, asked: str, start: int, stop: int) -> None:
    s3.put_object(Bucket=BUCKET, Key="ranges", Body=DATA)
    answer = s3.get_object(Bucket=BUCKET, Key="ranges", Range=asked)
    assert answer["Body"].read() == DATA[start:stop]
    assert answer["ContentRange"] == f"bytes {start}-{stop - 1}/1024"
    assert answer["ContentLength"] == stop - start
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_beyond_the_object_is_refused(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="short", Body=b"abc")
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=BUCKET, Key="short", Range="bytes=10-12")
    assert refused.value.response["Error"]["Code"] == "InvalidRange"
    assert s3.get_object(Bucket=BUCKET, Key="short")["Body"].read() == b"abc"


def test_an_empty_object_has_no_head(s3: Any, cloud_endpoint: Endpoint) -> None:
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    store = S3Store(BUCKET, Cloud(endpoint_url=cloud_endpoint.url, embedded=True))
    assert store.get_head("empty", 100) is None
    assert store.get("empty") == b""


def test_overwriting_copying_and_deleting(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/1", Body=b"old")
    s3.put_object(Bucket=BUCKET, Key="a/1", Body=b"new")
    s3.copy_object(Bucket=BUCKET, Key="a/2", CopySource={"Bucket": BUCKET, "Key": "a/1"})
    s3.delete_object(Bucket=BUCKET, Key="a/1")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="a/")["Contents"]
    assert [(one["Key"], one["Size"]) for one in listed] == [("a/2", 3)]
    assert s3.get_object(Bucket=BUCKET, Key="a/2")["Body"].read() == b"new"


def test_versions_keep_their_bytes(s3: Any) -> None:
    s3.create_bucket(Bucket="versions", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="versions", Key="k", Body=b"one")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="versions", Key="k", Body=b"two")
    versions = s3.list_object_versions(Bucket="versions")["Versions"]
    bodies = {
        s3.get_object(Bucket="versions", Key="k", VersionId=one["VersionId"])["Body"].read()
        for one in versions
    }
    assert bodies == {b"one", b"two"}


def test_a_conditional_put_does_not_replace(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=BUCKET, Key="once", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert s3.get_object(Bucket=BUCKET, Key="once")["Body"].read() == b"first"


def test_multipart(s3: Any) -> None:
    body = b"x" * (9 << 20)
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "large")
    head = s3.head_object(Bucket=BUCKET, Key="large")
    assert head["ContentLength"] == len(body)
    assert head["ETag"].endswith('-2"')
    target = io.BytesIO()
    s3.download_fileobj(BUCKET, "large", target)
    assert target.getvalue() == body


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, cloud_endpoint: Endpoint) -> Path:
    directory = tmp_path_factory.mktemp("archive")
    (directory / "scene.tif").write_bytes(DATA)
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "scene",
        "collection": "landsat-c2l1",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-07-01T00:00:00Z"},
        "links": [],
        "assets": {
            "pan": {"href": "scene.tif", "alternate": {"s3": {"href": "s3://usgs-landsat/c/scene.tif"}}}
        },
    }
    (directory / "scene.json").write_text(json.dumps(item))
    endpoint = control.up(Path(cloud_endpoint.home), archive=directory)
    assert endpoint.archive == str(directory.resolve())
    assert endpoint.pid == cloud_endpoint.pid
    return directory


@pytest.mark.usefixtures("archive")
def test_a_requester_pays_object_is_refused_without_the_header(s3: Any) -> None:
    for call, what in ((s3.get_object, {"Key": "c/scene.tif"}), (s3.list_objects_v2, {})):
        with pytest.raises(ClientError) as refused:
            call(Bucket="usgs-landsat", **what)
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError) as refused:
        s3.head_object(Bucket="usgs-landsat", Key="c/scene.tif")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.usefixtures("archive")
def test_an_archive_file_is_an_object_for_who_pays(s3: Any) -> None:
    where = {"Bucket": "usgs-landsat", "Key": "c/scene.tif"} | PAYER
    assert s3.head_object(**where)["ContentLength"] == len(DATA)
    whole = s3.get_object(**where)
    assert whole["ContentType"] == "image/tiff"
    assert whole["Body"].read() == DATA
    assert s3.get_object(**where, Range="bytes=5-9")["Body"].read() == DATA[5:10]
    listed = s3.list_objects_v2(Bucket="usgs-landsat", **PAYER)["Contents"]
    assert ("c/scene.tif", len(DATA)) in [(one["Key"], one["Size"]) for one in listed]


def test_deleting_a_mounted_object_leaves_the_archive_alone(s3: Any, archive: Path) -> None:
    s3.delete_object(Bucket="usgs-landsat", Key="c/scene.tif", **PAYER)
    assert (archive / "scene.tif").read_bytes() == DATA


def test_the_archive_is_served_over_http(archive: Path, cloud_endpoint: Endpoint) -> None:
    found = urllib3.request("GET", f"{cloud_endpoint.stac_url}/search?collections=landsat-c2l1").json()
    (item,) = [item for item in found["features"] if item["id"] == "scene"]
    href = item["assets"]["pan"]["href"]
    assert href.startswith(f"{cloud_endpoint.url}/archive/")
    part = urllib3.request("GET", href, headers={"Range": "bytes=0-3"})
    assert (part.status, part.data) == (206, DATA[:4])


def test_a_bucket_can_be_made_requester_pays(s3: Any) -> None:
    s3.create_bucket(Bucket="costly", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="costly", Key="k", Body=b"x")
    s3.put_bucket_request_payment(Bucket="costly", RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket="costly")["Payer"] == "Requester"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket="costly", Key="k")
    assert s3.get_object(Bucket="costly", Key="k", **PAYER)["Body"].read() == b"x"
    s3.put_bucket_request_payment(Bucket="costly", RequestPaymentConfiguration={"Payer": "BucketOwner"})
    assert s3.get_object(Bucket="costly", Key="k")["Body"].read() == b"x"


def test_something_that_is_no_archive_is_refused(cloud_endpoint: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no STAC item"):
        control.up(Path(cloud_endpoint.home), archive=tmp_path)
    with pytest.raises(UsageError, match="is not a directory"):
        control.up(Path(cloud_endpoint.home), archive=tmp_path / "missing")


@pytest.mark.parametrize("path", ["/v1/submitjob", "/stac/search", "/stac/", "/archive/0/x.tif"])
def test_web_pages_are_kept_out(cloud_endpoint: Endpoint, path: str) -> None:
    for headers in ({"Origin": "http://example.org"}, {"Host": "example.org"}):
        url = f"{cloud_endpoint.url}{path}"
        assert urllib3.request("POST", url, body=b"{}", headers=headers).status == 403


def test_a_small_object_whose_bytes_changed_is_as_good_as_none(cloud_endpoint: Endpoint) -> None:
    """So that a run makes it again: a range that holds all of it comes with the checksum of the put."""
    cloud = Cloud(region=REGION, endpoint_url=cloud_endpoint.url, embedded=True)
    store = S3Store(control.DEFAULT_BUCKET, cloud)
    data = uuid.uuid4().bytes * 50
    store.put("damaged/small", data)
    assert store.get_head("damaged/small", 4096) == data
    (path,) = [
        path
        for path in Path(cloud_endpoint.home).rglob("*")
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    ]
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert store.get_head("damaged/small", 4096) is None
