"""Settings that are refused: what is said, and about which file, section, key and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from glacierflow.errors import SettingsError
from glacierflow.settings import load_settings


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ini(text: str, name: str = "config.ini") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config=ini(text), environ={})
    assert caught.value.exit_code == 64
    assert caught.value.next_step
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[DATES]\ndate1 = 2024-13-01", ["config.ini", "[DATES]", "date1", "2024-13-01", "YYYY-MM-DD"]),
        ("[DATES]\ndate1 = 20240701", ["20240701", "YYYY-MM-DD"]),
        ("[DATES]\ndate1 = 2024-07-01T00:00:00", ["YYYY-MM-DD"]),
        ("[DATES]\ndate1 = 2024-08-02\ndate2 = 2024-08-01", ["2024-08-01 is before date1 = 2024-08-02"]),
        ("[DATES]\ndate2 = 2023-08-01", ["config.ini", "date2 = 2023-08-01 is before date1 = 2024-07-01"]),
        (
            "[SETTINGS]\nsatellite = sentinel-2",
            ["satellite = sentinel-2", "sentinel2, landsat", "did you mean sentinel2?"],
        ),
        ("[SETTINGS]\nmemory = lots", ["memory = lots", "60G"]),
        ("[SETTINGS]\nmemory = 0G", ["memory = 0G"]),
        ("[SETTINGS]\nmemory = 5K", ["memory = 5K"]),
        ("[SETTINGS]\ncores = -1", ["cores = -1", "whole number"]),
        ("[FLAGS]\ndownload_flag = 2", ["download_flag = 2", "1, true, yes, on"]),
        ("[REGIONS]\nstart_end_index = a:b", ["start_end_index = a:b", "A:B"]),
        ("[REGIONS]\nregions = ,", ["regions = ,", "at least one"]),
        ("[IMAGERY]\nsentinel2_min_coverage = 50", ["sentinel2_min_coverage = 50", "between 0 and 1"]),
        ("[IMAGERY]\nlandsat_min_overlap = nan", ["landsat_min_overlap = nan"]),
        ("[IMAGERY]\nresampling = cubik", ["did you mean cubic?"]),
        ("[IMAGERY]\nlandsat_tiers = T1, T3", ["T1, T3", "T1, T2, RT"]),
        ("[IMAGERY]\nsentinel2_collection = sentinel-2-l1c", ["sentinel-2-l2a, sentinel-2-c1-l2a"]),
        ("[IMAGERY]\nmax_region_cloud = 40", ["max_region_cloud = 40", "between 0 and 1"]),
        ("[IMAGERY]\nmgrs_tiles = all", ["mgrs_tiles = all", "listed, auto"]),
        ("[IMAGERY]\nsentinel2_stac_url = earth-search", ["earth-search", "https://"]),
        ("[AWS_ACCOUNT]\naccount_id = 1234", ["account_id = 1234", "12 digits"]),
        ("[STORAGE]\ns3_base_path = a/../b", ["s3_base_path = a/../b"]),
        ("[COST_OPTIMIZATION]\nspot_allocation_strategy = cheap", ["cheap", "SPOT_CAPACITY_OPTIMIZED"]),
        ("[COST_OPTIMIZATION]\nbudget_limit = -4", ["budget_limit = -4"]),
    ],
)
def test_a_bad_value_is_refused_with_file_section_key_value_and_what_is_accepted(
    text: str, parts: list[str]
) -> None:
    message = refusal(text)
    assert "\n" not in message
    for part in [*parts, "config.ini", text.partition("]")[0]]:
        assert part in message


def test_all_bad_values_are_named_at_once() -> None:
    message = refusal("[DATES]\ndate1 = soon\ndate2 = later\n[SETTINGS]\nsatellite = modis")
    assert message.startswith("3 settings are refused")
    for word in ("soon", "later", "modis"):
        assert word in message


def test_a_refused_option_or_variable_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match=r"^command line: \[DATES\] date1 = tomorrow"):
        load_settings(environ={}, overrides={"DATES.date1": "tomorrow"})
    with pytest.raises(SettingsError, match=r"^GLACIERFLOW_DATE1: \[DATES\] date1 = tomorrow"):
        load_settings(environ={"GLACIERFLOW_DATE1": "tomorrow"})
    with pytest.raises(SettingsError, match=r"command line: \[REGIONS\] regions =  is refused"):
        load_settings(environ={}, overrides={"REGIONS.regions": ""})
    with pytest.raises(SettingsError, match=r"no setting DATES\.date3; did you mean DATES\.date"):
        load_settings(environ={}, overrides={"DATES.date3": "2024-01-01"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x00\x01\x02[DATES]", "not a text file"),
        (b"\xff\xfe\x80", "UTF-8"),
        (b'{"DATES": 1}', "line 1 stands before the first [SECTION]"),
        (b"[DATES]\njust words\n", "line 2 is neither"),
        (b"[DATES]\ndate1 = 2024-07-01\ndate1 = 2024-07-02\n", "gives date1 of [DATES] a second time"),
        (b"[DATES]\n[DATES]\n", "opens [DATES] a second time"),
    ],
)
def test_what_is_no_ini_file_is_refused_by_name(content: bytes, says: str) -> None:
    Path("odd.ini").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(config=Path("odd.ini"), environ={})
    assert "odd.ini" in caught.value.message
    assert says in caught.value.message


def test_a_named_file_must_be_there_and_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file none\\.ini"):
        load_settings(aws_config=Path("none.ini"), environ={})
    with pytest.raises(SettingsError, match="is a directory"):
        load_settings(config=tmp_path, environ={})
    Path("config.ini").mkdir()
    with pytest.raises(SettingsError, match=r"config\.ini is a directory"):
        load_settings(environ={})


def test_a_file_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ini("")

    def forbidden(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom no file mode stops.
    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(SettingsError, match="may not be read"):
        load_settings(environ={})
