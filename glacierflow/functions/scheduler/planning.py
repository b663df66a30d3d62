"""What the scheduler's tasks work with, and the way from an event to a manifest in the bucket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from glacierflow.aws.names import Places, find_places
from glacierflow.cloud import Cloud, cloud_of_child
from glacierflow.errors import UsageError
from glacierflow.launch import find_launcher
from glacierflow.model.manifest import Manifest, Service, SettingsSource
from glacierflow.regions import load_catalogue
from glacierflow.runs.plan import build_manifest
from glacierflow.runs.units import arrange, parse_period, plan_units
from glacierflow.settings import EVENT, IniFile, LoadedSettings, load_settings
from glacierflow.store import Store, open_store
from glacierflow.sync.push import AWS_CONFIG, CONFIG, PREFIX, read_settings_object

_SETTINGS = {
    "satellite": "SETTINGS.satellite",
    "regions": "REGIONS.regions",
    "start_end_index": "REGIONS.start_end_index",
    "date1": "DATES.date1",
    "date2": "DATES.date2",
}


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


def selection_settings(selection: Mapping[str, Any]) -> dict[str, str]:
    """Settings that an event decides, by ``SECTION.key``.

    Raises:
        UsageError: it says something that no selection has.
    """
    unknown = sorted(selection.keys() - {*_SETTINGS, "by"})
    if unknown:
        raise UsageError(
            f"the selection has {', '.join(unknown)}", next_step=f"accepted: {', '.join(_SETTINGS)}, by"
        )
    return {_SETTINGS[key]: str(value) for key, value in selection.items() if key in _SETTINGS and value}


def make_manifest(selection: Mapping[str, Any], service: Service) -> tuple[Office, Manifest]:
    """The manifest of a run over a selection, as ``submit`` would make it; nothing is written.

    Raises:
        UsageError: the selection is wrong, or empty.
    """
    office = open_office(selection_settings(selection))
    settings, catalogue = office.loaded.settings, load_catalogue()
    chosen = catalogue.select(settings.regions.regions, settings.regions.start_end_index).regions
    by = parse_period(str(selection["by"])) if selection.get("by") else None
    dates = settings.dates
    units = plan_units(settings.settings.satellite, chosen, dates.date1, dates.date2, by)
    arrangement = arrange(
        units,
        {region.name: region for region in chosen},
        on_demand=not settings.cost_optimization.use_spot_instances,
        classes=settings.batch.memory_classes_mib,
    )
    launcher = find_launcher("batch", office.cloud, office.loaded, office.places, arrangement.arrays, tags={})
    manifest = build_manifest(
        arrangement.slots,
        chosen,
        settings.step_settings(),
        catalogue_sha256=catalogue.sha256,
        store=f"s3://{office.places.bucket}",
        arrays=arrangement.arrays,
        order=arrangement.order,
        image=launcher.image,
        settings_source=office.loaded.source,
        service=service,
    )
    return office, manifest
