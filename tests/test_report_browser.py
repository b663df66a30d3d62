"""A report as a person uses it, in Debian's Chromium: filter, map, slider, matrix; nothing from elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from logs_fake import LogsFake
from report_samples import ShownRun, manifest_of, shown_run
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from glacierflow.cli.render_status import status_json
from glacierflow.cost.price_sources import load_prices
from glacierflow.regions import load_catalogue
from glacierflow.report.data import picture_keys
from glacierflow.report.gather import gather_facts
from glacierflow.report.page import copy_pictures, make_page, write_page
from glacierflow.store import LocalStore

pytestmark = pytest.mark.rehearsal

AXE = Path(__file__).parent / "carried" / "axe.min.js"
PATIENCE_S = 30


QUEUES = {"job_queue": "glacierflow-spot", "ondemand_job_queue": "glacierflow-ondemand"}


def write_report(run: ShownRun, folder: Path, *, pictures: bool = True) -> tuple[Path, dict[str, Any]]:
    """The page in a folder, and what ``status --json`` says of the run."""
    run.cloud.clients["logs"] = LogsFake()
    look = run.open()
    facts = gather_facts([look], run.cloud, QUEUES, load_prices(None))
    target = LocalStore(folder)
    if pictures:
        copy_pictures(picture_keys(facts), run.store, target)
    return folder / write_page(make_page(facts), target), status_json(look.now())


@dataclass
class Reader:
    """Somebody before the page."""

    driver: webdriver.Chrome
    page: Path
    status: dict[str, Any]

    def opens(self, width: int = 1400, height: int = 900) -> None:
        # a window is never as narrow as a phone
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get("about:blank")
        self.logged("performance")
        self.logged("browser")
        self.driver.get(self.page.as_uri())
        self.waits("return document.getElementById('gallery-count').textContent !== ''")

    def waits(self, script: str) -> None:
        WebDriverWait(self.driver, PATIENCE_S).until(lambda driver: driver.execute_script(script))

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]

    def clicks(self, selector: str) -> None:
        element = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def fact(self, name: str) -> str:
        return self.one(f"[data-fact={name}]").text

    def shown_image(self) -> str:
        self.waits("const i = document.getElementById('shown'); return i.complete && i.naturalWidth > 0")
        return (self.one("#shown").get_attribute("src") or "").rpartition("/")[2]

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """Entries since this was asked last."""
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return entries

    def asked_for(self) -> list[str]:
        """Addresses since the page was opened."""
        logged = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        return [
            one["params"]["request"]["url"] for one in logged if one["method"] == "Network.requestWillBeSent"
        ]


def browser() -> webdriver.Chrome:
    """Debian's Chromium; skipped where it is missing, but never where CI is set."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if None in found:
        message = "there is no chromium with chromedriver (apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = str(found[0])
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "force-prefers-reduced-motion"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(str(found[1])))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    page, status = write_report(
        shown_run(load_catalogue(None).regions[0:184:8]), tmp_path_factory.mktemp("report")
    )
    driver = browser()
    yield Reader(driver, page, status)
    driver.quit()


def test_the_numbers_that_are_seen_are_those_of_status(reader: Reader) -> None:
    reader.opens()
    status = reader.status
    assert len(status["slots"]) == 23
    wanted = {
        "done": status["outcomes"]["done"],
        "no_data": status["outcomes"]["no_data"],
        "failed": status["wrong"],
        "images": status["products"],
        "attempts": status["attempts"],
        "reclaims": status["reclaims"],
    }
    assert min(wanted.values()) > 0
    assert {name: reader.fact(name) for name in wanted} == {name: str(one) for name, one in wanted.items()}


def test_the_filter_narrows_list_map_and_matrix(reader: Reader) -> None:
    reader.opens()
    failed = [row["regions"][0] for row in reader.status["slots"] if row["wrong"]]
    for standing in ("done", "no_data"):
        reader.clicks(f"[data-standing={standing}]")
    assert [one.get_attribute("data-region") for one in reader.all("#regions button")] == failed
    assert sorted(one.get_attribute("data-region") or "" for one in reader.all(".mark")) == failed
    assert len(reader.all("#matrix tbody tr")) == len(failed)
    reader.one("#find").send_keys(failed[1])
    assert [one.get_attribute("data-region") for one in reader.all("#regions button")] == failed[1:]
    assert reader.one("#found").text == "1 of 23 regions"


def test_a_region_on_the_map_opens_its_images_and_the_slider_moves_through_them(reader: Reader) -> None:
    reader.opens()
    row = next(row for row in reversed(reader.status["slots"]) if row["products"])
    (name,) = row["regions"]
    reader.clicks(f".mark[data-region='{name}']")
    reader.waits(f"return document.getElementById('gallery-region').textContent === '{name}'")
    reader.waits("return document.getElementById('gallery-count').textContent !== ''")
    assert reader.one("#gallery-count").text == f"{row['products']} images"
    first = reader.shown_image()
    slider = reader.one("#slider")
    slider.send_keys(Keys.ARROW_RIGHT)
    second = reader.shown_image()
    slider.send_keys(Keys.END)
    last = reader.shown_image()
    assert first < second < last
    curve = "return document.querySelector('#curve-shown feFuncR').getAttribute('intercept')"
    assert float(reader.driver.execute_script(curve)) > 0
    assert "curve-shown" in (reader.one("#shown").value_of_css_property("filter"))
    assert reader.one("#caption").text.startswith(f"{row['products']} of {row['products']}: 2024-07-")
    reader.clicks("#flicker")
    reader.waits("return !document.getElementById('held').hidden")
    reader.waits("return document.getElementById('held').hidden")
    reader.clicks("#flicker")
    assert reader.one("#flicker").get_attribute("aria-pressed") == "false"


def test_a_cell_of_the_matrix_opens_its_images(reader: Reader) -> None:
    reader.opens()
    row = next(row for row in reader.status["slots"][5:] if row["products"])
    (name,) = row["regions"]
    cell = reader.one(f"#matrix button[data-region='{name}']")
    assert cell.text == str(row["products"])
    reader.clicks(f"#matrix button[data-region='{name}']")
    reader.waits(f"return document.getElementById('gallery-region').textContent === '{name}'")
    assert "2024-07" in reader.one("#gallery-period").text
    reader.shown_image()


def test_the_keyboard_goes_from_region_to_region_and_opens_one(reader: Reader) -> None:
    reader.opens()
    reader.driver.execute_script("document.querySelector('.mark[tabindex=\"0\"]').focus()")
    active = reader.driver.switch_to.active_element
    before = active.get_attribute("data-region")
    active.send_keys(Keys.ARROW_RIGHT)
    active = reader.driver.switch_to.active_element
    name = active.get_attribute("data-region")
    assert name != before
    active.send_keys(Keys.ENTER)
    reader.waits(f"return document.getElementById('gallery-region').textContent === '{name}'")


def test_nothing_is_asked_of_another_origin_and_the_console_is_silent(reader: Reader) -> None:
    reader.opens()
    reader.clicks("#sheet summary")
    reader.waits("return document.querySelectorAll('#thumbnails button').length > 0")
    root = reader.page.parents[3].as_uri()
    asked = reader.asked_for()
    assert len(asked) > 5
    assert [one for one in asked if not one.startswith((root, "data:", "about:"))] == []
    assert reader.logged("browser") == []


@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(reader: Reader, width: int) -> None:
    reader.opens(width)
    for details in reader.driver.find_elements(By.CSS_SELECTOR, "details"):
        reader.driver.execute_script("arguments[0].open = true", details)
    reader.driver.execute_script(AXE.read_text())
    found = reader.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(({violations}) => done(violations))"
    )
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
    assert serious == []
    assert reader.driver.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_a_hundred_thousand_images_are_a_small_page_of_few_nodes_and_files(
    reader: Reader, tmp_path: Path
) -> None:
    years = tuple((dt.date(year, 1, 1), dt.date(year, 12, 31)) for year in range(2016, 2026))
    run = ShownRun(manifest=manifest_of(load_catalogue(None).regions, years))
    for slot in range(len(run.manifest.slots)):
        run.good(slot, 53)
    page, status = write_report(run, tmp_path, pictures=False)
    assert status["products"] == 192 * 10 * 53 > 100_000
    before = [path for path in page.parent.rglob("*") if path.is_file() and path.parent.name != "images"]
    assert sum(path.stat().st_size for path in before) < 5_000_000
    big = Reader(reader.driver, page, status)
    big.opens()
    assert len(set(big.asked_for())) < 20
    assert big.driver.execute_script("return document.querySelectorAll('*').length") < 5_000
    assert big.fact("images") == str(status["products"])
    big.one("#find").send_keys("jakobshavn")
    big.clicks("#matrix button[data-region='049_jakobshavn'][data-period='2020']")
    big.waits("return document.getElementById('gallery-count').textContent === '53 images'")
    assert big.one("#caption").text.startswith("1 of 53: 2020-01-01")
    assert big.driver.execute_script("return document.querySelectorAll('*').length") < 5_000
