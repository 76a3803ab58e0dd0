"""The labels of a dataset in the user's hands: edited, tabulated, kept in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.segmented_cases import (
    ALL,
    HIGH,
    LIVER,
    LOW,
    NOWHERE,
    case_of,
    entry,
    facts_of,
    names_of,
    row_of,
    segment,
)
from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.scheme_editing import (
    check_scheme,
    completed,
    dropped,
    merged,
    moved,
    parse_scheme,
    propose_scheme,
    read_scheme,
    recolored,
    renamed,
    restored,
    same_labels,
    separated,
    unmapped,
    with_combinations,
    with_ignore,
    with_overlaps,
    write_scheme,
)
from meddl.datasets.scheme_table import scheme_notes, scheme_rows
from meddl.errors import MedDLError, UsageError

# Editing


@pytest.fixture
def organs() -> tuple[LabelScheme, list[CaseFacts]]:
    facts = facts_of(
        case_of("a", {segment(n): np.s_[i, :, :] for i, n in enumerate(["Liver", "Spleen", "Kidney", "Aorta"])})
    )
    return propose_scheme(facts), facts


def test_edits(organs: tuple[LabelScheme, list[CaseFacts]]) -> None:
    scheme, facts = organs
    assert names_of(renamed(scheme, 0, "  Hepar ")) == ["Hepar", "Spleen", "Kidney", "Aorta"]
    assert recolored(scheme, 1, (1, 0, 0)).structures[1].color == (1, 0, 0)
    assert names_of(moved(scheme, 3, 0)) == ["Aorta", "Liver", "Spleen", "Kidney"]
    assert names_of(moved(scheme, 0, 3)) == ["Spleen", "Kidney", "Aorta", "Liver"]
    less = dropped(scheme, 1)
    assert names_of(less) == ["Liver", "Kidney", "Aorta"] and less.dropped == ("spleen",)
    assert names_of(restored(less, ["spleen"], facts)) == ["Liver", "Kidney", "Aorta", "Spleen"]
    one = merged(scheme, [2, 0], "Organs")
    assert names_of(one) == ["Organs", "Spleen", "Aorta"] and one.structures[0].sources == ("kidney", "liver")
    assert names_of(separated(one, 0, facts)) == ["Liver", "Kidney", "Spleen", "Aorta"]
    unsure = with_ignore(scheme, ["spleen"])
    assert names_of(unsure) == ["Liver", "Kidney", "Aorta"] and unsure.ignore_value == 4
    other = with_ignore(unsure, ["liver"])
    assert other.ignore == ("liver",) and other.dropped == ("spleen",)
    assert scheme == organs[0]


def test_edits_that_make_no_sense_are_refused(organs: tuple[LabelScheme, list[CaseFacts]]) -> None:
    scheme, facts = organs
    for edit in (
        lambda: renamed(scheme, 0, "SPLEEN"),
        lambda: renamed(scheme, 0, " "),
        lambda: renamed(scheme, 0, "Background"),
        lambda: renamed(scheme, 9, "x"),
        lambda: merged(scheme, [1]),
        lambda: separated(scheme, 0, facts),
        lambda: restored(scheme, ["unheard of"], facts),
        lambda: recolored(scheme, 0, (2, 0, 0)),
        lambda: check_scheme(replace(scheme, dropped=("liver",))),
        lambda: check_scheme(replace(scheme, overlaps="regions", combinations=((1, 0),))),
        lambda: check_scheme(replace(scheme, overlaps="regions", combinations=((0, 9),))),
        lambda: check_scheme(replace(scheme, combinations=((0, 1),))),
        lambda: check_scheme(LabelScheme(tuple(Structure(str(n), (0, 0, 0)) for n in range(65536)))),
    ):
        with pytest.raises(UsageError) as caught:
            edit()
        assert str(caught.value).endswith(".")


def test_a_scheme_made_for_other_cases_is_completed_without_changing_values() -> None:
    scheme = parse_scheme('{"structures": ["Liver", "Spleen"], "ignore": ["unsure"]}')
    facts = facts_of(
        case_of("a", {segment("Liver", terminology=entry(LIVER)): LOW, segment("Heart"): HIGH}, seed=1),
        case_of("b", {segment("spleen"): LOW}, seed=2),
    )
    assert unmapped(scheme, facts) == ("[SCT:10200004]", "heart")
    full = completed(scheme, facts)
    assert names_of(full) == ["Liver", "Spleen"] and full.structures[0].sources == ("[SCT:10200004]", "liver")
    assert full.dropped == ("heart",) and unmapped(full, facts) == () and full.ignore_value == 3
    assert completed(full, facts) == full


def test_a_file_of_labels_fits_the_dataset_that_was_made_by_it() -> None:
    scheme = parse_scheme('{"structures": ["Liver", "Spleen"], "ignore": ["unsure"]}')
    facts = facts_of(case_of("a", {segment("Liver", terminology=entry(LIVER)): LOW, segment("Heart"): HIGH}))
    there = completed(scheme, facts)
    assert there != scheme and same_labels(scheme, there) and same_labels(there, there)
    assert not same_labels(moved(scheme, 0, 1), there) and not same_labels(dropped(scheme, 1), there)
    assert not same_labels(renamed(scheme, 0, "Hepar"), there)
    assert not same_labels(replace(scheme, ignore=()), there)


def test_new_combinations_come_behind_those_there_are() -> None:
    first = facts_of(
        case_of("a", {segment("B"): ALL}, {segment("C"): np.s_[2:4, 2:4, 2:4]}, {segment("A"): np.s_[0, 0, 0]})
    )
    scheme = propose_scheme(first, overlaps="regions")
    assert len(scheme.combinations) == 1
    more = [*first, *facts_of(case_of("b", {segment("A"): ALL}, {segment("B"): np.s_[2:4, 2:4, 2:4]}, seed=4))]
    grown = with_combinations(scheme, more)
    assert grown.combinations[0] == scheme.combinations[0] and len(grown.combinations) == 2
    assert with_overlaps(grown, "order", more).combinations == ()
    assert with_overlaps(with_overlaps(grown, "order", more), "regions", more).combinations == tuple(
        sorted(grown.combinations)
    )


# The table


def test_the_table_tells_what_is_missing_empty_extra_and_debris() -> None:
    speck = np.zeros((8, 8, 8), bool)
    speck[7, 0, 0] = speck[5:8, 5:8, 5:8] = True
    facts = facts_of(
        case_of("a", {segment("Liver"): LOW, segment("Spleen"): speck}, seed=1),
        case_of("b", {segment("Liver"): NOWHERE, segment("Extra"): HIGH}, seed=2),
        case_of("c", {segment("Liver"): LOW}, {segment("liver"): HIGH}, seed=3),
    )
    scheme = LabelScheme(
        (Structure("Liver", (1, 0, 0), "", ("liver",)), Structure("Spleen", (0, 1, 0), "", ("spleen",)))
    )
    rows = scheme_rows(scheme, facts)
    liver, spleen = row_of(rows, "Liver"), row_of(rows, "Spleen")
    assert liver.cases == 2 and liver.empty_in == ("b",) and liver.several_in == ("c",) and liver.value == 1
    assert liver.volume_ml == pytest.approx((0.256 + 0.512) / 2)
    assert spleen.missing_in == ("b", "c") and spleen.debris_in == ("a",) and spleen.values == (2,)
    extra = row_of(rows, "Extra")
    assert extra.kind == "unmapped" and "background unless" in extra.notes[0] and extra.value == 0
    text = " ".join(scheme_notes(scheme, facts))
    for told in ("'Spleen' (2 of 3 lack it)", "Empty in some cases: 'Liver'", "single voxel: 'Spleen'", "'Extra'"):
        assert told in text


# The file


def test_a_scheme_survives_its_file(tmp_path: Path) -> None:
    facts = facts_of(case_of("a", {segment("Liver", terminology=entry(LIVER)): ALL, segment("Ä b"): np.s_[0, 0, 0]},
                         {segment("Tumor"): np.s_[3:5, 3, 3]}, {segment("ignore"): np.s_[5, 5, 5]}))  # fmt: skip
    for overlaps in ("order", "regions"):
        scheme = dropped(propose_scheme(facts, overlaps=overlaps), 0)
        scheme = with_combinations(scheme, facts)
        write_scheme(scheme, tmp_path / "labels.json")
        assert read_scheme(tmp_path / "labels.json") == scheme
        assert LabelScheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme


def test_a_file_written_by_hand_can_be_short() -> None:
    scheme = parse_scheme(
        '{"structures": ["Liver", {"name": "Kidneys", "color": [1, 0, 0.5], '
        '"sources": ["Left_Kidney", "[SCT:64033007] Right"]}]}'
    )
    assert scheme.structures[0].sources == ("liver",)
    assert scheme.structures[1].sources == ("[SCT:64033007] right", "left kidney")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"structures": 3}', '{"structures": [1]}', '{"structures": [{"name": 3}]}', '{"structure": []}',
     '{"structures": ["a", "A"]}', '{"structures": [{"name": "a", "color": [1, 2]}]}', "[" * 100000,
     '{"structures": [{"name": "a", "color": [9, 0, 0]}]}', '{"structures": ["a"], "overlaps": "both"}',
     '{"structures": ["a"], "dropped": ["A"]}', '{"structures": ["a"], "ignore": "b"}', '{"structures": [""]}',
     '{"structures": [{"name": "a", "color": [NaN, 0, 0]}]}', '{"structures": ["a"], "combinations": [["b", "a"]]}',
     '{"structures": ["a"], "combinations": 3}', '{"structures": [{"name": "a", "colour": 1}]}'],
)  # fmt: skip
def test_files_that_are_no_labels_are_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_scheme(path)
    assert str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "utf16.json").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("missing.json", "utf16.json"):
        with pytest.raises(MedDLError, match=name):
            read_scheme(tmp_path / name)
