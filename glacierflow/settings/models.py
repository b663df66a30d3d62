"""Every setting there is: one class a section, one field a key, with type and default.

A field that may be None is optional. ``Ignored`` and ``MappedValues`` in a field's annotation are read by the
loader. What each key does is told in ``docs/reference/configuration.md``, one row a key.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from glacierflow.host import MEMORY_CLASSES_MIB, is_cluster
from glacierflow.model.records import (
    SATELLITES,
    FolderStructure,
    Resampling,
    Satellite,
    StepSettings,
    TileChoice,
)
from glacierflow.settings.fields import (
    AccountId,
    Amount,
    Day,
    Flag,
    Folder,
    Ignored,
    IndexRange,
    KeyPrefix,
    MappedValues,
    Memory,
    Names,
    Share,
    Text,
    Url,
    Whole,
    memory_in_mb,
    one_of,
    some_of,
)

_STEP = StepSettings()

_CLUSTER = Ignored("they steer a SLURM job, and there is none here")
_LOGS = Ignored("logs go to the terminal and to the log group of the job definition")
_ALWAYS = Ignored("each image is clipped as it is read, and nothing is downloaded whole")
_ONE_STEP = Ignored("there is one step")
_BUDGET_TELLS = Ignored("a budget always tells its address (budget_limit, email), and --max-usd stops a run")
_IMAGE_ONLY = Ignored("the function is an image, whose Dockerfile names Python, packages and handler")
_TAGS_STAY = Ignored("a tag names version and commit and never moves; ecr_image_uri names another image")
_STACKS_OWN = Ignored("the stack has one task definition for each memory class")
_SIDE_BY_SIDE = Ignored("children run side by side; --set MaxConcurrentChildren limits how many")


class Section(BaseModel):
    """One section of an ini file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Regions(Section):
    """Which glaciers."""

    regions: Names | None = None
    start_end_index: IndexRange | None = None


class Dates(Section):
    """Which days, both included."""

    date1: Day = dt.date(2024, 7, 1)
    date2: Day = dt.date(2024, 7, 31)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.date2 < self.date1:
            raise ValueError(
                f"date2 = {self.date2} is before date1 = {self.date1}; write the earlier one first"
            )
        return self


class Paths(Section):
    """Where a run on this machine writes."""

    base_dir: Folder = Path("output")
    local_base_dir: Folder | None = None


class Flags(Section):
    """What is kept."""

    download_flag: Flag = False
    post_processing_flag: Annotated[Flag, _ALWAYS] = True
    clear_downloads: Annotated[Flag, _ALWAYS] = False


class Processing(Section):
    """The satellite, and what the predecessor's cluster jobs wanted to know."""

    satellite: Annotated[Satellite, one_of(*SATELLITES)] = "sentinel2"
    dry_run: Flag = False
    memory: Memory | None = None
    cores: Annotated[Whole, _CLUSTER] = 1
    runtime: Annotated[Text | None, _CLUSTER] = None
    execution_mode: Annotated[str, one_of("auto", "hpc", "local")] = "auto"
    env: Annotated[Text | None, _CLUSTER] = None
    which_steps_to_run: Annotated[Text | None, _ONE_STEP] = None
    log_name: Annotated[Text | None, _LOGS] = None
    email: Text | None = None


class Imagery(Section):
    """Where images come from and which of them become products; see ``StepSettings``."""

    sentinel2_stac_url: Url = _STEP.sentinel2_stac_url
    landsat_stac_url: Url = _STEP.landsat_stac_url
    sentinel2_collection: Annotated[str, one_of("sentinel-2-l2a", "sentinel-2-c1-l2a")] = (
        _STEP.sentinel2_collection
    )
    landsat_collection: Annotated[str, one_of("landsat-c2l1")] = _STEP.landsat_collection
    imagery_region: Text = _STEP.imagery_region
    imagery_s3_endpoint: Url | None = _STEP.imagery_s3_endpoint
    resampling: Annotated[Resampling, one_of("cubic", "bilinear", "lanczos", "nearest")] = _STEP.resampling
    sentinel2_min_coverage: Share = _STEP.sentinel2_min_coverage
    landsat_min_overlap: Share = _STEP.landsat_min_overlap
    max_cloud_cover: Share | None = _STEP.max_cloud_cover
    measure_cloud: Flag = _STEP.measure_cloud
    max_region_cloud: Share | None = _STEP.max_region_cloud
    mgrs_tiles: Annotated[TileChoice, one_of("listed", "auto")] = _STEP.mgrs_tiles
    landsat_tiers: Annotated[tuple[str, ...], some_of("T1", "T2", "RT")] = _STEP.landsat_tiers
    landsat_corrections: Annotated[tuple[str, ...], some_of("L1TP", "L1GT", "L1GS")] = (
        _STEP.landsat_corrections
    )
    folder_structure: Annotated[FolderStructure, one_of("new", "old")] = _STEP.folder_structure
    quicklooks: Flag = _STEP.quicklooks
    overviews: Flag = _STEP.overviews


class AwsAccount(Section):
    """Which account and region."""

    aws_region: Text = "us-west-2"
    aws_profile: Text | None = None
    account_id: AccountId | None = None


class Storage(Section):
    """Where products go."""

    s3_bucket: Text = "greenland-glacier-data"
    s3_base_path: KeyPrefix = _STEP.base_path


class Batch(Section):
    """Where jobs are sent."""

    stack: Text = "glacierflow"
    job_queue: Text = "glacierflow-spot"
    ondemand_job_queue: Text = "glacierflow-ondemand"
    job_definition: Text = "glacierflow"
    instance_types: Names | None = None
    classes: Annotated[tuple[str, ...], some_of(*map(str, MEMORY_CLASSES_MIB))] = tuple(
        map(str, MEMORY_CLASSES_MIB)
    )
    consumable_resource: Text | None = None
    owner: Text | None = None
    breaker_children: Whole = 20
    breaker_share: Share = 0.5

    @property
    def memory_classes_mib(self) -> tuple[int, ...]:
        """The memory classes that jobs may have, the smallest first."""
        return tuple(sorted(int(one) for one in self.classes))


class CostOptimization(Section):
    """Spot or on-demand."""

    use_spot_instances: Flag = True
    spot_allocation_strategy: Annotated[
        Literal["SPOT_PRICE_CAPACITY_OPTIMIZED", "SPOT_CAPACITY_OPTIMIZED"],
        one_of("SPOT_PRICE_CAPACITY_OPTIMIZED", "SPOT_CAPACITY_OPTIMIZED"),
        MappedValues(
            {
                "diversified": "SPOT_PRICE_CAPACITY_OPTIMIZED",
                "lowest-price": "SPOT_PRICE_CAPACITY_OPTIMIZED",
                "price-capacity-optimized": "SPOT_PRICE_CAPACITY_OPTIMIZED",
                "capacity-optimized": "SPOT_CAPACITY_OPTIMIZED",
            },
            "AWS Batch has no such strategy",
        ),
    ] = "SPOT_PRICE_CAPACITY_OPTIMIZED"
    budget_limit: Amount | None = None
    cost_alerts: Annotated[Flag, _BUDGET_TELLS] = False


class Monitoring(Section):
    """Logs."""

    log_group: Text | None = None
    log_retention_days: Whole = 365
    enable_detailed_monitoring: Flag = False


class Notifications(Section):
    """Who is told."""

    sns_topic_arn: Text | None = None
    email_notifications: Flag = False


class Security(Section):
    """Roles."""

    iam_execution_role: Text | None = None
    iam_task_role: Text | None = None


class Lambda(Section):
    """The predecessor's function."""

    function_name: Text | None = None
    memory_size: Whole = 10240
    timeout: Whole = 900
    ephemeral_storage: Whole = 10240
    package_type: Annotated[Text, one_of("Image", "Zip"), _IMAGE_ONLY] = "Image"
    handler: Annotated[Text, _IMAGE_ONLY] = "lambda_handler.handler"
    ecr_repository: Text | None = None
    ecr_image_tag: Annotated[Text, _TAGS_STAY] = "latest"
    ecr_image_uri: Text | None = None
    dockerfile_path: Annotated[Text, _IMAGE_ONLY] = "aws/lambda/Dockerfile.lambda"
    python_version: Annotated[Text, _IMAGE_ONLY] = "3.13"
    architecture: Annotated[Text, one_of("x86_64", "arm64")] = "x86_64"


class Ecs(Section):
    """An ECS cluster."""

    cluster: Text | None = None
    task_definition: Annotated[Text, _STACKS_OWN] = "glacierflow"


class Experimental(Section):
    """The predecessor's trials."""

    enable_lambda_processing: Flag = True
    enable_step_functions: Flag = False
    parallel_processing_regions: Annotated[Whole, _SIDE_BY_SIDE] = 4


class Settings(BaseModel):
    """All sections, by their name in lower case (``lambda_`` for LAMBDA)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regions: Regions = Field(default_factory=Regions)
    dates: Dates = Field(default_factory=Dates)
    paths: Paths = Field(default_factory=Paths)
    flags: Flags = Field(default_factory=Flags)
    settings: Processing = Field(default_factory=Processing)
    imagery: Imagery = Field(default_factory=Imagery)
    aws_account: AwsAccount = Field(default_factory=AwsAccount)
    storage: Storage = Field(default_factory=Storage)
    batch: Batch = Field(default_factory=Batch)
    cost_optimization: CostOptimization = Field(default_factory=CostOptimization)
    monitoring: Monitoring = Field(default_factory=Monitoring)
    notifications: Notifications = Field(default_factory=Notifications)
    security: Security = Field(default_factory=Security)
    lambda_: Lambda = Field(default_factory=Lambda)
    ecs: Ecs = Field(default_factory=Ecs)
    experimental: Experimental = Field(default_factory=Experimental)

    @property
    def output_dir(self) -> Path:
        """Where a run on this machine writes: on a cluster ``base_dir``, elsewhere ``local_base_dir`` if set.

        ``execution_mode`` says which of them this machine is; ``auto`` looks.
        """
        mode = self.settings.execution_mode
        if mode == "hpc" or (mode == "auto" and is_cluster(os.environ)):
            return self.paths.base_dir
        return self.paths.local_base_dir or self.paths.base_dir

    def step_settings(self) -> StepSettings:
        """What of the settings decides the products."""
        memory = self.settings.memory
        return StepSettings(
            **self.imagery.model_dump(),
            base_path=self.storage.s3_base_path,
            keep_downloads=self.flags.download_flag,
            memory_mb=None if memory is None else memory_in_mb(memory),
        )


def section_attribute(section: str) -> str:
    """``LAMBDA`` -> ``lambda_``, ``DATES`` -> ``dates``."""
    return "lambda_" if section == "LAMBDA" else section.lower()


def iter_fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every (section, key, field), in the order of the models."""
    for attribute, holder in Settings.model_fields.items():
        model = holder.annotation
        if not (isinstance(model, type) and issubclass(model, Section)):
            msg = f"{attribute} is not a section"
            raise TypeError(msg)
        for key, field in model.model_fields.items():
            yield attribute.rstrip("_").upper(), key, field
