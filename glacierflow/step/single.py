"""The run of a single index: a child that was given no manifest makes its own from settings.

Settings are those of every command: ``GLACIERFLOW_*`` variables, then the files that ``GLACIERFLOW_CONFIG``
and ``GLACIERFLOW_AWS_CONFIG`` name, then defaults. Files are read only where they are named, because what
lies in the folder that a child happens to start in was not meant for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest, SettingsSource
from glacierflow.products.tree import other_structure
from glacierflow.regions import load_catalogue
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.settings import IniFile, LoadedSettings, load_settings
from glacierflow.settings.load import DEFAULT
from glacierflow.settings.sources import settings_of_object
from glacierflow.store import open_store, split_s3_uri

log = logging.getLogger("glacierflow")


def begin_single(index: int, environ: Mapping[str, str], cloud: Cloud) -> tuple[Manifest, Cloud] | None:
    """Plan the run of one region, make sure that its products can be written, and write its manifest.

    Args:
        index: the region's, in the catalogue.
        environ: settings, and the names of settings files.
        cloud: to read settings from, and to write to.

    Returns:
        The manifest, of one slot, and the cloud with the settings' region and profile; None where the
        settings ask for a dry run, which is told.

    Raises:
        UsageError: there is no such region or file, a value is refused, or the place cannot be written.
    """
    loaded = _load(environ, cloud)
    for notice in loaded.notices:
        log.warning("%s", notice)
    manifest = plan_single(index, loaded)
    unit = manifest.slots[0][0]
    log.info(
        "region %d: %s %s %s to %s, to %s",
        *(index, unit.satellite, unit.region, unit.date1, unit.date2, manifest.store),
    )
    if loaded.settings.settings.dry_run:
        log.info("dry run: nothing was read or written")
        return None
    account = loaded.settings.aws_account
    if loaded.origins["AWS_ACCOUNT.aws_region"] != DEFAULT:
        cloud = replace(cloud, region=account.aws_region)
    cloud = replace(cloud, profile=account.aws_profile)
    store = open_store(manifest.store, cloud)
    try:
        store.check_writable()
    except UsageError as error:
        if manifest.store.startswith("s3://"):
            raise
        raise UsageError(
            error.message,
            next_step="set GLACIERFLOW_BASE_DIR to a folder this user may write; for a container, make the"
            ' folder first, then docker run --user "$(id -u):$(id -g)" --volume "$PWD/out:/out"',
        ) from error
    other = other_structure(store, manifest)
    if other:
        log.warning("%s", other)
    store.put(
        RunLayout(manifest.run_id).manifest, manifest.model_dump_json(indent=1).encode(), if_absent=True
    )
    return manifest, cloud


def plan_single(index: int, loaded: LoadedSettings) -> Manifest:
    """The manifest of one region of the catalogue; any selection in the settings is passed over, and named.

    Products go to the bucket where ``s3_bucket`` is set, else to the directory of ``base_dir``.

    Raises:
        UsageError: the catalogue has no such region.
    """
    settings, catalogue = loaded.settings, load_catalogue()
    last = len(catalogue.regions) - 1
    if index > last:
        raise UsageError(
            f"index {index} is outside the catalogue, which has the regions 0..{last}",
            next_step=f"set AWS_BATCH_JOB_ARRAY_INDEX, or GLACIERFLOW_INDEX, to one of 0..{last};"
            " GLACIERFLOW_SLOT_OFFSET is added to it",
        )
    for key in ("regions", "start_end_index"):
        if loaded.origins[f"REGIONS.{key}"] != DEFAULT:
            log.warning("%s has no effect here: the index %d is the catalogue's", key, index)
    regions = catalogue.regions[index : index + 1]
    dates = settings.dates
    if loaded.origins["STORAGE.s3_bucket"] != DEFAULT:
        store = f"s3://{settings.storage.s3_bucket}"
    else:
        store = str(settings.output_dir.expanduser().absolute())
    return build_manifest(
        plan_slots(settings.settings.satellite, regions, dates.date1, dates.date2),
        regions,
        settings.step_settings(),
        catalogue_sha256=catalogue.sha256,
        store=store,
        settings_source=loaded.source,
        service="local",
    )


def _load(environ: Mapping[str, str], cloud: Cloud) -> LoadedSettings:
    config, source = _file(environ, "GLACIERFLOW_CONFIG", cloud)
    aws_config, _ = _file(environ, "GLACIERFLOW_AWS_CONFIG", cloud)
    return replace(load_settings(config=config, aws_config=aws_config, environ=environ), source=source)


def _file(
    environ: Mapping[str, str], variable: str, cloud: Cloud
) -> tuple[Path | IniFile, SettingsSource | None]:
    """The settings file that a variable names, by path or s3:// URI; an empty one where it names none."""
    where = environ.get(variable, "").strip()
    if not where:
        return IniFile(variable, {}), None
    if not where.startswith("s3://"):
        return Path(where), None
    bucket, key = split_s3_uri(where)
    content = open_store(f"s3://{bucket}", cloud).get(key)
    if content is None:
        raise UsageError(f"{variable} = {where}: there is no such object")
    return settings_of_object(where, content)
