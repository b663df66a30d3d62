"""Each setting times each way of making images: the effect that the table claims is there, and no other.

A cell's evidence is what leaves this process or is written down: the manifest, the bodies of the requests to
AWS, the resources that a stack would have, what a watcher goes by, what a notebook's search is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from fake_aws import FakeAws

import glacierflow
from glacierflow import arrays
from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cli.batch.spending import limits_of
from glacierflow.cli.context import CommandLine
from glacierflow.cloud import Cloud
from glacierflow.settings import iter_fields, load_settings
from glacierflow.settings.fields import Ignored
from glacierflow.settings.reach import PATHS, SUBMITTED, Way, reach_of
from glacierflow.stack.parameters import from_settings, repository_named
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import load_template
from glacierflow.task import read_manifest

DOCUMENT = Path(__file__).parents[1] / "docs/reference/configuration.md"

KEYS = [(section, key) for section, key, _ in iter_fields()]
USUAL = {
    "REGIONS_START_END_INDEX": "133:135",
    "SETTINGS_SATELLITE": "landsat",
    "DATES_DATE1": "2024-07-01",
    "DATES_DATE2": "2024-07-08",
    "STORAGE_S3_BUCKET": "made-up",
}
OTHER = {
    "REGIONS.regions": "134_Arsuk",
    "REGIONS.start_end_index": "134:135",
    "DATES.date1": "2024-07-02",
    "DATES.date2": "2024-07-07",
    "PATHS.base_dir": "elsewhere",
    "PATHS.local_base_dir": "elsewhere",
    "FLAGS.download_flag": "1",
    "FLAGS.post_processing_flag": "0",
    "FLAGS.clear_downloads": "1",
    "SETTINGS.satellite": "sentinel2",
    "SETTINGS.dry_run": "1",
    "SETTINGS.memory": "2G",
    "SETTINGS.execution_mode": "hpc",
    "SETTINGS.cores": "8",
    "SETTINGS.email": "a@example.org",
    "IMAGERY.sentinel2_stac_url": "https://example.org/a",
    "IMAGERY.landsat_stac_url": "https://example.org/b",
    "IMAGERY.sentinel2_collection": "sentinel-2-c1-l2a",
    "IMAGERY.imagery_region": "eu-central-1",
    "IMAGERY.imagery_s3_endpoint": "https://example.org/c",
    "IMAGERY.resampling": "nearest",
    "IMAGERY.sentinel2_min_coverage": "0.7",
    "IMAGERY.landsat_min_overlap": "0.7",
    "IMAGERY.max_cloud_cover": "0.7",
    "IMAGERY.measure_cloud": "1",
    "IMAGERY.max_region_cloud": "0.7",
    "IMAGERY.mgrs_tiles": "auto",
    "IMAGERY.landsat_tiers": "T1",
    "IMAGERY.landsat_corrections": "L1TP",
    "IMAGERY.folder_structure": "old",
    "IMAGERY.quicklooks": "0",
    "IMAGERY.overviews": "1",
    "AWS_ACCOUNT.aws_region": "eu-west-1",
    "AWS_ACCOUNT.aws_profile": "nobody-of-this-name",
    "AWS_ACCOUNT.account_id": "444455556666",
    "STORAGE.s3_bucket": "another",
    "STORAGE.s3_base_path": "another/path",
    "BATCH.instance_types": "r7i",
    "BATCH.classes": "31500, 63200",
    "BATCH.breaker_children": "3",
    "BATCH.breaker_share": "0.1",
    "COST_OPTIMIZATION.use_spot_instances": "0",
    "COST_OPTIMIZATION.spot_allocation_strategy": "SPOT_CAPACITY_OPTIMIZED",
    "COST_OPTIMIZATION.budget_limit": "70",
    "COST_OPTIMIZATION.cost_alerts": "1",
    "MONITORING.log_group": "/another/group",
    "MONITORING.log_retention_days": "30",
    "MONITORING.enable_detailed_monitoring": "1",
    "NOTIFICATIONS.sns_topic_arn": "arn:aws:sns:us-west-2:111122223333:another",
    "NOTIFICATIONS.email_notifications": "1",
    "SECURITY.iam_execution_role": "arn:aws:iam::111122223333:role/another",
    "SECURITY.iam_task_role": "arn:aws:iam::111122223333:role/another",
    "LAMBDA.memory_size": "2048",
    "LAMBDA.timeout": "600",
    "LAMBDA.ephemeral_storage": "2048",
    "LAMBDA.package_type": "Zip",
    "LAMBDA.architecture": "arm64",
    "EXPERIMENTAL.enable_lambda_processing": "0",
    "EXPERIMENTAL.enable_step_functions": "1",
    "EXPERIMENTAL.parallel_processing_regions": "9",
}
"""Another value than ``USUAL`` and the default; ``another`` where a key is not here."""
BESIDE = {
    "BATCH.ondemand_job_queue": {"USE_SPOT_INSTANCES": "0"},
    "COST_OPTIMIZATION.budget_limit": {"EMAIL": "a@example.org"},
    "SETTINGS.email": {"BUDGET_LIMIT": "70"},
    "SETTINGS.execution_mode": {"PATHS_LOCAL_BASE_DIR": "beside"},
    "NOTIFICATIONS.email_notifications": {"EMAIL": "a@example.org"},
    "NOTIFICATIONS.sns_topic_arn": {"BUDGET_LIMIT": "70"},
    "AWS_ACCOUNT.account_id": {"ACCOUNT_ID": "111122223333"},
    "EXPERIMENTAL.enable_step_functions": {"EXPERIMENTAL_ENABLE_STEP_FUNCTIONS": "0"},
}
"""What else has to be set, both times, for a key to count."""
ONLY_ONE_VALUE = {"IMAGERY.landsat_collection"}
"""Keys that accept nothing but their default."""
STACKS_OF: dict[Way, tuple[str, ...]] = {
    "batch": ("template", "schedule", "observability"),
    "lambda": ("template", "lambda", "observability"),
    "ecs": ("template", "ecs", "observability"),
    "fargate": ("template", "ecs", "observability"),
    "stepfunctions": ("template", "schedule", "stepfunctions", "observability"),
}
OUTPUTS = {
    "": {},
    "-lambda": {"FunctionName": "glacierflow"},
    "-stepfunctions": {"StateMachine": "arn:machine"},
    "-ecs": {
        "Cluster": "glacierflow-ecs",
        **{f"TaskDefinition{mib}": f"definition-{mib}:1" for mib in (7_500, 15_500, 31_500, 63_200)},
        "TaskSubnets": "subnet-1",
        "TaskSecurityGroup": "sg-1",
        "TaskPublicIp": "ENABLED",
    },
}
_OF_ONE_RUN = (
    (r"(landsat|sentinel2)-\d{8}-\d{8}-[\dn_]+-\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN"),
    (r'"(clientToken|startedBy|created_at|fingerprint|run_id)": ?"[^"]*"', r'"\1": ""'),
)


class Surveyed(FakeAws):
    """What is asked of AWS, with where and as whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bucket: str, stack: str) -> None:
        super().__init__(monkeypatch, bucket)
        self.sent: list[str] = []
        self.stacks = {f"{stack}{end}": outputs for end, outputs in OUTPUTS.items()}
        monkeypatch.setattr("fake_aws.QUEUES", Anything())
        made = Cloud.client

        def client(cloud: Cloud, service: str) -> Any:
            self.sent.append(f"as {cloud.profile} in {cloud.region}")
            return made(cloud, service)

        monkeypatch.setattr(Cloud, "client", client)

    def answer(self, request: AWSPreparedRequest, event_name: str) -> AWSResponse:
        operation = event_name.rpartition(".")[2]
        if operation in {"SubmitJob", "RunTask", "Invoke", "StartExecution", "DescribeStacks"}:
            content: Any = request.body or ""
            body = content.decode() if isinstance(content, bytes) else str(content)
            self.sent.append(f"{operation} {request.url} {body}")
        return super().answer(request, event_name)


class Anything:
    def __contains__(self, _: object) -> bool:
        return True


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setattr("getpass.getuser", lambda: "somebody")


_SEEN: dict[tuple[Any, ...], str] = {}
"""Most tests compare with what is usual."""

Evidence = Callable[[Way, dict[str, str], str], str]


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Evidence:
    """What there is to see of one way, at one moment, with some settings."""
    count = iter(range(1_000))

    def found(way: Way, values: dict[str, str], when: str) -> str:
        asked = (way, when, tuple(sorted(values.items())))
        if asked not in _SEEN:
            _SEEN[asked] = look(way, values, when)
        return _SEEN[asked]

    def look(way: Way, values: dict[str, str], when: str) -> str:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            for name, value in values.items():
                patch.setenv(f"GLACIERFLOW_{name}", value)
            seen = _see(way, when, values, patch, capsys)
        for pattern, instead in (*_OF_ONE_RUN, (re.escape(str(folder)), "HERE")):
            seen = re.sub(pattern, instead, seen)
        return seen

    return found


def _see(
    way: Way,
    when: str,
    values: dict[str, str],
    patch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    if when == "watch":
        loaded = load_settings()
        limits = limits_of(CommandLine(quiet=True), None)
        places = find_places(loaded, None)
        return str((limits, places.topic, places.log_group, loaded.settings.monitoring.log_group))
    if when == "deploy":
        return _stacks(way, patch)
    if way == "run":
        shown = run(["run", "--dry-run", "--json", "--quiet"]), capsys.readouterr().out
        undone = run(["run", "--quiet"]) if values.get("SETTINGS_SATELLITE") == "landsat" else 0
        return f"{shown} {undone} {capsys.readouterr().err}"
    if way == "task":
        assert run(["batch", "plan", "--manifest", "m.json", "--base-dir", "/there", "--quiet"]) == 0
        capsys.readouterr()
        return read_manifest("m.json", Cloud()).settings.model_dump_json()
    if way == "open_region":
        return _notebook(patch)
    return _submission(way, values, patch, capsys)


def _submission(
    way: Way, values: dict[str, str], patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    aws = Surveyed(patch, values["STORAGE_S3_BUCKET"], values.get("BATCH_STACK", "glacierflow"))
    named = [] if way == "batch" or "EXPERIMENTAL_ENABLE_STEP_FUNCTIONS" in values else ["--service", way]
    code = run(["submit", *named, "--quiet", "--json"])
    capsys.readouterr()
    manifests = [json.loads(one) for key, one in aws.objects.items() if key.endswith("/manifest.json")]
    for manifest in manifests:
        if way == "lambda":
            # what a function gets is asked with each invocation; classes and queues are for a retry
            manifest["arrays"] = []
    return "\n".join([str(code), *aws.sent, *map(json.dumps, manifests)])


def _stacks(way: Way, patch: pytest.MonkeyPatch) -> str:
    loaded = load_settings()
    told = from_settings(loaded) | repository_named(loaded)
    account = loaded.settings.aws_account
    seen = []
    for name in STACKS_OF[way]:
        template = load_template(name)
        own = {key.removeprefix(f"{name}:"): value for key, value in told.items()}
        own |= {
            key: f"given-{key}"
            for key, one in template.parameters.items()
            if "Default" not in one and key not in own
        }
        own = {key: value for key, value in own.items() if key in template.parameters}
        where = Account(account.account_id or "111122223333", account.aws_region, name)
        resolver = Resolver(template, where, own)
        kinds = {one["Type"] for one in template.content["Resources"].values()}
        seen.append({kind: resolver.resources(kind) for kind in sorted(kinds)})
    return json.dumps(seen, sort_keys=True, default=str)


class _Searched(Exception):  # noqa: N818
    pass


def _notebook(patch: pytest.MonkeyPatch) -> str:
    """The settings that a notebook's search is given, of those that the environment has as its keys."""
    loaded = load_settings().settings
    of_files = {"keep_downloads", "base_path", "folder_structure", "quicklooks", "overviews", "reprocess"}
    given = {key: value for key, value in loaded.step_settings() if key not in of_files}
    met: list[str] = []

    def search(*words: Any) -> Any:
        met.append(words[2].model_dump_json())
        raise _Searched

    patch.setattr(arrays, "search_unit", search)
    with pytest.raises(_Searched):
        glacierflow.open_region("134_Arsuk", "sentinel2", "2024-07-01", **given)
    return met[0]


def _values(section: str, key: str) -> tuple[dict[str, str], dict[str, str]]:
    """The environment without and with another value of a key."""
    name = f"{section}.{key}"
    base = USUAL | BESIDE.get(name, {})
    if section == "REGIONS":
        base = base | {"REGIONS_START_END_INDEX": "133:135"}
    changed = {**base, f"{section}_{key.upper()}": OTHER.get(name, "another")}
    short = key.upper()
    changed.pop(short, None)
    if name == "REGIONS.regions":
        del changed["REGIONS_START_END_INDEX"]
    return base, changed


IGNORED = {
    (section, key)
    for section, key, field in iter_fields()
    if any(isinstance(mark, Ignored) for mark in field.metadata)
}


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize(("section", "key"), [one for one in KEYS if one not in IGNORED])
def test_a_setting_has_on_each_way_the_effect_that_the_table_claims(
    section: str, key: str, way: Way, evidence: Evidence
) -> None:
    reach = reach_of(section, key)
    why = reach.why_not(way)
    if f"{section}.{key}" in ONLY_ONE_VALUE:
        assert why is None
        return
    before, after = _values(section, key)
    if why is None:
        moments = reach.when
        assert moments
        for when in moments:
            assert evidence(way, before, when) != evidence(way, after, when), when
    else:
        assert why
        if way != "open_region" and (way not in SUBMITTED or "deploy" not in reach.when):
            assert evidence(way, before, "start") == evidence(way, after, "start")


def test_every_key_is_in_the_table_and_ignored_ones_reach_nothing() -> None:
    for section, key in KEYS:
        reach = reach_of(section, key)
        assert bool(reach.ways) is ((section, key) not in IGNORED)
        assert all(reach.why_not(way) for way in PATHS if way not in reach.ways)


@pytest.mark.parametrize("way", PATHS[:-1])
def test_what_is_ignored_changes_nothing_anywhere(way: Way, evidence: Evidence) -> None:
    after = dict(USUAL)
    for section, key in IGNORED:
        after[f"{section}_{key.upper()}"] = OTHER.get(f"{section}.{key}", "another")
    for when in ("start", "watch", *(("deploy",) if way in SUBMITTED else ())):
        assert evidence(way, USUAL, when) == evidence(way, after, when)


def matrix() -> Iterator[str]:
    """The table as the documentation shows it: a row a key that has an effect anywhere."""
    for section, key in KEYS:
        reach = reach_of(section, key)
        if reach.ways:
            cells = [" ".join(reach.when) if way in reach.ways else "-" for way in PATHS]
            reasons: dict[str, list[str]] = {}
            for way in PATHS:
                if why := reach.why_not(way):
                    reasons.setdefault(why, []).append(way)
            words = "; ".join(f"{', '.join(ways)}: {why}" for why, ways in reasons.items())
            yield f"| `[{section}] {key}` | {' | '.join(cells)} | {words} |"


def test_the_documentation_shows_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith("| `[")]
    assert shown == list(matrix())


def test_a_submission_says_what_has_no_effect_where_it_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in USUAL.items():
        monkeypatch.setenv(f"GLACIERFLOW_{name}", value)
    monkeypatch.setenv("GLACIERFLOW_USE_SPOT_INSTANCES", "0")
    assert run(["batch", "plan", "--service", "lambda"]) == 0
    said = capsys.readouterr().err
    assert (
        "[COST_OPTIMIZATION] use_spot_instances has no effect with --service lambda: Lambda has no spot"
        in said
    )
    assert run(["batch", "plan", "--service", "ecs"]) == 0
    told = capsys.readouterr()
    assert "no effect" not in told.err
    assert "ecs:RunTask {capacity: FARGATE, 7500 MiB" in told.out


def test_the_state_machine_is_told_how_often_it_tries_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in USUAL.items():
        monkeypatch.setenv(f"GLACIERFLOW_{name}", value)
    aws = Surveyed(monkeypatch, "made-up", "glacierflow")
    assert run(["submit", "--service", "stepfunctions", "--rounds", "5", "--quiet"]) == 0
    (started,) = [one for one in aws.sent if one.startswith("StartExecution")]
    assert "rounds" in started
    assert re.search(r"rounds[\\\"]*: 5", started)
    assert run(["submit", "--rounds", "5", "--quiet"]) == 64
    assert "--rounds = 5 is about the state machine or the function, and --service is batch" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("more", "told", "left"),
    [
        (["--rounds", "3"], 3, "goes on by itself, in at most 3 more invocations of a slot"),
        (
            ["--rounds", "0"],
            None,
            "what the deadline cuts goes on, on AWS Batch, with glacierflow retry",
        ),
        ([], None, "what the deadline cuts goes on, on AWS Batch, with glacierflow retry"),
    ],
)
def test_each_invocation_is_told_how_often_what_it_leaves_goes_on(
    more: list[str],
    told: int | None,
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in USUAL.items():
        monkeypatch.setenv(f"GLACIERFLOW_{name}", value)
    aws = Surveyed(monkeypatch, "made-up", "glacierflow")
    assert run(["submit", "--service", "lambda", "--quiet", *more]) == 0
    payloads = [json.loads(one[one.index("{") :]) for one in aws.sent if one.startswith("Invoke")]
    assert [(one["slot"], one.get("rounds")) for one in payloads] == [(0, told), (1, told)]
    assert left in capsys.readouterr().out
    assert run(["submit", "--service", "lambda", "--rounds", "11"]) == 64
    assert "--rounds = 11 is more than 10" in capsys.readouterr().err


def test_a_plan_takes_the_rounds_of_a_submission_and_shows_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in USUAL.items():
        monkeypatch.setenv(f"GLACIERFLOW_{name}", value)
    assert run(["batch", "plan", "--service", "lambda", "--rounds", "3"]) == 0
    assert "(Event) {manifest: s3://made-up/" in (shown := capsys.readouterr().out)
    assert "slot: 0..1, rounds: 3}" in shown
    assert run(["batch", "plan", "--service", "stepfunctions", "--rounds", "0"]) == 0
    assert "via: batch, rounds: 0}" in capsys.readouterr().out
    assert run(["batch", "plan", "--rounds", "3"]) == 64
    # what does not fit one invocation may fit several
    monkeypatch.setenv("GLACIERFLOW_SETTINGS_SATELLITE", "sentinel2")
    monkeypatch.setenv("GLACIERFLOW_DATES_DATE1", "2016-01-01")
    assert run(["batch", "plan", "--service", "lambda"]) == 64
    assert "s of 900" in capsys.readouterr().err
    assert run(["batch", "plan", "--service", "lambda", "--rounds", "10"]) == 0


@pytest.mark.parametrize(
    ("satellite", "clocks"),
    [("both", ["sentinel2", "landsat"]), ("sentinel2", ["sentinel2"]), ("landsat", ["landsat"])],
)
def test_one_clock_submits_for_the_satellites_that_are_asked_for(satellite: str, clocks: list[str]) -> None:
    template = load_template("schedule")
    given = {key: "x" for key, one in template.parameters.items() if "Default" not in one}
    topics = {"NewScenesTopic": "arn:one", "MoreScenesTopic": "arn:two"}
    told = {**given, **topics, "ScheduleExpression": "rate(7 days)", "ScheduleSatellite": satellite}
    resolver = Resolver(template, Account("111122223333", "us-west-2", "s"), told)
    (clock,) = resolver.resources("AWS::Events::Rule").values()
    assert [json.loads(one["Input"])["satellite"] for one in clock["Targets"]] == clocks
    heard = resolver.resources("AWS::SNS::Subscription").values()
    assert {one["TopicArn"] for one in heard} == {"arn:one", "arn:two"}
