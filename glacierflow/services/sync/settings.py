"""A config.ini that lies in S3, and exactly which one it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glacierflow.errors import UsageError
from glacierflow.manifest import SettingsSource
from glacierflow.services.sync.remote import Bucket
from glacierflow.settings.files import IniFile, settings_of_object
from glacierflow.store import split_s3_uri

if TYPE_CHECKING:
    from glacierflow.aws import Cloud

__all__ = ["read_settings_object"]


def read_settings_object(uri: str, cloud: Cloud) -> tuple[IniFile, SettingsSource]:
    """The settings at an s3:// URI, with their hash and version, for the manifest.

    Raises:
        UsageError: no such object, or no s3:// URI of one.
        SettingsError: it is not an INI file.
    """
    bucket, key = split_s3_uri(uri)
    if not key:
        raise UsageError(f"{uri} names a bucket, not a file in it", next_step="write s3://bucket/config.ini")
    return settings_of_object(uri, *Bucket(bucket, cloud).get(key))
