"""What every task of the scheduler works with: settings in force, the cloud, the places, the bucket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from glacierflow.aws import Cloud, cloud_of_child
from glacierflow.errors import UsageError
from glacierflow.services.places import Places, find_places
from glacierflow.services.sync.project import CONFIG, PREFIX
from glacierflow.services.sync.settings import read_settings_object
from glacierflow.settings import IniFile, LoadedSettings, load_settings
from glacierflow.store import Store, open_store

__all__ = ["Office", "open_office"]


@dataclass(frozen=True, slots=True)
class Office:
    """The scheduler's surroundings."""

    loaded: LoadedSettings
    cloud: Cloud
    places: Places
    store: Store


def open_office(overrides: Mapping[str, str] | None = None) -> Office:
    """Settings of the bucket's config.ini (kept there by ``sync push``), under the function's environment.

    Args:
        overrides: settings by ``SECTION.key`` that an event decides.

    Raises:
        UsageError: the environment names no bucket, or AWS refuses.
    """
    cloud, bucket = cloud_of_child(os.environ), os.environ.get("GLACIERFLOW_S3_BUCKET")
    if not bucket:
        raise UsageError(
            "GLACIERFLOW_S3_BUCKET is not set",
            next_step="deploy with `glacierflow stack deploy --with schedule`",
        )
    store = open_store(f"s3://{bucket}", cloud)
    loaded = _settings(bucket, store, cloud, overrides or {})
    return Office(loaded, cloud, find_places(loaded, cloud), store)


def _settings(bucket: str, store: Store, cloud: Cloud, overrides: Mapping[str, str]) -> LoadedSettings:
    uri = f"s3://{bucket}/{PREFIX}{CONFIG}"
    if not store.exists(f"{PREFIX}{CONFIG}"):
        return load_settings(config=IniFile(uri, {}), overrides=overrides)
    content, source = read_settings_object(uri, cloud)
    return replace(load_settings(config=content, overrides=overrides), source=source)
