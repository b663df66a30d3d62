"""The one place that decides which cloud is spoken to: AWS itself, or an endpoint the user named.

Every boto3 client and every imagery session is made here, so that one run never mixes the two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from glacierflow.errors import CredentialsError

if TYPE_CHECKING:
    import boto3

__all__ = ["Cloud", "EMBEDDED_ACCESS_KEY", "cloud_of_child"]

EMBEDDED_ACCESS_KEY = "embedded"
"""Dummy access key and secret of the embedded cloud."""

_IMAGERY_PREFIX = "GLACIERFLOW_IMAGERY_"


@dataclass(frozen=True, slots=True)
class Cloud:
    """Which AWS a command talks to.

    ``endpoint_url`` None means AWS itself (or the user's own ``AWS_ENDPOINT_URL``, which boto3 honours).
    With ``embedded`` the dummy credentials are used and AWS_PROFILE is ignored.
    """

    region: str = "us-west-2"
    profile: str | None = None
    endpoint_url: str | None = None
    embedded: bool = False
    retries: int = 10
    """How often a call that failed or was throttled is repeated."""
    read_timeout_s: int = 60
    """How long an answer may take."""

    def session(self) -> boto3.Session:
        """A boto3 session with the credentials of this cloud."""
        if not self.embedded:
            import boto3

            return boto3.Session(region_name=self.region, profile_name=self.profile)
        return _embedded_session(self.region)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """A boto3 client; throttling is answered by adaptive retries.

        Raises:
            CredentialsError: the named profile does not exist.
        """
        from botocore.config import Config
        from botocore.exceptions import ProfileNotFound

        endpoint = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            retries={"mode": "adaptive", "max_attempts": self.retries},
            connect_timeout=10,
            read_timeout=self.read_timeout_s,
            max_pool_connections=32,
            s3={"addressing_style": "path"} if endpoint else None,
        )
        try:
            # Any: the service is a name here, and the stubs want a literal
            session: Any = self.session()
            with _one_at_a_time:
                return session.client(
                    service, region_name=self.region, endpoint_url=self.endpoint_url, config=config
                )
        except ProfileNotFound as error:
            raise CredentialsError(
                f"aws_profile = {self.profile} is not in your AWS configuration",
                next_step="run `aws configure list-profiles`, or set aws_profile in aws_config.ini",
            ) from error

    def imagery_session(self, s3_endpoint: str | None) -> boto3.Session:
        """The session for s3:// imagery, which may be elsewhere than the outputs.

        The embedded cloud hands a child its owner's real credentials as ``GLACIERFLOW_IMAGERY_AWS_*``, for
        real requester-pays imagery (``--live-imagery``).
        """
        import boto3

        if s3_endpoint is not None:
            return self.session()
        if f"{_IMAGERY_PREFIX}AWS_ACCESS_KEY_ID" in os.environ:
            return boto3.Session(
                region_name=self.region,
                aws_access_key_id=os.environ[f"{_IMAGERY_PREFIX}AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=os.environ.get(f"{_IMAGERY_PREFIX}AWS_SECRET_ACCESS_KEY"),
                aws_session_token=os.environ.get(f"{_IMAGERY_PREFIX}AWS_SESSION_TOKEN"),
            )
        if self.embedded:
            return boto3.Session(region_name=self.region, profile_name=self.profile)
        return self.session()

    def require_imagery_credentials(self, s3_endpoint: str | None) -> None:
        """Make sure requester-pays imagery can be asked for at all, before anything is searched.

        Raises:
            CredentialsError: there are no AWS credentials.
        """
        from botocore.exceptions import BotoCoreError

        try:
            credentials = self.imagery_session(s3_endpoint).get_credentials()
            key = credentials.access_key if credentials is not None else None
        except BotoCoreError as error:
            raise CredentialsError(
                f"the AWS credentials for Landsat's requester-pays pixels cannot be used: {error}",
                next_step="run `aws configure list-profiles`, or log in again",
            ) from error
        if key is None or (s3_endpoint is None and key == EMBEDDED_ACCESS_KEY):
            raise CredentialsError(
                "Landsat pixels are requester-pays and no AWS credentials were found",
                next_step="configure an AWS profile (`aws configure`), or add --local for the embedded cloud",
            )


def cloud_of_child(environ: Mapping[str, str]) -> Cloud:
    """The cloud a child runs in: its role's credentials, or the embedded cloud's."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-west-2"
    return Cloud(region=region, embedded=environ.get("GLACIERFLOW_EMBEDDED") == "1")


_one_at_a_time = threading.Lock()
"""A session may be shared by threads except while it makes a client."""


@lru_cache
def _embedded_session(region: str) -> boto3.Session:
    """One for all: reading the descriptions of services again for every client takes most of its time."""
    import boto3
    import botocore.session

    # A profile named in the environment must neither be needed nor be used here.
    bare = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    return boto3.Session(
        aws_access_key_id=EMBEDDED_ACCESS_KEY,
        aws_secret_access_key=EMBEDDED_ACCESS_KEY,
        region_name=region,
        botocore_session=bare,
    )
