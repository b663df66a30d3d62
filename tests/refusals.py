"""What boto3 raises when AWS refuses."""

from __future__ import annotations

from botocore.exceptions import ClientError


def refusal(operation: str, code: str, status: int = 400, message: str = "no") -> ClientError:
    """The error of a call, by AWS's code and the HTTP status it comes with."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )
