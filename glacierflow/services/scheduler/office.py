"""What every task of the scheduler works with: settings in force, the cloud, the places, the bucket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from glacierflow.aws import Cloud, cloud_of_child
from glacierflow.errors import UsageError
from glacierflow.manifest import SettingsSource
from glacierflow.services.places import Places, find_places
from glacierflow.services.sync.project import AWS_CONFIG, CONFIG, PREFIX
from glacierflow.services.sync.settings import read_settings_object
from glacierflow.settings import EVENT, IniFile, LoadedSettings, load_settings
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
    """Settings of the bucket's two files (kept there by ``sync push``), under the function's environment.

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
    config, source = _read(bucket, CONFIG, store, cloud)
    aws_config, _ = _read(bucket, AWS_CONFIG, store, cloud)
    loaded = load_settings(config=config, aws_config=aws_config, overrides=overrides, said_by=EVENT)
    return replace(loaded, source=source)


def _read(bucket: str, name: str, store: Store, cloud: Cloud) -> tuple[IniFile, SettingsSource | None]:
    """A settings file of the bucket; an empty one where there is none."""
    uri = f"s3://{bucket}/{PREFIX}{name}"
    return read_settings_object(uri, cloud) if store.exists(f"{PREFIX}{name}") else (IniFile(uri, {}), None)
