"""``glacierflow batch`` as typed: refusals, dry runs, progress, exit codes."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_fake import NoStack
from product_trees import CATALOGUE, REGION, our_tree
from runs_samples import put_attempt, some_job, some_manifest

from glacierflow.cli import render_status as watch_cli
from glacierflow.cli.app import run
from glacierflow.cli.batch import runs
from glacierflow.cli.context import CommandLine
from glacierflow.cli.results import fetch_run
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError
from glacierflow.live import look as look_module
from glacierflow.live.family import FamilyLook
from glacierflow.live.look import RunLook
from glacierflow.model.layout import Layout, RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Satellite, StepSettings
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.runs.states import BatchView, SlotState
from glacierflow.runs.status import RunStatus
from glacierflow.store import LocalStore

SETTINGS_FILES = ("aws_config.ini", "config.ini")
GOOD = ["--satellite", "sentinel2", "--date1", "2024-07-01", "--date2", "2024-07-31"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two empty settings files, and no AWS: a client is a failure."""

    def refuse(_cloud: Cloud, service: str) -> Any:
        pytest.fail(f"a client for {service} was made")

    working = tmp_path / "working"
    working.mkdir()
    for name in SETTINGS_FILES:
        (working / name).touch()
    monkeypatch.chdir(working)
    monkeypatch.setattr(Cloud, "client", refuse)
    return working


def submit(*words: str) -> int:
    return run(["batch", "submit", *words])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*GOOD, "--regions", "049_jakobshaven"], "there is no region 049_jakobshaven; did you mean 049_j"),
        ([*GOOD, "--start-end-index", "5:2"], "the index range 5:2 "),
        ([*GOOD, "--start-end-index", "300:400"], "the index range 300:400 "),
        ([*GOOD, "--start_end_index", "a:b"], "start_end_index = a:b is refused"),
        (["--date1", "2024-07-31", "--date2", "2024-07-01", "--all"], "is before date1"),
        (["--date1", "2024-13-01", "--all"], "date1 = 2024-13-01 is refused"),
        (["--satellite", "sentinel3", "--all"], "satellite = sentinel3 is refused"),
        (["--config", "nowhere.ini", "--all"], "there is no file nowhere.ini"),
        (["--aws-config", "nowhere.ini", "--all"], "there is no file nowhere.ini"),
        ([*GOOD, "--regions-file", "nowhere.csv"], "nowhere.csv"),
        ([*GOOD, "--regions-file", "broken.csv"], "broken.csv"),
        (GOOD, "no region is named, which means all 192"),
        ([*GOOD, "--all", "--archive", "somewhere"], "--archive is for the embedded cloud"),
        ([*GOOD, "--all", "--live-imagery"], "--live-imagery is for the embedded cloud"),
        ([*GOOD, "--all", "--local", "--archive", "nowhere"], "--archive = nowhere is not a directory"),
        ([*GOOD, "--all", "--local", "--archive", ".", "--live-imagery"], "exclude each other"),
        ([*GOOD, "--all", "--fetch", "broken.csv"], "--fetch = broken.csv cannot be written"),
        ([*GOOD, "--all", "--dry-run=perhaps"], "--dry-run = perhaps is not accepted"),
        ([*GOOD, "--all", "--no-such-option"], "--no-such-option"),
    ],
)
@pytest.mark.parametrize("extra", [[], ["--local"]])
def test_bad_input_is_refused_in_one_sentence_and_leaves_nothing(
    words: list[str],
    extra: list[str],
    sentence: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from glacierflow.local import control

    if extra and "is for the embedded cloud" in sentence:
        extra = []
    monkeypatch.setattr(control, "up", lambda *_args, **_more: pytest.fail("the embedded cloud was started"))
    (home / "broken.csv").write_text("region,xmin\n001_x,not a number\n")
    assert submit(*words, *extra) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *rest = captured.err.splitlines()
    assert first.startswith("glacierflow: ")
    assert sentence in first
    assert all(line.startswith("  ") for line in rest)
    assert sorted(path.name for path in home.iterdir()) == ["aws_config.ini", "broken.csv", "config.ini"]
    assert not (tmp_path / "glacierflow-home").exists()


def test_an_unreadable_config_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.ini").write_bytes(b"\xff\xfe\x00binary")
    assert submit(*GOOD, "--all") == 64
    assert "config.ini is not a text file" in capsys.readouterr().err


def test_a_missing_bucket_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from botocore.exceptions import ClientError

    class NoBucket:
        def head_bucket(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": "404", "Message": "Not Found"}}, "HeadBucket")

    clients = {"s3": NoBucket(), "cloudformation": NoStack()}
    monkeypatch.setattr(Cloud, "client", lambda _self, service: clients[service])
    assert submit(*GOOD, "--start-end-index", "0:3", "--s3-bucket", "elsewhere") == 64
    assert capsys.readouterr().err.startswith("glacierflow: s3_bucket = elsewhere does not exist\n  next: ")
    assert not (tmp_path / "glacierflow-home").exists()


@pytest.mark.parametrize("flag", [["--dry-run"], ["--dry-run", "true"], ["--dry-run=True"]])
def test_a_dry_run_shows_units_arrays_and_calls_offline(
    flag: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(*flag, *GOOD, "--start-end-index", "48:51") == 0
    out = capsys.readouterr().out
    assert "3 units in 3 slots, 1 jobs, to s3://" in out
    shown = [line.split()[:5] for line in out.splitlines() if line.startswith("  slot ")]
    assert shown == [
        ["slot", "0", "index", "48", "049_jakobshavn"],
        ["slot", "1", "index", "49", "050_jensen"],
        ["slot", "2", "index", "50", "051_johan_petersen_south"],
    ]
    assert "slots stand by index in the catalogue:" in out
    assert "array of 3" in out
    calls = [line.split()[0] for line in out.splitlines() if line.startswith(("  s3:", "  batch:"))]
    assert calls == [
        "s3:HeadBucket",
        "batch:DescribeJobQueues",
        "batch:DescribeJobDefinitions",
        "s3:ListObjectsV2",
        "s3:ListObjectsV2",
        "s3:PutObject",
        "batch:SubmitJob",
        "s3:PutObject",
    ]
    assert sorted(path.name for path in home.iterdir()) == sorted(SETTINGS_FILES)


def test_a_region_may_be_named_by_region_as_the_predecessor_took_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert submit("--dry-run", "--json", *GOOD, "--region", "049_jakobshavn") == 0
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert [region["name"] for region in manifest["regions"].values()] == ["049_jakobshavn"]


def test_a_dry_run_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--dry-run", "--json", *GOOD, "--regions", "049_jakobshavn") == 0
    plan = json.loads(capsys.readouterr().out)
    (request,) = plan["submit_job"]
    assert "arrayProperties" not in request
    manifest = Manifest.model_validate(plan["manifest"])
    assert manifest.units_of(0)[0].region == "049_jakobshavn"


def test_the_largest_may_come_first_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--dry-run", "--json", *GOOD, "--regions", "090_petermann,134_Arsuk,049_jakobshavn")
    slots = {}
    for order in ("catalogue", "largest"):
        assert submit(*asked, "--order", order) == 0
        manifest = Manifest.model_validate(json.loads(capsys.readouterr().out)["manifest"])
        assert manifest.order == order
        slots[order] = [unit.region for (unit,) in manifest.slots]
    assert slots["catalogue"] == ["049_jakobshavn", "090_petermann", "134_Arsuk"]
    assert slots["largest"] == ["090_petermann", "049_jakobshavn", "134_Arsuk"]
    assert submit(*asked, "--order", "random") == 64
    told = capsys.readouterr().err
    assert "--order = random is not accepted" in told
    assert "accepted: catalogue, largest" in told


def test_what_the_catalogues_order_costs_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3,600 million pixels need (420 + 7 x 3,600) MB x 1.25 = 30,542 MiB, by docs/reference/memory.md."""
    (home / "regions.csv").write_text(
        "region,mgrs_tiles,xmin,ymin,xmax,ymax\n"
        "large,22WEB,0,-1500000,600000,-900000\n"
        "small,22WEB,0,-1500000,30000,-1470000\n"
    )
    asked = ("--dry-run", *GOOD, "--all", "--regions-file", "regions.csv")
    assert submit(*asked) == 0
    told = capsys.readouterr()
    assert "1 need less, and --order largest gives it to them" in told.err
    assert "array of 2, 31,500 MiB each" in told.out
    assert submit(*asked, "--order", "largest") == 0
    told = capsys.readouterr()
    assert "need less" not in told.err
    assert told.out.count("plain job") == 2


def test_plan_shows_years_of_everything_offline(capsys: pytest.CaptureFixture[str]) -> None:
    dates = ["--date1", "2016-01-01", "--date2", "2025-12-31"]
    assert run(["batch", "plan", "--satellite", "landsat", *dates, "--by", "year"]) == 0
    out = capsys.readouterr().out
    assert "1920 units in 1920 slots, 1 jobs" in out
    assert "slots stand largest first:" in out
    assert "array of 1920, 7,500 MiB each" in out
    assert "... and 1720 more units; --json has all" in out
    assert run(["batch", "plan", *dates, "--by", "week"]) == 64
    assert "--by = week is not accepted\n  next: write one of year" in capsys.readouterr().err
    assert run(["batch", "plan", *dates, "--by", "month", "--pack", "60", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    manifest = Manifest.model_validate(plan["manifest"])
    assert sum(len(slot) for slot in manifest.slots) == 192 * 120
    assert 1 < len(manifest.slots) < 10_000


def test_a_dry_run_of_everything_need_not_be_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--dry-run", *GOOD) == 0
    assert "array of 192" in capsys.readouterr().out


def test_a_selection_on_the_command_line_replaces_the_files_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.ini").write_text("[REGIONS]\nstart_end_index = 0:5\n[SETTINGS]\ndry_run = true\n")
    assert submit(*GOOD, "--regions", "049_jakobshavn") == 0
    assert "1 units" in capsys.readouterr().out
    assert submit(*GOOD) == 0
    assert "5 units" in capsys.readouterr().out


def test_of_two_selections_in_one_place_the_range_wins_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert submit("--dry-run", *GOOD, "--regions", "049_jakobshavn", "--start-end-index", "0:2") == 0
    captured = capsys.readouterr()
    assert "2 units" in captured.out
    assert "0:2 wins" in captured.err


def test_dry_run_false_overrules_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.ini").write_text("[SETTINGS]\ndry_run = true\n")
    assert submit(*GOOD, "--dry-run", "false") == 64
    assert "no region is named" in capsys.readouterr().err


class Script:
    """A run in a directory whose Batch states follow a script, one step a look."""

    def __init__(
        self, folder: Path, steps: Sequence[str | Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.store = LocalStore(folder)
        self.manifest = some_manifest(3)
        self.steps = list(steps)
        monkeypatch.setattr(look_module, "view_of", self._describe)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        look = FamilyLook([RunLook(self.manifest, [some_job(0, 3)], self.store, Cloud())])
        monkeypatch.setattr(runs, "open_run", lambda _run, _line: look)

    def _describe(self, *_: Any, **__: Any) -> BatchView:
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, BaseException):
            raise step
        if step == "SUCCEEDED":
            for slot in range(3):
                put_attempt(self.store, self.manifest, slot, "done")
        return BatchView({slot: SlotState(step, f"job-0:{slot}") for slot in range(3)})


MakeScript = Callable[..., Script]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeScript:
    return lambda *steps: Script(tmp_path / "store", steps, monkeypatch)


def test_watch_prints_each_change_once_then_the_summary(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = script("RUNNABLE", "RUNNABLE", "RUNNING", "SUCCEEDED").manifest.run_id
    assert run(["batch", "watch", run_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    progress = [line.split("  ")[1] for line in lines if line.startswith("0:")]
    assert progress == ["3 RUNNABLE", "3 RUNNING", "3 SUCCEEDED"]
    assert any("001_made_up" in line and "done" in line for line in lines)
    assert "3 of 3 regions done, no failures, 9 images" in lines
    (quicklooks,) = [line for line in lines if line.startswith("quicklooks ")]
    assert quicklooks.endswith(f"{RunLayout(run_id).report_prefix}quicklooks")


def test_watch_of_a_run_that_fails_exits_1_and_says_why(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    script("FAILED")
    assert run(["batch", "watch", "x", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "0 of 3 regions done, 3 failures, no images" in out
    assert "every attempt ended before it could write a record" in out
    assert "0:00" not in out


def test_watch_bridges_a_service_that_is_away(script: MakeScript) -> None:
    script(UnavailableError("AWS is away"), "RUNNING", UnavailableError("again"), "SUCCEEDED")
    assert run(["batch", "watch", "x"]) == 0


def test_watch_gives_up_when_the_service_stays_away(
    script: MakeScript, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(UnavailableError("AWS is away"))
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert run(["batch", "watch", "x"]) == 1
    assert "AWS is away" in capsys.readouterr().err


def test_ctrl_c_leaves_the_run_and_says_how_to_look_again(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    made = script("RUNNING", KeyboardInterrupt())
    assert run(["batch", "watch", "x", "--s3-bucket", "other"]) == 130
    err = capsys.readouterr().err
    assert "the run goes on" in err
    assert f"glacierflow watch {made.manifest.name} --s3-bucket other" in err


def test_json_is_alone_on_stdout(script: MakeScript, capsys: pytest.CaptureFixture[str]) -> None:
    script("RUNNING", "SUCCEEDED")
    assert run(["batch", "watch", "x", "--json"]) == 0
    captured = capsys.readouterr()
    status = json.loads(captured.out)
    assert (status["finished"], status["products"], len(status["slots"])) == (True, 9, 3)
    assert "3 RUNNING" in captured.err


def test_status_of_a_running_run_is_no_failure(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    script("RUNNING")
    assert run(["batch", "status", "x"]) == 0
    assert "0 of 3 regions done, no failures, no images" in capsys.readouterr().out


def test_a_silent_run_still_gives_a_sign_of_life(capsys: pytest.CaptureFixture[str]) -> None:
    show = watch_cli._plain_lines(stderr=False)
    status = RunStatus(run_id="x", created_at=some_manifest(1).created_at, store="s3://x", rows=())
    for elapsed in (1.0, 10.0, 16.5, 20.0, 32.0):
        show(status, elapsed)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_fetch_copies_what_the_run_made_and_nothing_else(tmp_path: Path) -> None:
    store, manifest = LocalStore(tmp_path / "store"), some_manifest(1)
    layout, run_layout = Layout(manifest.settings.base_path), RunLayout(manifest.run_id)
    region = "000_made_up"
    wanted = [
        layout.product("sentinel2", region, "S2A_MSIL2A_20240715T150921_N0510_R025"),
        layout.individual_csv(region, "S2A_MSIL2A_20240715T150921_N0510_R025"),
        layout.stac_item("sentinel2", region, "S2A_MSIL2A_20240715T150921_N0510_R025"),
        layout.template("sentinel2", region),
        layout.combined_csv(region),
        run_layout.quicklook(region, "S2A_MSIL2A_20240715T150921_N0510_R025"),
        run_layout.manifest,
    ]
    other = [
        layout.product("sentinel2", region, "S2A_MSIL2A_20240801T150921_N0510_R025"),
        layout.product("sentinel2", "001_made_up", "S2A_MSIL2A_20240715T150921_N0510_R025"),
        layout.stac_item("sentinel2", region, "S2A_MSIL2A_20240801T150921_N0510_R025"),
        layout.stac_item("sentinel2", "001_made_up", "S2A_MSIL2A_20240715T150921_N0510_R025"),
        "runs/another/manifest.json",
    ]
    for key in wanted + other:
        store.put(key, key.encode())
    folder = tmp_path / "fetched"
    files = fetch_run(manifest, store, folder)
    assert sorted(path.relative_to(folder).as_posix() for path in files) == sorted(wanted)
    assert (folder / wanted[0]).read_bytes() == wanted[0].encode()


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_what_was_fetched_passes_our_own_check_and_its_stac_tree_is_whole(
    satellite: Satellite, tmp_path: Path
) -> None:
    store, base = LocalStore(our_tree(tmp_path / "store")), some_manifest(1).settings.base_path
    first = dt.date(2024, 7, 1)  # of two images of Sentinel-2 only the first is the run's
    last = first if satellite == "sentinel2" else dt.date(2024, 7, 31)
    slots = plan_slots(satellite, [REGION], first, last)
    manifest = build_manifest(slots, [REGION], StepSettings(), catalogue_sha256="c", store="s3://made-up")
    fetch_run(manifest, store, tmp_path / "fetched")
    (tmp_path / "regions.csv").write_text(CATALOGUE)
    assert run(["check", str(tmp_path / "fetched"), "--regions-file", str(tmp_path / "regions.csv")]) == 0
    stac = tmp_path / "fetched" / base / "stac"
    catalog = json.loads((stac / "catalog.json").read_text())
    (child,) = (link["href"] for link in catalog["links"] if link["rel"] == "child")
    collection = json.loads((stac / child).read_text())
    (item,) = (link["href"] for link in collection["links"] if link["rel"] == "item")
    assert ((stac / child).parent / item).is_file()


def test_a_later_look_is_told_with_the_options_it_needs() -> None:
    line = CommandLine(local=True, config="my config.ini", s3_bucket="b", date1="2024-07-01")
    assert line.again() == " --local --config 'my config.ini' --s3-bucket b"
