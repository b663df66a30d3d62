"""The scheduler's surroundings: settings of the bucket under its environment, names of its own stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from glacierflow.cloud import Cloud
from glacierflow.errors import SettingsError, UsageError
from glacierflow.functions.scheduler.planning import open_office
from glacierflow.local.control import Endpoint
from glacierflow.sync.push import AWS_CONFIG, CONFIG, PREFIX

pytestmark = pytest.mark.embedded

BUCKET = "scheduler-office"


@pytest.fixture
def cloud(cloud_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    monkeypatch.setenv("GLACIERFLOW_EMBEDDED", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud_endpoint.url)
    monkeypatch.setenv("GLACIERFLOW_S3_BUCKET", BUCKET)
    monkeypatch.chdir(tmp_path)
    cloud = Cloud(endpoint_url=cloud_endpoint.url, embedded=True)
    where = {"LocationConstraint": "us-west-2"}
    names = {one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]}
    if BUCKET not in names:
        cloud.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    return cloud


def test_both_files_of_the_bucket_count_and_the_environment_wins(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_office().loaded.settings.batch.owner is None
    files = {
        CONFIG: "[FLAGS]\nlog_name = theirs.log\n",
        AWS_CONFIG: "[BATCH]\nowner = theirs\nstack = theirs\njob_queue = theirs\n"
        "[STORAGE]\ns3_bucket = theirs\n",
    }
    for name, text in files.items():
        cloud.client("s3").put_object(Bucket=BUCKET, Key=f"{PREFIX}{name}", Body=text.encode())
    monkeypatch.setenv("GLACIERFLOW_STACK", "mine")
    office = open_office()
    batch, source = office.loaded.settings.batch, office.loaded.source
    assert (batch.owner, batch.job_queue, batch.stack) == ("theirs", "theirs", "mine")
    assert (office.places.bucket, office.places.spot_queue) == (BUCKET, "theirs")
    assert office.loaded.origins["BATCH.owner"] == f"s3://{BUCKET}/{PREFIX}{AWS_CONFIG}"
    assert source is not None
    assert source.uri == f"s3://{BUCKET}/{PREFIX}{CONFIG}"


def test_without_a_bucket_it_says_what_deploys_it(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLACIERFLOW_S3_BUCKET")
    with pytest.raises(UsageError, match="GLACIERFLOW_S3_BUCKET is not set"):
        open_office()


def test_what_an_event_says_wrong_is_refused_in_the_events_name(cloud: Cloud) -> None:
    with pytest.raises(SettingsError, match=r"the event: \[DATES\] date1 = yesterday is refused"):
        open_office({"DATES.date1": "yesterday"})
