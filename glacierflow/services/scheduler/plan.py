"""From a selection in an event to a manifest in the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.manifest import Manifest, Service
from glacierflow.regions import load_catalogue
from glacierflow.runs.arrange import arrange, plan_units
from glacierflow.runs.periods import parse_period
from glacierflow.runs.plan import build_manifest
from glacierflow.services.launch import find_launcher
from glacierflow.services.scheduler.office import Office, open_office

__all__ = ["make_manifest", "selection_settings"]

_SETTINGS = {
    "satellite": "SETTINGS.satellite",
    "regions": "REGIONS.regions",
    "start_end_index": "REGIONS.start_end_index",
    "date1": "DATES.date1",
    "date2": "DATES.date2",
}


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
