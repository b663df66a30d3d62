"""Choosing regions by index range or by name."""

from __future__ import annotations

import pytest

from glacierflow.errors import RegionError
from glacierflow.regions import Catalogue, load_catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.mark.parametrize(
    ("index_range", "first", "last"),
    [
        ("0:23", 0, 22),
        ("65:", 65, 191),
        (":10", 0, 9),
        ("48:49", 48, 48),
        (":", 0, 191),
        (" 3 : 5 ", 3, 4),
        ("-2:", 190, 191),
    ],
)
def test_an_index_range_is_a_python_slice(
    catalogue: Catalogue, index_range: str, first: int, last: int
) -> None:
    selection = catalogue.select(None, index_range)
    assert [region.index for region in selection.regions] == list(range(first, last + 1))
    assert selection.warnings == ()


def test_a_range_beyond_the_end_is_clamped_with_a_warning(catalogue: Catalogue) -> None:
    selection = catalogue.select(None, "130:195")
    assert len(selection.regions) == 62
    (warning,) = selection.warnings
    assert "130:195" in warning
    assert "62 are taken, 130 to 191" in warning
    assert catalogue.select(None, "130:192").warnings == ()
    assert len(catalogue.select(None, "-500:2").warnings) == 1


@pytest.mark.parametrize("index_range", ["5:2", "300:400", "7:7", "192:"])
def test_an_empty_range_is_refused(catalogue: Catalogue, index_range: str) -> None:
    with pytest.raises(RegionError, match=f"{index_range} holds no region; the catalogue has 192"):
        catalogue.select(None, index_range)


@pytest.mark.parametrize("index_range", ["a:b", "5", "", "0:10:2", "0-23", "1.5:3", "\u0663:\u0665"])
def test_what_is_no_slice_is_refused(catalogue: Catalogue, index_range: str) -> None:
    with pytest.raises(RegionError, match="is not an index range"):
        catalogue.select(None, index_range)


def test_names_are_chosen_in_catalogue_order_and_once(catalogue: Catalogue) -> None:
    selection = catalogue.select(["134_Arsuk", "049_jakobshavn", "134_Arsuk"], None)
    assert [region.index for region in selection.regions] == [48, 133]
    assert selection.warnings == ()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("jakobshavn", "049_jakobshavn"),
        ("049_jacobshaven", "049_jakobshavn"),
        ("arsuk", "134_Arsuk"),
        ("helhiem", "041_helheim"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(catalogue: Catalogue, name: str, near: str) -> None:
    with pytest.raises(RegionError, match=f"there is no region {name}; did you mean .*{near}"):
        catalogue.select(["001_alison", name], None)


def test_a_name_like_no_other_and_no_name_at_all_are_refused(catalogue: Catalogue) -> None:
    with pytest.raises(RegionError, match=r"there is no region qqqqqq$"):
        catalogue.select(["qqqqqq"], None)
    with pytest.raises(RegionError, match="no region is named"):
        catalogue.select([], None)


def test_an_index_range_wins_over_names_with_a_warning(catalogue: Catalogue) -> None:
    selection = catalogue.select(["134_Arsuk"], "0:2")
    assert [region.index for region in selection.regions] == [0, 1]
    assert "134_Arsuk" in selection.warnings[0]
    assert "0:2" in selection.warnings[0]


def test_neither_is_all(catalogue: Catalogue) -> None:
    assert catalogue.select(None, None).regions == catalogue.regions
