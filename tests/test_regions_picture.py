"""The map of a catalogue."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from samples import real_regions

from glacierflow.model.records import Region
from glacierflow.regions import Catalogue, load_catalogue
from glacierflow.regions.map import draw_map, to_frame


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_the_map_shows_every_region_and_makes_the_chosen_stand_out(catalogue: Catalogue) -> None:
    plain = pixels(draw_map(to_frame(catalogue.regions)))
    chosen = pixels(draw_map(to_frame(catalogue.regions), ["049_jakobshavn"]))
    assert plain.shape == chosen.shape
    assert max(plain.shape) == 2800
    fill = np.all(chosen == (0xF2, 0xA6, 0x5A), axis=2)
    assert fill.any()
    assert not np.all(plain == (0xF2, 0xA6, 0x5A), axis=2).any()
    # The filled place is where the region lies, by the extent of all regions.
    xmin, xmax = min(r.xmin for r in catalogue.regions), max(r.xmax for r in catalogue.regions)
    ymin, ymax = min(r.ymin for r in catalogue.regions), max(r.ymax for r in catalogue.regions)
    rows, columns = np.nonzero(fill)
    x = xmin + (columns.mean() - 170) / (plain.shape[1] - 340) * (xmax - xmin)
    y = ymax - (rows.mean() - 170) / (plain.shape[0] - 340) * (ymax - ymin)
    jakobshavn = catalogue.regions[48]
    assert abs(x - (jakobshavn.xmin + jakobshavn.xmax) / 2) < 3_000
    assert abs(y - (jakobshavn.ymin + jakobshavn.ymax) / 2) < 3_000
    # Land has inland ice in its middle, and sea around.
    assert tuple(plain[1300, 900]) == (0xFB, 0xFA, 0xF6)
    assert tuple(plain[5, 5]) == (0xDF, 0xE9, 0xF1)


def test_the_map_names_nearly_every_region(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    real = ImageDraw.ImageDraw.text

    def note(self: ImageDraw.ImageDraw, place: tuple[float, float], text: str, **how: object) -> None:
        written.append(text)
        real(self, place, text, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    draw_map(to_frame(catalogue.regions))
    names = {region.name for region in catalogue.regions}
    assert len(names & set(written)) >= 185
    assert "192 regions" in written


def test_the_map_of_a_single_region_is_small() -> None:
    (yahtse, _) = load_catalogue(real_regions()).regions
    assert isinstance(yahtse, Region)
    picture = pixels(draw_map(to_frame([yahtse]), [yahtse.name]))
    assert max(picture.shape) < 600
    assert np.all(picture == (0xF2, 0xA6, 0x5A), axis=2).sum() > 10_000
