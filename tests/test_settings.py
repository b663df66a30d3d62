"""Settings: precedence, refusals, notices, and the table that documents them."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from glacierflow.model.records import StepSettings
from glacierflow.settings import Settings, examine_settings, iter_fields, load_settings, section_attribute
from glacierflow.settings.fields import memory_in_mb

REPOSITORY = Path(__file__).parents[1]
KEYS = [(section, key) for section, key, _ in iter_fields()]

OLD_CONFIG = """
[REGIONS]
regions = 138_SermiitsiaqInTasermiut
#regions = 134_Arsuk
start_end_index =

[DATES]
date1 = 2025-08-01
date2 = 2025-08-04

[PATHS]
base_dir = /fs/project/glaciers
local_base_dir = /home/someone/glaciers

[FLAGS]
download_flag = 1
post_processing_flag = 1
clear_downloads = 0

[SETTINGS]
cores = 4
memory = 60G
runtime = 15:00:00
log_name = step1.log
email = someone@example.org
satellite = sentinel2
#which_steps_to_run = 1b
dry_run = False
execution_mode = hpc
env = glacier_velocity
"""

OLD_AWS_CONFIG = """
[AWS_ACCOUNT]
aws_region = us-west-2
# aws_profile = glacier-processing  # Optional
account_id = 123456789012  # Your AWS account ID
[STORAGE]
s3_bucket = greenland-glacier-data
s3_base_path = 1_download_merge_and_clip
[NOTIFICATIONS]
sns_topic_arn = arn:aws:sns:us-west-2:123456789012:glacier-processing-notifications
[SECURITY]
iam_execution_role = arn:aws:iam::123456789012:role/Execution
iam_task_role = arn:aws:iam::123456789012:role/Task
[COST_OPTIMIZATION]
use_spot_instances = false
spot_allocation_strategy = diversified
[MONITORING]
log_group = /aws/glacier-processing
log_retention_days = 30
enable_detailed_monitoring = false
[LAMBDA]
function_name = glacier-processing
memory_size = 10240
timeout = 900
ephemeral_storage = 10240
package_type = Image
handler = lambda_handler.handler
ecr_repository = glacier-lambda
ecr_image_tag = latest
ecr_image_uri = YOUR_ACCOUNT_ID.dkr.ecr.us-west-2.amazonaws.com/glacier-lambda:latest
dockerfile_path = aws/lambda/Dockerfile.lambda
python_version = 3.13
architecture = x86_64
[EXPERIMENTAL]
enable_lambda_processing = true
enable_step_functions = false
"""


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ini(text: str, name: str = "config.ini") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def notices(text: str, name: str = "config.ini") -> list[str]:
    ini(text, name)
    return [notice for notice in load_settings(environ={}).notices if " in this directory" not in notice]


def test_without_files_everything_is_the_default_and_that_is_said() -> None:
    loaded = load_settings(environ={})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == {f"{section}.{key}" for section, key in KEYS}
    assert [notice.split(" in ")[0] for notice in loaded.notices] == [
        "there is no config.ini",
        "there is no aws_config.ini",
    ]


def test_the_defaults_a_user_counts_on() -> None:
    settings = Settings()
    assert settings.settings.satellite == "sentinel2"
    assert settings.regions.regions is None
    assert settings.regions.start_end_index is None
    assert (settings.dates.date1, settings.dates.date2) == (dt.date(2024, 7, 1), dt.date(2024, 7, 31))
    assert settings.storage.s3_bucket == "greenland-glacier-data"
    assert settings.aws_account.aws_region == "us-west-2"
    assert settings.batch.job_queue == "glacierflow-spot"
    assert settings.step_settings() == StepSettings()


def test_the_templates_of_the_repository_work_as_they_stand() -> None:
    loaded = load_settings(
        config=REPOSITORY / "config.ini", aws_config=REPOSITORY / "aws_config.ini", environ={}
    )
    assert loaded.notices == ()
    assert loaded.settings == Settings()
    assert loaded.origins["DATES.date1"].endswith("config.ini")


def test_every_default_is_accepted_as_a_written_value() -> None:
    lines = []
    last = ""
    for section, key in KEYS:
        value = getattr(getattr(Settings(), section_attribute(section)), key)
        lines += [f"[{section}]"] if section != last else []
        lines.append(
            f"{key} = {'' if value is None else ','.join(value) if isinstance(value, tuple) else value}"
        )
        last = section
    loaded = load_settings(config=ini("\n".join(lines)), environ={})
    assert loaded.settings == Settings()


def test_precedence_is_command_line_environment_file_default() -> None:
    ini("[DATES]\ndate1 = 2020-01-01\ndate2 = 2020-01-02\n[SETTINGS]\nsatellite = landsat\n")
    loaded = load_settings(
        environ={"GLACIERFLOW_DATE1": "2020-01-02", "GLACIERFLOW_SATELLITE": "sentinel2"},
        overrides={"SETTINGS.satellite": "landsat", "DATES.date2": None},
    )
    assert loaded.settings.dates.date1 == loaded.settings.dates.date2 == dt.date(2020, 1, 2)
    assert loaded.settings.settings.satellite == "landsat"
    assert loaded.origins["DATES.date1"] == "environment GLACIERFLOW_DATE1"
    assert loaded.origins["DATES.date2"] == "config.ini"
    assert loaded.origins["SETTINGS.satellite"] == "command line"
    assert loaded.origins["SETTINGS.dry_run"] == "default"


def test_the_longer_environment_name_wins_and_an_empty_one_is_not_given() -> None:
    loaded = load_settings(
        environ={"GLACIERFLOW_TIMEOUT": "5", "GLACIERFLOW_LAMBDA_TIMEOUT": "7", "GLACIERFLOW_S3_BUCKET": " "}
    )
    assert loaded.settings.lambda_.timeout == 7
    assert loaded.origins["STORAGE.s3_bucket"] == "default"


def test_short_environment_names_are_never_ambiguous() -> None:
    names = [key for _, key in KEYS] + [f"{section}_{key}".lower() for section, key in KEYS]
    assert len(names) == len(set(names))


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIERFLOW_S3_BUCKET", "mine")
    assert load_settings().settings.storage.s3_bucket == "mine"


def test_variables_of_jobs_are_no_settings_and_a_misspelled_one_is_named() -> None:
    documented = (REPOSITORY / "docs/reference/configuration.md").read_text(encoding="utf-8")
    (line,) = [line for line in documented.splitlines() if "`GLACIERFLOW_HOME` is not a setting" in line]
    quiet = [*re.findall(r"`GLACIERFLOW_([A-Z_]+)`", line), "IMAGERY_AWS_ACCESS_KEY_ID"]
    assert {"HOME", "MANIFEST", "INDEX", "SLOT_OFFSET", "RUN_ID", "EMBEDDED", "COMPILED"} < set(quiet)
    environ = {f"GLACIERFLOW_{name}": "x" for name in quiet} | {"GLACIERFLOW_S3_BUKET": "x", "PATH": "x"}
    said = [notice for notice in load_settings(environ=environ).notices if "variable" in notice]
    assert len(said) == 1
    assert "GLACIERFLOW_S3_BUKET" in said[0]
    assert "did you mean GLACIERFLOW_S3_BUCKET" in said[0]


@pytest.mark.parametrize(
    ("overrides", "environ", "expected"),
    [
        ({"REGIONS.regions": "a,b"}, {}, (("a", "b"), None)),
        ({"regions.start_end_index": "3:4"}, {}, (None, "3:4")),
        ({"REGIONS.regions": "a", "REGIONS.start_end_index": "3:4"}, {}, (("a",), "3:4")),
        ({"REGIONS.regions": "a"}, {"GLACIERFLOW_START_END_INDEX": "1:2"}, (("a",), None)),
        ({}, {"GLACIERFLOW_REGIONS": "c d"}, (("c", "d"), None)),
        ({}, {}, (("x",), "0:2")),
    ],
)
def test_a_selection_replaces_a_weaker_sources_selection_whole(
    overrides: dict[str, str | bool | int | None],
    environ: dict[str, str],
    expected: tuple[tuple[str, ...] | None, str | None],
) -> None:
    ini("[REGIONS]\nregions = x\nstart_end_index = 0:2\n")
    regions = load_settings(overrides=overrides, environ=environ).settings.regions
    assert (regions.regions, regions.start_end_index) == expected


def test_a_folder_on_the_command_line_is_not_overruled_by_the_files_local_one() -> None:
    ini("[PATHS]\nbase_dir = /cluster\nlocal_base_dir = /here\n")
    assert load_settings(environ={}).settings.output_dir == Path("/here")
    loaded = load_settings(environ={}, overrides={"PATHS.base_dir": "/asked"})
    assert loaded.settings.output_dir == Path("/asked")


def test_the_predecessors_files_work_unchanged() -> None:
    ini(OLD_CONFIG)
    ini(OLD_AWS_CONFIG, "aws_config.ini")
    loaded = load_settings(environ={})
    settings = loaded.settings
    assert settings.regions.regions == ("138_SermiitsiaqInTasermiut",)
    assert settings.dates.date2 == dt.date(2025, 8, 4)
    assert settings.flags.download_flag is True
    assert settings.step_settings().keep_downloads is True
    assert settings.step_settings().memory_mb == 61440
    assert settings.settings.dry_run is False
    assert settings.aws_account.account_id is None
    assert settings.cost_optimization.use_spot_instances is False
    assert settings.cost_optimization.spot_allocation_strategy == "SPOT_PRICE_CAPACITY_OPTIMIZED"
    said = "\n".join(loaded.notices)
    assert "config.ini: [SETTINGS] cores, runtime, env: read and ignored, they steer a SLURM job" in said
    assert "execution_mode" not in said
    assert "email" not in said, "it is told of the budget, and of ended runs with email_notifications"
    assert "diversified is taken as SPOT_PRICE_CAPACITY_OPTIMIZED" in said
    assert (
        "account_id, sns_topic_arn, iam_execution_role, iam_task_role, ecr_image_uri have the example" in said
    )
    assert "LAMBDA" not in said, "a key set to its default needs no notice"


def test_an_option_may_be_a_flag_or_a_number() -> None:
    loaded = load_settings(environ={}, overrides={"SETTINGS.dry_run": True, "SETTINGS.cores": 3})
    assert loaded.settings.settings.dry_run is True
    assert loaded.settings.settings.cores == 3


def test_comments_percent_signs_and_case_are_read_as_meant() -> None:
    ini(
        "; a comment\n[STORAGE]\nS3_Bucket = a%b ; mine\n[IMAGERY]\n"
        "landsat_stac_url = https://example.org/%(x)s#part\nresampling = NEAREST  # as before\n"
        "[REGIONS]\nregions = a,\n  b c\n"
    )
    settings = load_settings(environ={}).settings
    assert settings.storage.s3_bucket == "a%b"
    assert settings.imagery.landsat_stac_url == "https://example.org/%(x)s#part"
    assert settings.imagery.resampling == "nearest"
    assert settings.regions.regions == ("a", "b", "c")


def test_an_unknown_key_or_section_is_a_notice_with_the_nearest() -> None:
    said = notices("[SETTING]\ncores = 1\n[DATES]\ndate_1 = x\ns3_bucket = y\n[DEFAULT]\nz = 1\n")
    assert any("no section [SETTING]" in notice and "did you mean SETTINGS" in notice for notice in said)
    assert any("[DATES] has no key date_1" in notice and "did you mean date1" in notice for notice in said)
    assert any("s3_bucket" in notice and "belongs in [STORAGE]" in notice for notice in said)
    assert any("no section [DEFAULT]" in notice for notice in said)
    assert len(said) == 4


def test_a_section_counts_in_either_file_and_the_one_at_home_wins() -> None:
    ini("[STORAGE]\ns3_bucket = from-config\n[AWS_ACCOUNT]\naws_profile = p\n[DATES]\ndate1 = 2024-07-05\n")
    ini("[STORAGE]\ns3_bucket = from-aws\n[DATES]\ndate1 = 2024-07-06\n", "aws_config.ini")
    loaded = load_settings(environ={})
    assert loaded.settings.storage.s3_bucket == "from-aws"
    assert loaded.settings.aws_account.aws_profile == "p"
    assert loaded.settings.dates.date1 == dt.date(2024, 7, 5)
    assert len(loaded.notices) == 2
    assert "in config.ini and in aws_config.ini; the one in aws_config.ini counts" in loaded.notices[0]


def test_a_byte_order_mark_does_no_harm() -> None:
    Path("config.ini").write_bytes(b"\xef\xbb\xbf[SETTINGS]\r\nsatellite = landsat\r\n")
    assert load_settings(environ={}).settings.settings.satellite == "landsat"


def test_examining_reports_notices_and_problems_together() -> None:
    ini("[DATES]\ndate1 = soon\n[NOPE]\nx = 1\n")
    found = examine_settings(environ={})
    assert found.settings is None
    assert len(found.problems) == 1
    assert any("NOPE" in notice for notice in found.notices)


@pytest.mark.parametrize(
    ("text", "mb"), [("60G", 61440), ("512", 512), ("2048K", 2), ("1T", 1048576), ("8gb", 8192)]
)
def test_memory_is_read_as_slurm_writes_it(text: str, mb: int) -> None:
    assert memory_in_mb(text) == mb


def test_what_decides_the_products_reaches_the_step() -> None:
    ini(
        "[IMAGERY]\nresampling = nearest\nlandsat_tiers = T1\nquicklooks = no\nfolder_structure = old\n"
        "imagery_s3_endpoint = http://127.0.0.1:5000\n[FLAGS]\ndownload_flag = yes\n"
        "[STORAGE]\ns3_base_path = /out/here/\n"
    )
    step = load_settings(environ={}).settings.step_settings()
    assert step == StepSettings(
        resampling="nearest",
        landsat_tiers=("T1",),
        quicklooks=False,
        folder_structure="old",
        imagery_s3_endpoint="http://127.0.0.1:5000",
        keep_downloads=True,
        base_path="out/here",
    )


def test_the_reference_has_one_row_a_key_with_its_default() -> None:
    text = (REPOSITORY / "docs/reference/configuration.md").read_text(encoding="utf-8")
    documented: list[tuple[str, str]] = []
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"### \[(\w+)\]", line):
            section = heading[1]
        elif row := re.fullmatch(r"\| `(\w+)` \| ?(.*?) ?\| (.+) \|", line):
            documented.append((section, row[1]))
            assert row[2] == shown_default(section, row[1])
    effective = [key for key in KEYS if key not in ignored_keys()]
    assert sorted(documented) == sorted(effective)


def test_an_ignored_key_is_documented_as_ignored_beside_what_replaced_it() -> None:
    text = (REPOSITORY / "docs/reference/predecessor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\[(\w+)\]` \| `(\w+)` \| ?(.*?) ?\| .+ \|$", text, re.MULTILINE)
    assert {(section, key) for section, key, _ in rows} == ignored_keys()
    for section, key, default in rows:
        assert default == shown_default(section, key)


def ignored_keys() -> set[tuple[str, str]]:
    from glacierflow.settings.fields import Ignored

    return {
        (section, key)
        for section, key, field in iter_fields()
        if any(isinstance(one, Ignored) for one in field.metadata)
    }


def shown_default(section: str, key: str) -> str:
    value = getattr(getattr(Settings(), section_attribute(section)), key)
    shown = ", ".join(value) if isinstance(value, tuple) else value
    shown = int(shown) if isinstance(shown, bool) else shown
    return "" if shown is None else str(shown)


@pytest.mark.parametrize(
    ("text", "uses_spot"),
    [
        ("[BATCH]\nspot = 0", False),
        ("[BATCH]\nspot = yes", True),
        ("[BATCH]\nspot = 1\n[COST_OPTIMIZATION]\nuse_spot_instances = 0", False),
    ],
)
def test_spot_of_batch_is_another_word_for_use_spot_instances_which_counts(
    tmp_path: Path, text: str, uses_spot: bool
) -> None:
    (tmp_path / "config.ini").write_text("")
    (tmp_path / "aws.ini").write_text(text)
    loaded = load_settings(config=tmp_path / "config.ini", aws_config=tmp_path / "aws.ini", environ={})
    assert loaded.settings.cost_optimization.use_spot_instances is uses_spot
    (notice,) = loaded.notices
    assert "[BATCH] spot is taken as use_spot_instances of [COST_OPTIMIZATION], which counts" in notice
