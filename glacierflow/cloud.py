"""The one place that decides which cloud is spoken to: AWS itself, or an endpoint the user named.

Every boto3 client and every imagery session is made here, so that one run never mixes the two. Both are made
once and kept for the process: credentials are fetched once (a profile with ``mfa_serial`` asks for one code)
and renewed by botocore in time, and clients share what they know of throttling.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from glacierflow.errors import CredentialsError, UnavailableError
from glacierflow.faults import Fault, fault_of_aws
from glacierflow.net import Patience, persist

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config


EMBEDDED_ACCESS_KEY = "embedded"
"""Dummy access key and secret of the embedded cloud."""

_IMAGERY_PREFIX = "GLACIERFLOW_IMAGERY_"
_TRIES = 7
"""For credentials: their waits outlast an outage of ten seconds."""

_T = TypeVar("_T")


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
        """The boto3 session with the credentials of this cloud.

        Raises:
            CredentialsError: the named profile does not exist.
        """
        return self._kept().session

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 clients are made at run time
        """The boto3 client of a service; throttling is answered by adaptive retries.

        Raises:
            CredentialsError: the named profile does not exist, or credentials are set up wrongly.
            UnavailableError: what hands out the credentials stayed away after all tries.
        """
        key = (service, self.endpoint_url, self.retries, self.read_timeout_s)

        def once() -> Any:  # noqa: ANN401 - as above
            with _one_at_a_time:
                kept = self._kept()
                if key not in kept.clients:
                    kept.clients[key] = self._make_client(kept.session, service)
                return kept.clients[key]

        return _patiently(once, "the AWS credentials")

    def _make_client(self, session: Any, service: str) -> Any:  # noqa: ANN401 - the stubs want a literal
        from botocore.config import Config

        endpoint = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            retries={"mode": "adaptive", "max_attempts": self.retries},
            connect_timeout=10,
            read_timeout=self.read_timeout_s,
            max_pool_connections=32,
            s3={"addressing_style": "path"} if endpoint else None,
        )
        return session.client(service, region_name=self.region, endpoint_url=self.endpoint_url, config=config)

    def _kept(self) -> _Kept:
        if self.embedded:
            return _keep(("embedded", self.region), lambda: _embedded_session(self.region))
        return _keep(
            ("profile", self.profile, self.region), lambda: _profile_session(self.region, self.profile)
        )

    def imagery_session(self, s3_endpoint: str | None) -> boto3.Session:
        """The session for s3:// imagery, which may be elsewhere than the outputs.

        The embedded cloud hands a child its owner's real credentials as ``GLACIERFLOW_IMAGERY_AWS_*``, for
        real requester-pays imagery (``--live-imagery``).

        Raises:
            CredentialsError: the named profile does not exist.
        """
        return self._kept_for_imagery(s3_endpoint).session

    def _kept_for_imagery(self, s3_endpoint: str | None) -> _Kept:
        if s3_endpoint is not None:
            return self._kept()
        if f"{_IMAGERY_PREFIX}AWS_ACCESS_KEY_ID" in os.environ:
            return _keep(("imagery", self.region), lambda: _owner_session(self.region))
        if self.embedded:
            return Cloud(region=self.region, profile=self.profile)._kept()
        return self._kept()

    def credentials(self) -> Any:  # noqa: ANN401 - botocore's, plain ones or such that renew themselves
        """What signs requests to this cloud; None without any. Raises what botocore does."""
        with _one_at_a_time:
            return self._kept().load()

    def imagery_credentials(self, s3_endpoint: str | None) -> Any:  # noqa: ANN401 - as above
        """What signs reads of s3:// imagery; None without any. Raises what botocore does."""
        with _one_at_a_time:
            return self._kept_for_imagery(s3_endpoint).load()

    def renew(self, refused: object) -> bool:
        """Forget credentials that AWS says have ended, so that others are fetched.

        Args:
            refused: what ``credentials`` or ``imagery_credentials`` gave; nothing is done if another thread
                was here before.

        Returns:
            Whether there can be others.
        """
        with _one_at_a_time:
            for key, kept in list(_sessions.items()):
                if kept.credentials is not None and kept.credentials is refused:
                    del _sessions[key]
        return self.renews(refused)

    @staticmethod
    def renews(credentials: object) -> bool:
        """Whether credentials are those of a role, which are renewed while the process runs."""
        from botocore.credentials import RefreshableCredentials

        return isinstance(credentials, RefreshableCredentials)

    def imagery_client(self, s3_endpoint: str | None, region: str, config: Config) -> Any:  # noqa: ANN401
        """An S3 client that sees images as the ranges do, patient as ``config`` says."""
        session: Any = self.imagery_session(s3_endpoint)
        with _one_at_a_time:
            return session.client("s3", region_name=region, endpoint_url=s3_endpoint, config=config)

    def require_imagery_credentials(self, s3_endpoint: str | None) -> None:
        """Make sure requester-pays imagery can be asked for at all, before anything is searched.

        Raises:
            CredentialsError: there are no AWS credentials, or they are set up wrongly.
            UnavailableError: what hands them out stayed away after all tries.
        """

        def once() -> str | None:
            credentials = self.imagery_credentials(s3_endpoint)
            return credentials.get_frozen_credentials().access_key if credentials is not None else None

        key = _patiently(once, "the AWS credentials for Landsat's requester-pays pixels")
        if key is None or (s3_endpoint is None and key == EMBEDDED_ACCESS_KEY):
            raise CredentialsError(
                "Landsat pixels are requester-pays and no AWS credentials were found",
                next_step="configure an AWS profile (`aws configure`), or add --local for the embedded cloud",
            )


def cloud_of_child(environ: Mapping[str, str]) -> Cloud:
    """The cloud a child runs in: its role's credentials, or the embedded cloud's."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-west-2"
    return Cloud(region=region, embedded=environ.get("GLACIERFLOW_EMBEDDED") == "1")


@dataclass
class _Kept:
    """A session, and the clients that were made from it."""

    session: boto3.Session
    clients: dict[tuple[str, str | None, int, int], Any] = field(default_factory=dict)
    credentials: Any = None

    def load(self) -> Any:  # noqa: ANN401 - botocore's credentials
        """The session's credentials, fetched at the first call."""
        self.credentials = self.session.get_credentials()
        return self.credentials


_one_at_a_time = threading.RLock()
"""A session may be shared by threads except while it makes a client."""
_MOST_SESSIONS = 8
_sessions: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
"""Sessions by what decides their credentials, the one that was used last at the end."""


def _keep(key: tuple[object, ...], make: Callable[[], boto3.Session]) -> _Kept:
    """The session of a key and of the environment that boto3 would read now."""
    read = ("AWS_", f"{_IMAGERY_PREFIX}AWS_")
    environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith(read))
    with _one_at_a_time:
        whole = (*key, environment)
        if whole not in _sessions:
            _sessions[whole] = _Kept(make())
        _sessions.move_to_end(whole)
        while len(_sessions) > _MOST_SESSIONS:
            _sessions.popitem(last=False)
        return _sessions[whole]


def _patiently(work: Callable[[], _T], what: str) -> _T:
    """Do what needs credentials, again where their source is away for a moment.

    Raises:
        CredentialsError: they are set up wrongly.
        UnavailableError: their source stayed away.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    def once() -> _T:
        try:
            return work()
        except (BotoCoreError, ClientError, ValueError) as error:
            raise fault_of_aws(error) from error

    try:
        return persist(once, Patience(_TRIES), what)
    except Fault as fault:
        if fault.passes:
            raise UnavailableError(
                f"{what} could not be fetched: {fault}", next_step="try again in a minute"
            ) from fault
        raise CredentialsError(
            f"{what} cannot be used: {fault}", next_step="run `aws configure list-profiles`, or log in again"
        ) from fault


def _profile_session(region: str, profile: str | None) -> boto3.Session:
    import boto3
    from botocore.exceptions import ProfileNotFound

    try:
        return boto3.Session(region_name=region, profile_name=profile)
    except ProfileNotFound as error:
        named = f"aws_profile = {profile}" if profile else f"AWS_PROFILE = {os.environ.get('AWS_PROFILE')}"
        raise CredentialsError(
            f"{named} is not in your AWS configuration",
            next_step="run `aws configure list-profiles`, or set aws_profile in aws_config.ini",
        ) from error


def _owner_session(region: str) -> boto3.Session:
    import boto3

    return boto3.Session(
        region_name=region,
        aws_access_key_id=os.environ[f"{_IMAGERY_PREFIX}AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ.get(f"{_IMAGERY_PREFIX}AWS_SECRET_ACCESS_KEY"),
        aws_session_token=os.environ.get(f"{_IMAGERY_PREFIX}AWS_SESSION_TOKEN"),
    )


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
