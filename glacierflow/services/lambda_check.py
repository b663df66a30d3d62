"""What the function finds around itself: version, settings, rights, room; nothing is processed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from typing import Any, Protocol

from glacierflow import __version__
from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError
from glacierflow.services.sync.project import CONFIG, PREFIX
from glacierflow.store import open_store

__all__ = ["LambdaContext", "answer_check"]


class LambdaContext(Protocol):
    """What Lambda tells of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


def answer_check(bucket: str, cloud: Cloud, context: LambdaContext) -> dict[str, Any]:
    """Answer in the predecessor's form: 200, or 500 where the bucket cannot be used.

    The body tells ``version``, ``regions`` (of the catalogue in the image), ``settings`` (where they
    are from), ``s3_bucket``, ``seconds``, ``memory_mb`` and ``tmp_mb`` (free), and ``error``.
    """
    from glacierflow.regions import load_catalogue

    body: dict[str, Any] = {
        "version": __version__,
        "regions": len(load_catalogue().regions),
        "s3_bucket": bucket,
        "seconds": round(context.get_remaining_time_in_millis() / 1000, 1),
        "memory_mb": int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")),
        "tmp_mb": shutil.disk_usage(tempfile.gettempdir()).free // 10**6,
    }
    try:
        store = open_store(f"s3://{bucket}", cloud)
        there = store.exists(f"{PREFIX}{CONFIG}")
        body["settings"] = (
            f"s3://{bucket}/{PREFIX}{CONFIG}" if there else "defaults: the bucket has no config.ini"
        )
        next(iter(store.list("runs/")), None)
    except GlacierflowError as error:
        body["error"] = error.message
    return {"statusCode": 500 if "error" in body else 200, "body": json.dumps(body)}
