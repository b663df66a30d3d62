"""Every key below the bucket or base directory is made and parsed here, and nowhere else."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from glacierflow.model.receipt import OUTCOMES
from glacierflow.model.records import FolderStructure, Satellite


def runs_prefix() -> str:
    """Prefix below which every run has its folder."""
    return "runs/"


_SENTINEL2_STEM = re.compile(r"(S2[A-Z])_MSIL2A_(\d{8}T\d{6})_N\d{4}_(R\d{3})\.tif$")
_LANDSAT_STEM = re.compile(r"(?:^|/)(\d{8})\d{6}_L[A-Z](\d)(\d{6})\d{7}[A-Z]{3}\d{2}_[^/]*\.tif$")


def acquisition_of(key: str) -> str | None:
    """The acquisition of a product's key, however often it was processed; None for any other key."""
    found = _SENTINEL2_STEM.search(key)
    if found is not None:
        return "_".join(found.groups())
    landsat = _LANDSAT_STEM.search(key)
    return f"L{landsat[2]}_{landsat[3]}_{landsat[1]}" if landsat else None


_STEM_TIME = re.compile(r"(?:S2[A-Z]_MSIL2A_)?(\d{8})T?(\d{6})_")


def sensing_time(stem: str) -> dt.datetime:
    """The time of sensing, UTC, that a product's stem begins with.

    Raises:
        ValueError: it is no product's stem.
    """
    found = _STEM_TIME.match(stem)
    if found is None:
        msg = f"{stem} is not the stem of a product"
        raise ValueError(msg)
    return dt.datetime.strptime(f"{found[1]}{found[2]}", "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where products and their lineage lie."""

    base_path: str
    folder_structure: FolderStructure = "new"

    def product(self, satellite: Satellite, region: str, stem: str) -> str:
        """The product GeoTIFF of one acquisition."""
        if satellite == "landsat":
            return f"{self.base_path}/landsat/{region}/{stem}_ortho.tif"
        return f"{self._sentinel2(region, 'clipped')}/{stem}.tif"

    def products_prefix(self, satellite: Satellite, region: str) -> str:
        """Prefix of all products of a region."""
        if satellite == "landsat":
            return f"{self.base_path}/landsat/{region}/"
        return f"{self._sentinel2(region, 'clipped')}/"

    def template(self, satellite: Satellite, region: str) -> str:
        """An image on the region's grid that other software snaps to."""
        if satellite == "landsat":
            return f"{self.base_path}/landsat/_reference/{region}.tif"
        if self.folder_structure == "old":
            return f"{self._sentinel2(region, 'template')}/{region}.tif"
        return f"{self.base_path}/sentinel2/template/{region}.tif"

    def download(self, region: str, year: int, name: str) -> str:
        """The native-grid window that was read (Sentinel-2, with download_flag = 1)."""
        if self.folder_structure == "old":
            return f"{self._sentinel2(region, 'download')}/{year}/{name}_B08.tif"
        return f"{self.base_path}/sentinel2/download/{year}/{region}/{name}_B08.tif"

    def individual_csv(self, region: str, stem: str) -> str:
        """The one-line lineage of a Sentinel-2 product."""
        return f"{self.individual_csv_prefix(region)}{stem}.csv"

    def individual_csv_prefix(self, region: str) -> str:
        """Prefix of all one-line lineage files of a region."""
        if self.folder_structure == "old":
            return f"{self._sentinel2(region, 'metadata')}/individual_csv/"
        return f"{self.base_path}/sentinel2/metadata/individual_csv/{region}/"

    def combined_csv(self, region: str) -> str:
        """All lineage lines of a region in order of sensing time."""
        if self.folder_structure == "old":
            return f"{self._sentinel2(region, 'metadata')}/combined_csv/{region}.csv"
        return f"{self.base_path}/sentinel2/metadata/combined_csv/{region}.csv"

    def query_results(self, region: str) -> str:
        """The Landsat items of a region, one row an item."""
        return f"{self.base_path}/landsat/_reference/{region}_stac_query_results.csv"

    def query_part(self, region: str, date1: dt.date, date2: dt.date) -> str:
        """One unit's share of the query results; the whole is rebuilt from the parts."""
        return f"{self.query_parts_prefix(region)}{date1:%Y%m%d}-{date2:%Y%m%d}.csv"

    def query_parts_prefix(self, region: str) -> str:
        """Prefix of a region's query-result parts."""
        return f"{self.base_path}/landsat/_reference/_parts/{region}/"

    def satellite_prefixes(self, satellite: Satellite) -> tuple[str, ...]:
        """Prefixes of all of one satellite: images and what lies beside them, STAC items, STAC collections.

        Below each, a region is the name of a folder or the start of a file's name.
        """
        return (
            f"{self.base_path}/{satellite}/",
            f"{self.base_path}/stac/{satellite}/",
            f"{self.stac_collections_prefix}{satellite}/",
        )

    def stac_item(self, satellite: Satellite, region: str, stem: str) -> str:
        """The STAC item of a product."""
        return f"{self.stac_items_prefix(satellite, region)}{stem}.json"

    def stac_items_prefix(self, satellite: Satellite, region: str) -> str:
        """Prefix of the STAC items of one satellite's products over a region."""
        return f"{self.base_path}/stac/{satellite}/{region}/"

    def stac_collection(self, satellite: Satellite, region: str) -> str:
        """The STAC collection of those items; apart from them, so that one LIST shows all collections."""
        return f"{self.stac_collections_prefix}{satellite}/{region}.json"

    @property
    def stac_collections_prefix(self) -> str:
        """Prefix of all STAC collections."""
        return f"{self.base_path}/stac/collections/"

    @property
    def stac_catalog(self) -> str:
        """The root of the STAC tree."""
        return f"{self.base_path}/stac/catalog.json"

    def _sentinel2(self, region: str, part: str) -> str:
        if self.folder_structure == "old":
            return f"{self.base_path}/sentinel2/{region}/{part}"
        return f"{self.base_path}/sentinel2/{part}/{region}"


@dataclass(frozen=True, slots=True)
class ProductPlace:
    """What the key of a product tells."""

    layout: Layout
    satellite: Satellite
    region: str
    stem: str

    @property
    def acquisition(self) -> str:
        """What it shows, however often it was processed; the stem itself where it tells nothing."""
        return acquisition_of(f"{self.stem}.tif") or self.stem


_PRODUCT = re.compile(
    r"(?:(?P<base>.+)/)?(?:"
    r"sentinel2/(?:clipped/(?P<new>[^/]+)|(?P<old>[^/]+)/clipped)/(?P<sentinel2>[^/]+)"
    r"|landsat/(?P<region>[^/]+)/(?P<landsat>[^/]+)_ortho"
    r")\.tif"
)


def parse_product(key: str) -> ProductPlace | None:
    """Where the product with this key belongs, in either folder structure; None for any other key."""
    found = _PRODUCT.fullmatch(key)
    if found is None:
        return None
    layout = Layout(found["base"] or ".", "old" if found["old"] else "new")
    if found["landsat"]:
        return ProductPlace(layout, "landsat", found["region"], found["landsat"])
    return ProductPlace(layout, "sentinel2", found["new"] or found["old"], found["sentinel2"])


@dataclass(frozen=True, slots=True)
class AttemptFile:
    """What the name of a file below ``attempts/`` tells."""

    slot: int
    attempt: int
    outcome: str
    """``started``, or the outcome of the receipt."""


@dataclass(frozen=True, slots=True)
class ToldAttempt(AttemptFile):
    """What a name below ``told/`` tells."""

    text: str
    """The rest of what is known, as ``attempts.py`` packs it."""


_ATTEMPT = re.compile(rf"attempts/(\d+)/(\d+)\.(started|{'|'.join(OUTCOMES)})\.json$")
_TOLD = re.compile(rf"told/(?:started|ended)/[0-9TZ]+/(\d+)\.(\d+)\.(started|{'|'.join(OUTCOMES)})/(.+)$")
_LONGEST_NAME = 200
"""Characters of one part of a key, so that a copy of the bucket can lie in a directory."""
_RUN = re.compile(r"^runs/([^/]+)/")


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Where the records of one run lie: ``runs/{run id}/...``."""

    run_id: str

    @property
    def prefix(self) -> str:
        """Prefix of everything the run recorded."""
        return f"{runs_prefix()}{self.run_id}/"

    @property
    def manifest(self) -> str:
        """The manifest."""
        return f"{self.prefix}manifest.json"

    def job(self, number: int) -> str:
        """The record of one submitted array or plain job."""
        return f"{self.jobs_prefix}{number}.json"

    @property
    def jobs_prefix(self) -> str:
        """Prefix of the job records."""
        return f"{self.prefix}jobs/"

    @property
    def attempts_prefix(self) -> str:
        """Prefix of all receipts."""
        return f"{self.prefix}attempts/"

    def slot_prefix(self, slot: int) -> str:
        """Prefix of the receipts of one slot."""
        return f"{self.attempts_prefix}{slot}/"

    def started(self, slot: int, attempt: int) -> str:
        """Written when an attempt starts."""
        return f"{self.slot_prefix(slot)}{attempt}.started.json"

    def receipt(self, slot: int, attempt: int, outcome: str) -> str:
        """Written when an attempt ends."""
        return f"{self.slot_prefix(slot)}{attempt}.{outcome}.json"

    def told(self, slot: int, attempt: int, outcome: str | None, when: dt.datetime, text: str) -> str:
        """A start, or an end, told by the name of an empty object; in order of time."""
        stamp = f"{when:%Y%m%dT%H%M%S}{when.microsecond // 1000:03d}Z"
        parts = "/".join(text[at : at + _LONGEST_NAME] for at in range(0, len(text), _LONGEST_NAME))
        name = f"{slot}.{attempt}.{outcome or 'started'}"
        return f"{self.told_prefix(ended=outcome is not None)}{stamp}/{name}/{parts}"

    def told_prefix(self, *, ended: bool) -> str:
        """Prefix of the names that tell of ends, or of starts."""
        return f"{self.told_root}{'ended' if ended else 'started'}/"

    @property
    def told_root(self) -> str:
        """Prefix of all names that tell of attempts."""
        return f"{self.prefix}told/"

    def retry(self, run_id: str) -> str:
        """In a first run's folder: the mark that another run repeats some of its units."""
        return f"{self.retries_prefix}{run_id}.json"

    @property
    def retries_prefix(self) -> str:
        """Prefix of the marks of a run's retries."""
        return f"{self.prefix}retries/"

    @property
    def mapped(self) -> str:
        """The mark that a state machine's map over Lambda has ended: what has not begun never will."""
        return f"{self.prefix}mapped.json"

    @property
    def unsent(self) -> str:
        """The mark of a state machine: which jobs AWS Batch did not take, and why, by name of the job."""
        return f"{self.prefix}unsent.json"

    @property
    def cancelled(self) -> str:
        """The mark that invocations which have not begun are to do nothing."""
        return f"{self.prefix}cancelled.json"

    @property
    def ledger(self) -> str:
        """The compacted record of every attempt."""
        return f"{self.prefix}ledger.jsonl.gz"

    def quicklook(self, region: str, stem: str) -> str:
        """The small PNG of a product."""
        return f"{self.prefix}report/quicklooks/{region}/{stem}.png"

    @property
    def report_prefix(self) -> str:
        """Prefix of the report folder."""
        return f"{self.prefix}report/"

    @staticmethod
    def parse_attempt(key: str) -> AttemptFile | None:
        """Slot, attempt and outcome from a key, or None where the key is something else."""
        found = _ATTEMPT.search(key)
        return AttemptFile(int(found[1]), int(found[2]), found[3]) if found else None

    @staticmethod
    def parse_told(key: str) -> ToldAttempt | None:
        """What the name of a start or an end tells, or None where the key is something else."""
        found = _TOLD.search(key)
        if found is None:
            return None
        return ToldAttempt(int(found[1]), int(found[2]), found[3], found[4].replace("/", ""))

    @staticmethod
    def parse_run_id(key: str) -> str | None:
        """The run a key belongs to, or None."""
        found = _RUN.match(key)
        return found[1] if found else None
