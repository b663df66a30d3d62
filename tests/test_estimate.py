"""An estimate whose sums are checked by hand, and image counts asked of a STAC API."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from http_servers import Api
from runs_samples import some_regions

from glacierflow.aws import names
from glacierflow.cli.app import run
from glacierflow.cost import image_counts
from glacierflow.cost.estimate import Estimate, estimate_run, job_hour
from glacierflow.cost.image_counts import SceneCounts, assumed_counts, count_scenes
from glacierflow.cost.price_sources import load_prices
from glacierflow.cost.prices import PriceBook, SpotRange
from glacierflow.errors import DataError, UnavailableError
from glacierflow.local.control import Endpoint
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Region, StepSettings, Unit
from glacierflow.runs.plan import build_manifest
from glacierflow.runs.units import arrange, plan_units
from glacierflow.runs.workload import Measured
from glacierflow.search.stac_api import Catalogue, Query, count_items

DATE1, DATE2 = dt.date(2024, 1, 1), dt.date(2024, 1, 10)


def planned(units: Sequence[Unit], regions: Mapping[str, Region]) -> Manifest:
    """A run of these units."""
    arrangement = arrange(units, regions)
    return build_manifest(
        arrangement.slots,
        list(regions.values()),
        StepSettings(),
        catalogue_sha256="c",
        store="s3://x",
        arrays=arrangement.arrays,
    )


def squares(*km: float) -> dict[str, Region]:
    return {
        region.name: region.model_copy(
            update={
                "xmin": 0.0,
                "ymin": 0.0,
                "xmax": side * 1e3,
                "ymax": side * 1e3,
                "mgrs_tiles": ("22WEB",),
            }
        )
        for region, side in zip(some_regions(len(km)), km, strict=True)
    }


def simple_book() -> PriceBook:
    """r6i at 10 cents a vCPU hour, spot known, 2 and 3 cents; r6g at 8."""
    table = load_prices(None).table
    rates = table.rates.model_copy(
        update={"ipv4_hour": 0.01, "disk_gb_month": 0.073, "storage_gb_month": 0.02}
    )
    spot = {"r6i.xlarge": {"us-west-2a": SpotRange(p50=0.08, p90=0.12)}}
    families = {"r6i": 0.10, "r6g": 0.08}
    return PriceBook(table.model_copy(update={"per_vcpu_hour": families, "spot": spot, "rates": rates}))


def estimate_of(
    images: float,
    *,
    measured: Measured | None = None,
    egress: bool = False,
    architecture: str | None = None,
) -> Estimate:
    """Two units of one million pixels each."""
    regions = squares(10, 10)
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    manifest = planned(units, regions)
    counts = SceneCounts(dict.fromkeys(units, images), "counted by hand")
    return estimate_run(
        manifest, counts, simple_book(), measured=measured, egress=egress, architecture=architecture
    )


def test_the_sums_by_hand() -> None:
    found = estimate_of(1_000)
    # each unit: 8 s and 1,000 images of 0.5 + 0.1 s
    assert found.child_hours == pytest.approx(2 * 608 / 3600)
    assert found.longest_minutes == pytest.approx(608 / 60)
    assert (found.units, found.slots, found.images) == (2, 2, 2_000)
    assert found.read_gb == pytest.approx(3.4)
    assert found.written_gb == pytest.approx(2.8)
    hours = 2 * 608 / 3600 * 1.10
    # four children on an r6i.xlarge at 8, 12 and 40 cents
    median, high, on_demand, fargate, function = found.lines
    assert median.compute_usd == pytest.approx(hours * 1.05 * 0.02)
    assert high.compute_usd == pytest.approx(hours * 1.05 * 0.03)
    assert on_demand.compute_usd == pytest.approx(hours * 0.10)
    # of each 4 vCPUs: an address at 1 cent, 40 GB at 7.3 cents a month of 730 hours
    assert on_demand.around_usd == pytest.approx(hours / 4 * (0.01 + 0.004))
    assert fargate.compute_usd == pytest.approx(2 * 608 / 3600 * 1.05 * 0.3 * (0.04048 + 8 * 0.004445))
    assert function.compute_usd == pytest.approx(2 * (608 * 7_500 / 1024 * 0.0000166667 + 0.0000002))
    assert function.note == ""
    assert found.requests_usd == pytest.approx(2_000 * (30 * 4e-7 + 4 * 5e-6) + 2 * 6 * 5e-6)
    assert found.storage_year_usd == pytest.approx(2.8 * 0.02 * 12)
    assert found.egress_usd == 0.0
    assert found.total_usd(median) == pytest.approx(
        median.compute_usd + median.around_usd + found.requests_usd + found.logs_usd + 2.8 * 0.24
    )
    assert found.ceiling_usd("batch", on_demand=True) == pytest.approx(
        found.total_usd(on_demand) - 2.8 * 0.24
    )
    assert found.ceiling_usd("batch", on_demand=False) == pytest.approx(found.total_usd(high) - 2.8 * 0.24)


def test_the_limit_is_held_against_the_service_that_is_asked_for() -> None:
    found = estimate_of(1_000)
    named = {"fargate": found.lines[3], "lambda": found.lines[4], "ecs": found.lines[3]}
    for service in ("fargate", "lambda", "ecs"):
        expected = found.total_usd(named[service]) - found.storage_year_usd
        assert found.ceiling_usd(service, on_demand=False) == pytest.approx(expected)
    # Fargate Spot is taken at 30 % of Fargate
    more = found.lines[3].compute_usd / 0.3 - found.lines[3].compute_usd
    for on_fargate in ("fargate", "ecs"):
        spot = found.ceiling_usd(on_fargate, on_demand=False)
        assert found.ceiling_usd(on_fargate, on_demand=True) == pytest.approx(spot + more)


def test_what_crosses_regions_is_priced_and_what_exceeds_lambda_is_said() -> None:
    found = estimate_of(1_600, egress=True)
    assert found.egress_usd == pytest.approx(5.44 * 0.02)
    assert found.lines[-1].note.startswith("2 of 2 slots exceed its 15 minutes")
    assert any("cross regions at $0.02 a GB" in text for text in found.assumptions)


def test_measured_seconds_correct_the_estimate() -> None:
    measured = Measured(time_factor=3.0)
    assert estimate_of(1_000, measured=measured).child_hours == pytest.approx(3 * 2 * 608 / 3600)


def test_an_hour_of_each_class_on_the_packaged_prices() -> None:
    book = load_prices(None)
    small = job_hour(book, 7_500, on_demand=True)
    # r5a at 5.65 cents a vCPU is the cheapest x86 type that gives 8 GiB to each
    assert small == pytest.approx(0.0565)
    assert job_hour(book, 15_500, on_demand=True) == pytest.approx(2 * small)
    assert job_hour(book, 63_200, on_demand=True) == pytest.approx(16 * small)
    assert job_hour(book, 7_500, on_demand=False) < job_hour(book, 7_500, on_demand=False, high=True) < small


def test_ten_years_of_192_regions_on_the_packaged_prices() -> None:
    """By hand, from ancillary/prices.json of 2026-11-24 (us-west-2) and 200 images a unit.

    Regions of 10, 50 and 100 km: 1, 25 and 100 million pixels; 100, 80 and 12 of them; ten years of each.
        seconds of a unit, 8 + 200 x (0.5 + 0.1 x pixels): 128, 608 and 2,108
        all: 1,000 x 128 + 800 x 608 + 120 x 2,108 = 867,360 s = 240.9333 h, in the smallest class
        pixels: 200 x (1,000 x 1 + 800 x 25 + 120 x 100) = 6,600,000 million: 11,220 GB read, 9,240 GB written
    A child has a vCPU of an r type, or a half of an m type's xlarge, which costs two vCPUs:
        on demand r5a is the cheapest, 5.65 cents; of the cheaper seven of the thirteen x86_64 types
        (r5a 5.65, r6a 5.67, r5 and r6i 6.3, r7i 6.615, r5n 7.45, r7a 7.607) the fourth costs 6.3 cents,
        on spot 45 % and 70 % of it: 2.835 and 4.41 cents
    """
    regions = squares(*[10] * 100, *[50] * 80, *[100] * 12)
    units = plan_units(
        "sentinel2", list(regions.values()), dt.date(2016, 1, 1), dt.date(2025, 12, 31), by="year"
    )
    manifest = planned(units, regions)
    counts = SceneCounts(dict.fromkeys(units, 200), "counted by hand")
    found = estimate_run(manifest, counts, load_prices(None))
    assert (found.units, found.slots, found.images) == (1_920, 1_920, 384_000)
    assert [(array.size, array.memory_mib) for array in manifest.arrays] == [(1_920, 7_500)]
    assert found.child_hours == pytest.approx(240.9333, abs=1e-4)
    assert found.longest_minutes == pytest.approx(2_108 / 60)

    def about(usd: float) -> Any:
        return pytest.approx(usd, abs=0.0001)

    assert (found.read_gb, found.written_gb) == (about(11_220), about(9_240))
    median, high, on_demand, fargate, function = found.lines
    # 240.9333 h x 1.10 idle x 1.05 repeated = 278.278 h; x 0.02835, x 0.0441
    assert (median.compute_usd, high.compute_usd) == (about(7.8892), about(12.2721))
    # 69.5695 hosts of 4 vCPUs an hour x (0.005 address + 40 GB x 0.08 / 730 h = 0.0043836)
    assert (median.around_usd, high.around_usd) == (about(0.6528), about(0.6528))
    # 240.9333 h x 1.10 = 265.0267 h; x 0.0565; a quarter of them x 0.0093836
    assert (on_demand.compute_usd, on_demand.around_usd) == (about(14.9740), about(0.6217))
    # 240.9333 h x 1.05 = 252.98 h x 30 % of (0.04048 + 8 GB x 0.004445 = 0.07604); x 0.005 address
    assert (fargate.compute_usd, fargate.around_usd) == (about(5.7710), about(1.2649))
    # 867,360 s x 7,500 / 1,024 GB = 6,352,734.4 GB s x 0.0000166667 = 105.8791, 1,920 x 0.0000002 = 0.0004;
    # 867,360 s x 9.5 GB x 0.0000000309 of disk
    assert (function.compute_usd, function.around_usd) == (about(105.8795), about(0.2546))
    assert function.note.startswith("120 of 1920 slots exceed its 15 minutes")
    # 384,000 x (30 x 0.0000004 + 4 x 0.000005 = 0.000032) = 12.288, and 1,920 x 6 x 0.000005 = 0.0576
    assert found.requests_usd == about(12.3456)
    # 384,000 x 0.001 MB = 0.384 GB x 0.50
    assert found.logs_usd == about(0.1920)
    # 9,240 GB x 0.023 x 12 months
    assert found.storage_year_usd == about(2_550.24)
    assert found.egress_usd == 0.0
    # 7.8892 + 0.6528 + 12.3456 + 0.1920 + 2,550.24
    assert found.total_usd(median) == pytest.approx(2_571.3196, abs=0.0002)


def test_graviton_is_priced_as_graviton_and_nothing_else_is() -> None:
    book = load_prices(None)
    # r6g at 5.04 cents a vCPU is the cheapest of its kind that gives 8 GiB to each
    assert job_hour(book, 7_500, on_demand=True, graviton=True) == pytest.approx(0.0504)
    # r6g, r7g and r8g hold a job a vCPU, m6g, m7g and m8g one for two: the cheaper three, and their middle
    assert job_hour(book, 7_500, on_demand=False, graviton=True) == pytest.approx(0.05355 * 0.45)
    x86 = PriceBook(book.table.model_copy(update={"per_vcpu_hour": {"r6i": 0.063}}))
    with pytest.raises(DataError, match=r"no price for arm64 instances with 7500 MiB in the table"):
        job_hour(x86, 7_500, on_demand=True, graviton=True)


@pytest.mark.parametrize(
    ("architecture", "said", "usd_hour"),
    [
        ("arm64", "instances are Graviton (arm64), as the stack says", 0.08),
        ("x86_64", "instances are x86_64, as the stack says", 0.10),
        (None, "instances are taken to be x86_64: the stack was not asked", 0.10),
    ],
)
def test_the_stack_says_what_instances_cost(architecture: str | None, said: str, usd_hour: float) -> None:
    found = estimate_of(1_000, architecture=architecture)
    assert found.lines[2].compute_usd == pytest.approx(2 * 608 / 3600 * 1.10 * usd_hour)
    assert any(text.startswith(said) for text in found.assumptions)


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("outputs", "said"),
    [({}, "instances are x86_64, as"), ({"Architecture": "arm64"}, "instances are Graviton (arm64), as")],
)
def test_a_submission_is_priced_as_the_stack_says(
    outputs: dict[str, str],
    said: str,
    at_cloud: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The deployed stack is of x86_64; for arm64 only its word is changed."""
    real = names._outputs
    monkeypatch.setattr(names, "_outputs", lambda *words: (real(*words)[0] | outputs, None))
    words = ["--satellite", "landsat", "--regions", "134_Arsuk", "--date1", "2024-08-01"]
    assert run(["batch", "submit", *words, "--date2", "2024-08-04", "--local", "--max-usd", "0"]) == 64
    told = capsys.readouterr().err
    assert f"{said} the stack says" in told
    assert "above --max-usd 0" in told


def test_counts_are_shared_out_by_days_and_scaled_from_a_sample() -> None:
    regions = squares(*range(5, 105))
    units = plan_units("landsat", list(regions.values()), dt.date(2023, 1, 1), dt.date(2024, 12, 31), "year")
    asked: list[Query] = []

    def ask(catalogue: Catalogue, query: Query) -> int:
        assert catalogue.collection == "landsat-c2l1"
        asked.append(query)
        return 731

    counts = count_scenes(units, regions, StepSettings(), ask=ask)
    assert len(asked) == 24
    assert asked[0].interval[0] == dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
    assert {round(counts.images[unit], 6) for unit in units} == {365.0, 366.0}
    assert "17,544 items counted by the STAC API in 24 regions" in counts.source
    assert "the other 76 at its average a day" in counts.source


def test_items_of_several_tiles_make_one_image() -> None:
    regions = {
        name: region.model_copy(update={"mgrs_tiles": ("22WEB", "22WEC")})
        for name, region in squares(10).items()
    }
    (unit,) = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    assert count_scenes([unit], regions, StepSettings(), ask=lambda *_: 10).images[unit] == pytest.approx(5.0)
    landsat = unit.model_copy(update={"satellite": "landsat"})
    counted = count_scenes([landsat], regions, StepSettings(), ask=lambda *_: 10)
    assert counted.images[landsat] == pytest.approx(10.0)


def test_a_real_api_is_asked_for_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    try:
        api.items = [{"id": f"item-{number}"} for number in range(7)]
        (region,) = squares(10).values()
        catalogue = Catalogue.of(api.url, "sentinel-2-l2a", StepSettings(request_attempts=1))
        begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        assert count_items(catalogue, Query(region.geometry, (begin, begin))) == 7
    finally:
        api.server.shutdown()
        api.server.server_close()


def test_an_api_that_is_away_is_said_and_averages_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object, **__: object) -> SceneCounts:
        raise UnavailableError("the STAC API is away")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_counts, "count_scenes", away)
    words = ["batch", "plan", "--price", "--start-end-index", "0:3", "--json"]
    assert run(words) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    assert "not counted: the STAC API is away" in estimate["assumptions"][0]
    assert set(estimate["total_usd"]) == {
        "spot, median price",
        "spot, 90th percentile",
        "on-demand",
        "Fargate Spot",
        "Lambda",
    }
    assert run([*words[:-1], "--max-usd", "0.001"]) == 64
    captured = capsys.readouterr()
    assert "spot, 90th percentile" in captured.out
    assert "above --max-usd 0.001" in captured.err
    assert run([*words[:-1], "--max-usd", "1000"]) == 0


def test_computing_far_from_the_images_is_refused_with_its_price(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["batch", "plan", "--start-end-index", "0:3", "--aws-region", "eu-central-1"]
    assert run(words) == 64
    err = capsys.readouterr().err
    assert "run in eu-central-1 and read their images from us-west-2" in err
    assert "GB across regions, $" in err
    assert run([*words, "--allow-egress"]) == 0
    monkeypatch.setattr(image_counts, "count_scenes", lambda units, *_: assumed_counts(units))
    capsys.readouterr()
    assert run([*words, "--allow-egress", "--price"]) == 0
    said = "the prices are those of us-west-2, not of eu-central-1"
    assert said in capsys.readouterr().out


def test_assumed_counts_follow_the_days() -> None:
    unit = Unit(satellite="sentinel2", region="x", date1=DATE1, date2=DATE2)
    assert assumed_counts([unit]).images[unit] == pytest.approx(8.0)
