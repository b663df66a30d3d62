"""One real client whose answers are given beforehand; botocore checks that AWS could answer so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber

from glacierflow.cloud import Cloud


@contextmanager
def stubbed(monkeypatch: pytest.MonkeyPatch, service: str) -> Iterator[Stubber]:
    """Every cloud hands out this client; at the end, all that was to be asked was asked."""
    client: Any = get_session().create_client(
        service, region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x"
    )
    monkeypatch.setattr(Cloud, "client", lambda _self, service: client)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()
