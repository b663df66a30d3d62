"""``report``: the page's numbers are those of the verbs, its files lie where its addresses lead."""

from __future__ import annotations

import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from batch_fake import NoStack
from logs_fake import LogsFake
from report_samples import ShownRun, shown_run

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.model.layout import RunLayout
from glacierflow.regions import load_catalogue
from glacierflow.report.page import money

REGIONS = load_catalogue(None).regions[40:60]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ShownRun:
    """Twenty regions: 14 done, two of them after a reclaim, 2 without data, 2 out of memory."""
    for name in ("aws_config.ini", "config.ini"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    made = shown_run(REGIONS)
    made.batch.add_queue("queue")
    clients = {
        "batch": made.batch,
        "s3": made.s3,
        "logs": LogsFake(),
        "cloudformation": NoStack(),
        "ec2": NoStack(),
    }
    monkeypatch.setattr(Cloud, "client", lambda _self, service: clients[service])
    return made


def typed(capsys: pytest.CaptureFixture[str], *words: str, expect: int = 0) -> Any:
    capsys.readouterr()
    code = run([*words, "--json"])
    said = capsys.readouterr()
    assert code == expect, said
    return json.loads(said.out)


def value_of(path: Path) -> Any:
    """What a script assigns."""
    return json.loads(re.sub(r"^[^=]+=|;\s*$", "", path.read_text()))


class Page(HTMLParser):
    """Facts and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.facts: dict[str, str] = {}
        self.addresses: list[str] = []
        self._fact: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        said = dict(attrs)
        self._fact = said.get("data-fact")
        self.addresses += [said[name] or "" for name in ("src", "href") if name in said]

    def handle_data(self, data: str) -> None:
        if self._fact:
            self.facts[self._fact] = data.strip()
            self._fact = None


def test_the_numbers_are_those_of_status_cost_and_verify(
    shown: ShownRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = shown.manifest.run_id
    told = typed(capsys, "report", run_id)
    status = typed(capsys, "status", run_id, expect=1)
    cost = typed(capsys, "cost", run_id)
    verified = typed(capsys, "verify", run_id, "--quick", expect=1)
    page = Page(Path(told["page"]).read_text())
    assert page.facts["done"] == str(status["outcomes"]["done"]) == "16"
    assert page.facts["no_data"] == str(status["outcomes"]["no_data"]) == "2"
    assert page.facts["failed"] == str(status["wrong"]) == "2"
    assert page.facts["images"] == str(status["products"]) == "64"
    assert page.facts["new_images"] == str(cost["products"]) == "64"
    assert page.facts["attempts"] == str(status["attempts"])
    assert page.facts["reclaims"] == str(status["reclaims"]) == "2"
    assert page.facts["usd"] == money(cost["usd"])
    data = value_of(Path(told["page"]).with_name("data.js"))
    assert data["headline"]["usd"] == pytest.approx(cost["usd"])
    assert data["headline"]["wasted_usd"] == pytest.approx(sum(cost["wasted"].values()))
    states = [data["coverage"]["states"][cell[2]] for cell in data["coverage"]["cells"]]
    assert {state: states.count(state) for state in set(states)} == verified["states"]
    assert len(data["attempts"]) == len(cost["attempts"])


def test_every_address_leads_to_a_file_below_the_folder(
    shown: ShownRun, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed(capsys, "report", shown.manifest.run_id)
    page = Path(told["page"])
    for address in Page(page.read_text()).addresses:
        assert address.startswith(("#", "data:")) or (page.parent / address).is_file(), address
    lists = sorted(page.parent.glob("images/*.js"))
    assert len(lists) == 16
    columns = value_of(lists[0])
    assert columns["times"] == sorted(columns["times"])
    assert len(columns["pictures"]) == 4
    # black at 1000, 1100, 1200 and 1300, over 4000 each; the medians are 1150 and 5150
    assert columns["curves"] == [[1.0, -0.0375], [1.0, -0.0125], [1.0, 0.0125], [1.0, 0.0375]]
    assert all((page.parent / picture).read_bytes()[:4] == b"\x89PNG" for picture in columns["pictures"])
    assert told["pictures"] == 64


def test_a_failure_shows_its_reason_and_the_command_that_mends_it(
    shown: ShownRun, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(typed(capsys, "report", shown.manifest.run_id)["page"]).read_text()
    assert "OutOfMemoryError: Container killed" in page
    assert f"<code>glacierflow retry {shown.manifest.name} --only oom</code>" in page
    assert REGIONS[-1].name in page


def test_upload_puts_the_page_beside_the_records_and_zip_packs_it(
    shown: ShownRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = typed(capsys, "report", "--upload", "--zip", "--to", "here")
    key = f"{RunLayout(shown.manifest.run_id).report_prefix}index.html"
    assert told["uploaded"] == f"s3://greenland-glacier-data/{key}"
    assert told["page"] == f"here/{key}"
    assert shown.s3.objects[key] == (tmp_path / told["page"]).read_bytes()
    with zipfile.ZipFile(told["packed"]) as archive:
        names = archive.namelist()
        assert f"url={key}" in archive.read("index.html").decode()
        assert archive.read(key) == shown.s3.objects[key]
    assert len([name for name in names if name.endswith(".png")]) == 64


def test_a_name_in_the_data_cannot_become_markup(shown: ShownRun, capsys: pytest.CaptureFixture[str]) -> None:
    shown.batch.set_child("job-0", 19, statusReason="<script>alert(1)</script>", container={"exitCode": 1})
    page = Path(typed(capsys, "report")["page"]).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked(
    shown: ShownRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    shown.calls()
    assert run(["report", "--to", "file"]) == 64
    assert "--to = file cannot be written" in capsys.readouterr().err
    assert shown.calls() == 0


def test_the_end_of_watch_leaves_a_page_in_the_bucket_and_in_the_folder(
    shown: ShownRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["watch", shown.manifest.run_id, "--quiet", "--fetch", "mine"]) == 1
    key = f"{RunLayout(shown.manifest.run_id).report_prefix}index.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"report     mine/{key}"
    assert (tmp_path / "mine" / key).is_file()
    assert key in shown.s3.objects


@pytest.mark.parametrize(
    ("usd", "text"),
    [(None, "not known"), (0.0, "$0.00"), (1234.5, "$1,234"), (1.239, "$1.24"), (0.00421, "$0.0042")],
)
def test_amounts_have_as_many_digits_as_tell_something(usd: float | None, text: str) -> None:
    assert money(usd) == text
