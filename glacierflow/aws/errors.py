"""What boto3 raises, as sentences with a next step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from glacierflow.errors import CredentialsError, UnavailableError, UsageError
from glacierflow.faults import is_denied, is_throttled, refuses_credentials

_TOO_MANY = 429


@contextlib.contextmanager
def plain_errors(action: str, *, service: str = "AWS Batch") -> Iterator[None]:
    """Turn what boto3 raises into sentences.

    Args:
        action: what is being done, after "to": ``describe jobs``.
        service: who is asked.

    Raises:
        CredentialsError: there are no credentials, or they are refused.
        UsageError: the service refuses the request.
        UnavailableError: the service cannot be reached, or is too busy.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CredentialsError(
            f"there are no AWS credentials to {action}",
            next_step="run `aws configure`, name a profile with --profile, or add --local",
        ) from error
    except (SSOError, TokenRetrievalError) as error:
        raise CredentialsError(
            "your AWS single sign-on session has expired or was never begun",
            next_step="run `aws sso login`, with --profile and the name of yours",
        ) from error
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if refuses_credentials(code):
            # AWS says here that a clock is wrong, for one
            said = f": {message}" if message else ""
            raise CredentialsError(
                f"AWS refuses your credentials ({code}){said}",
                next_step="log in again, or name another --profile",
            ) from error
        if is_denied(code):
            raise UsageError(
                f"you are not allowed to {action}: {message}",
                next_step="ask for the permission, or name another --profile",
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status < 500 and status != _TOO_MANY and not is_throttled(code):
            raise UsageError(f"{service} would not {action}: {message or code}") from error
        raise UnavailableError(
            f"{service} could not {action}: {message or code}", next_step="try again in a minute"
        ) from error
    except BotoCoreError as error:
        raise UnavailableError(
            f"{service} could not be reached to {action}: {error}",
            next_step="check the network and aws_region, or add --local",
        ) from error
