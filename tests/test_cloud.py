"""One boto3 session a cloud and one client a service: what is asked for, fetched and made is counted."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

MFA = """
[profile lab]
role_arn = arn:aws:iam::123456789012:role/scientist
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/scientist
"""
KEYS = "[base]\naws_access_key_id = embedded\naws_secret_access_key = embedded\n"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each boto3 session was made with."""
    made: list[dict[str, Any]] = []
    real = boto3.Session

    def counted(**options: Any) -> boto3.Session:
        made.append(options)
        return real(**options)

    monkeypatch.setattr(boto3, "Session", counted)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    return made


def test_an_mfa_profile_asks_for_one_code(cloud_endpoint: Endpoint, tmp_path: Path) -> None:
    """``doctor`` speaks to eight services; without a terminal the code is asked on standard error."""
    (tmp_path / "config").write_text(MFA)
    (tmp_path / "credentials").write_text(KEYS)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_ENDPOINT_URL": cloud_endpoint.url,
    }
    nobody = "http://127.0.0.1:9"
    environ |= {"GLACIERFLOW_SENTINEL2_STAC_URL": nobody, "GLACIERFLOW_LANDSAT_STAC_URL": nobody}
    program = Path(sys.executable).with_name("glacierflow")
    command = [str(program), "doctor", "--profile", "lab", "--s3-bucket", "made-up", "--json"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ,
        input="123456\n" * 40,
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert done.stdout, done.stderr
    findings = json.loads(done.stdout)
    assert len(findings) > 5, done.stderr
    assert done.stderr.count("Enter MFA code") == 1


def test_a_session_and_each_client_are_made_once(sessions: list[dict[str, Any]]) -> None:
    cloud = Cloud(region="us-west-2")
    assert cloud.client("s3") is Cloud(region="us-west-2").client("s3")
    assert cloud.client("batch") is not cloud.client("s3")
    assert replace(cloud, retries=0).client("batch") is not cloud.client("batch")
    assert cloud.imagery_session(None) is cloud.imagery_session("http://127.0.0.1:9") is cloud.session()
    assert len(sessions) == 1
    assert Cloud(region="eu-central-1").client("s3").meta.region_name == "eu-central-1"
    assert len(sessions) == 2


def test_threads_that_come_at_once_get_the_same(sessions: list[dict[str, Any]]) -> None:
    together = threading.Barrier(8)

    def ask(number: int) -> Any:
        together.wait(30)
        return Cloud().client(("s3", "batch")[number % 2])

    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(ask, range(8)))
    assert len({id(client) for client in clients}) == 2
    assert len(sessions) == 1


def test_other_credentials_in_the_environment_are_another_session(
    sessions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Cloud().session()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    after = Cloud().session()
    credentials = after.get_credentials()
    assert credentials is not None
    assert (after is before, credentials.access_key, len(sessions)) == (False, "another", 2)


def test_a_cloud_stays_a_plain_value_for_workers(sessions: list[dict[str, Any]]) -> None:
    cloud = Cloud()
    cloud.client("s3")
    there = pickle.loads(pickle.dumps(cloud))  # noqa: S301 - our own bytes
    assert (there, hash(there)) == (cloud, hash(cloud))
    assert there.client("s3") is cloud.client("s3")
    assert len(sessions) == 1


def test_the_owners_keys_are_for_images_alone(
    sessions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIERFLOW_IMAGERY_AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("GLACIERFLOW_IMAGERY_AWS_SECRET_ACCESS_KEY", "owner")
    child = Cloud(embedded=True)
    assert child.imagery_credentials(None).access_key == "owner"
    assert child.imagery_credentials("http://127.0.0.1:9").access_key == "embedded"
    assert child.imagery_session(None) is child.imagery_session(None)


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialsError, match=r"aws_profile = lab is not in your AWS configuration"):
        Cloud(profile="lab").client("s3")
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(CredentialsError, match=r"AWS_PROFILE = other is not in your AWS configuration"):
        Cloud().session()
