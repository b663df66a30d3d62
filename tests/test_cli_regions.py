"""``glacierflow regions list``, ``show`` and ``map``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from glacierflow.cli.app import run

OWN = "region,mgrs_tiles,xmin,ymin,xmax,ymax\nmine,22WEB 23WMT,-207000,-2298000,-206400,-2297100\n"


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.csv"
    path.write_text(OWN)
    return str(path)


def test_list_prints_a_line_a_region(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["regions", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 193
    assert lines[0].split() == ["index", "region", "km2", "utm", "mgrs_tiles"]
    assert lines[49].split() == ["48", "049_jakobshavn", "2645.5", "22", "22WEB"]


def test_list_takes_a_selection_and_says_warnings_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["regions", "list", "--json", "--start_end_index", "190:195", "--regions", "134_Arsuk"]) == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert [region["index"] for region in shown] == [190, 191]
    assert set(shown[0]) >= {"name", "mgrs_tiles", "xmin", "area_km2", "utm_zones", "outline"}
    assert "190:195" in printed.err
    assert "134_Arsuk" in printed.err
    assert run(["regions", "list", "--regions", " 134_Arsuk, 049_jakobshavn,"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_show_tells_one_region(capsys: pytest.CaptureFixture[str], own: str) -> None:
    assert run(["regions", "show", "mine", "--regions-file", own]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["region"] == "mine"
    assert told["extent"] == "x -207000 to -206400, y -2298000 to -2297100 m in EPSG:3413"
    assert told["area"] == "0.5 km2 (0.6 x 0.9 km)"
    assert told["sentinel2"] == "60 x 90 pixels of 10 m"
    assert told["landsat"] == "40 x 60 pixels of 15 m"
    assert told["tiles"] == "22WEB 23WMT"
    assert run(["regions", "show", "mine", "--regions-file", own, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["utm_zones"] == [22, 23]
    assert len(shown["outline"]) == 81


def test_check_names_the_regions_that_reach_beyond_their_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["regions", "check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "163_Bowdoin: 1.47% in none of its tiles; missing 19XDG" in lines
    assert lines[-1] == "192 regions, 10 not wholly inside their Sentinel-2 tiles"
    assert run(["regions", "check", "--regions", "163_Bowdoin,134_Arsuk", "--json"]) == 0
    (gap,) = json.loads(capsys.readouterr().out)["uncovered"]
    assert (gap["region"], gap["missing_tiles"]) == ("163_Bowdoin", ["19XDG"])
    assert run(["regions", "show", "163_Bowdoin"]) == 0
    assert "1.47% lies in none of the tiles; 19XDG would do" in capsys.readouterr().out


def test_map_writes_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "map.png"
    assert run(["regions", "map", "--out", str(out), "--start-end-index", "0:3"]) == 0
    assert "192 regions, 3 chosen" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert max(image.size) == 2800
        assert (0xF2, 0xA6, 0x5A) in {colour for _, colour in image.getcolors(1 << 20) or []}
    assert run(["regions", "map", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "regions": 192, "chosen": []}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "jakobshavn"], "did you mean 049_jakobshavn?"),
        (["list", "--start-end-index", "5:2"], "5:2 holds no region"),
        (["list", "--start-end-index", "a:b"], "'a:b' is not an index range"),
        (["list", "--regions", ""], "no region is named"),
        (["list", "--regions-file", "none.csv"], "there is no file none.csv"),
        (["map", "--out", "no/such/folder/map.png"], "cannot be written"),
        (["map"], "--out"),
        (["show"], "Missing argument"),
    ],
)
def test_bad_input_ends_with_64_and_one_sentence(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["regions", *arguments]) == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []
