"""The labels of a dataset: proposed from the cases, edited, tabulated, kept in a file, and made into label maps."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.phantoms import PLACES, axis_orders, reordered
from meddl.datasets.case import Case, LoadedCase, SegmentationLabel
from meddl.datasets.facts import CaseFacts
from meddl.datasets.inspection import inspect_case
from meddl.datasets.label_map import apply_scheme
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
    scheme_text,
    separated,
    unmapped,
    with_combinations,
    with_ignore,
    with_overlaps,
    write_scheme,
)
from meddl.datasets.scheme_table import SchemeRow, scheme_notes, scheme_rows
from meddl.datasets.structure_keys import folded, keys_within, structure_key
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Segment, Volume
from meddl.volume.terminology import Code, Terminology, serialize_terminology

STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
LIVER, KIDNEY = Code("SCT", "10200004", "Liver"), Code("SCT", "64033007", "Kidney")
LEFT, RIGHT = Code("SCT", "7771000", "Left"), Code("SCT", "24028007", "Right")
MASS, BRAIN = Code("SCT", "4147007", "Mass"), Code("SCT", "12738006", "Brain")


def _entry(kind: Code, modifier: Code | None = None, region: Code | None = None) -> str:
    return serialize_terminology(Terminology(STRUCTURE, kind, modifier, region))


def _segment(name: str, label: int = 1, terminology: str = "", layer: int = 0, hue: float = 0.5) -> Segment:
    return Segment(label, name, (hue, 0.2, 0.3), terminology, layer)


def _case(name: str, *layers: dict[Segment, np.ndarray | tuple[slice, ...]], seed: int = 0) -> LoadedCase:
    """A case of 8x8x8 voxels; each layer gives the places of its segments, whose labels and layers are made here."""
    array = np.zeros((max(1, len(layers)), 8, 8, 8), np.uint8)
    segments = []
    for number, layer in enumerate(layers):
        for label, (segment, where) in enumerate(layer.items(), 1):
            array[number][where] = label
            segments.append(replace(segment, label=label, layer=number))
    image = Volume(np.random.default_rng(seed).integers(0, 99, (1, 8, 8, 8)).astype(np.int16), np.eye(4))
    labels = Volume(array, np.eye(4))
    case = Case(name, {"CT": image}, SegmentationLabel(labels, tuple(segments)))
    return LoadedCase(case, {"CT": image}, labels, tuple(segments))


def _facts(*cases: LoadedCase) -> list[CaseFacts]:
    return [inspect_case(case) for case in cases]


def _names(scheme: LabelScheme) -> list[str]:
    return [each.name for each in scheme.structures]


def _row(rows: tuple[SchemeRow, ...], name: str) -> SchemeRow:
    return next(row for row in rows if row.name == name)


LOW, HIGH, ALL = np.s_[:4, :, :], np.s_[4:, :, :], np.s_[1:7, 1:7, 1:7]
NOWHERE = np.s_[0:0, :, :]


# Keys


def test_names_count_alike_whatever_their_case_spaces_and_underscores() -> None:
    keys = {structure_key(_segment(name)) for name in ("Left Kidney", "left_kidney", " LEFT  KIDNEY ", "Left_Kidney\n")}
    assert keys == {"left kidney"} and folded("STRASSE") == folded("straße")


def test_codes_decide_before_names() -> None:
    one, other = _segment("Liver", terminology=_entry(LIVER)), _segment("Leber", terminology=_entry(LIVER))
    assert structure_key(one) == structure_key(other) == "[SCT:10200004]"
    sides = [_segment("Kidney", terminology=_entry(KIDNEY, side)) for side in (LEFT, RIGHT, None)]
    assert len({structure_key(each) for each in sides}) == 3
    assert structure_key(_segment("x", terminology=_entry(MASS, None, LIVER))) != structure_key(
        _segment("x", terminology=_entry(MASS, None, BRAIN))
    )


def test_slicers_tissue_and_broken_entries_say_nothing() -> None:
    for entry in (serialize_terminology(Terminology()), "~~~", "nonsense", _entry(STRUCTURE)):
        assert structure_key(_segment("Segment_1", terminology=entry)) == "segment 1"
    assert structure_key(_segment("x", terminology=_entry(STRUCTURE, None, LIVER))).startswith("[")


def test_older_snomed_codes_are_todays() -> None:
    old = _segment("Liver", terminology=_entry(Code("SRT", "T-62000", "Liver")))
    assert structure_key(old) == "[SCT:10200004]"


def test_a_name_is_never_taken_for_a_code() -> None:
    assert structure_key(_segment("[SCT:10200004]")) != structure_key(_segment("x", terminology=_entry(LIVER)))


def test_two_names_of_one_code_in_one_case_are_two_structures() -> None:
    both = [
        _segment("Left", 1, _entry(KIDNEY)),
        _segment("right", 2, _entry(KIDNEY)),
        _segment("RIGHT", 3, _entry(KIDNEY)),
    ]
    key = keys_within(both)
    assert [key(each) for each in both] == ["[SCT:64033007] left", "[SCT:64033007] right", "[SCT:64033007] right"]


# The proposal


def test_names_equal_up_to_case_are_one_structure_under_the_usual_name() -> None:
    facts = _facts(
        *(_case(f"c{n}", {_segment(name): ALL}, seed=n) for n, name in enumerate(["Liver", "liver", "Liver"]))
    )
    scheme = propose_scheme(facts)
    assert _names(scheme) == ["Liver"] and scheme.structures[0].sources == ("liver",)


def test_names_without_a_code_join_the_code_of_their_name() -> None:
    facts = _facts(
        _case("a", {_segment("Liver", terminology=_entry(LIVER)): ALL}, seed=1), _case("b", {_segment("liver"): ALL})
    )
    scheme = propose_scheme(facts)
    assert _names(scheme) == ["Liver"] and scheme.structures[0].sources == ("[SCT:10200004]", "liver")
    assert scheme.structures[0].terminology == _entry(LIVER)


def test_the_same_name_with_different_codes_stays_apart_and_is_told() -> None:
    facts = _facts(
        _case("a", {_segment("Lesion", terminology=_entry(MASS)): ALL}, seed=1),
        _case("b", {_segment("lesion", terminology=_entry(BRAIN)): ALL}, seed=2),
        _case("c", {_segment("LESION"): ALL}, seed=3),
    )
    scheme = propose_scheme(facts)
    assert len(scheme.structures) == 3 and len({folded(name) for name in _names(scheme)}) == 3
    check_scheme(scheme)
    rows = scheme_rows(scheme, facts)
    assert all(any("also stands for another code" in note for note in row.notes) for row in rows)


def test_the_same_code_under_different_names_is_one_structure_and_is_told() -> None:
    facts = _facts(
        _case("a", {_segment("Liver", terminology=_entry(LIVER)): ALL}, seed=1),
        _case("b", {_segment("Leber", terminology=_entry(LIVER)): ALL}, seed=2),
    )
    scheme = propose_scheme(facts)
    (row,) = scheme_rows(scheme, facts)
    assert row.cases == 2 and row.names == ("Leber", "Liver") and "call it differently: leber, liver" in row.notes[0]


def test_sides_of_one_code_join_over_cases_by_their_names() -> None:
    code = _entry(KIDNEY)
    facts = _facts(
        _case("a", {_segment("left", terminology=code): LOW, _segment("right", terminology=code): HIGH}, seed=1),
        _case("b", {_segment("Left", terminology=code): LOW}, seed=2),
        _case("c", {_segment("right"): LOW}, seed=3),
    )
    scheme = propose_scheme(facts)
    assert {folded(name) for name in _names(scheme)} == {"left", "right"}
    rows = scheme_rows(scheme, facts)
    assert {folded(row.name): row.cases for row in rows} == {"left": 2, "right": 2}
    assert all(any("same code" in note for note in row.notes) for row in rows)


def test_what_one_case_keeps_apart_is_not_joined() -> None:
    facts = _facts(
        _case("a", {_segment("tumor", terminology=_entry(MASS)): LOW}, seed=1),
        _case("b", {_segment("growth", terminology=_entry(MASS)): LOW, _segment("tumor"): HIGH}, seed=2),
    )
    assert len(propose_scheme(facts).structures) == 2


def test_of_structures_that_overlap_the_smaller_comes_first() -> None:
    facts = _facts(
        _case(
            "a", {_segment("Liver"): ALL, _segment("Spleen"): np.s_[0, 0, 0]}, {_segment("Tumor"): np.s_[3:5, 3:5, 3:5]}
        )
    )
    scheme = propose_scheme(facts)
    assert _names(scheme).index("Tumor") < _names(scheme).index("Liver")


def test_the_order_of_the_cases_changes_nothing() -> None:
    cases = [
        _case("a", {_segment("Liver"): LOW, _segment("spleen"): HIGH}, seed=1),
        _case("b", {_segment("LIVER", hue=0.9): LOW, _segment("Kidney"): HIGH}, seed=2),
        _case("c", {_segment("Tumor", terminology=_entry(MASS)): ALL}, seed=3),
    ]
    facts = _facts(*cases)
    assert len({scheme_text(propose_scheme(order, overlaps="regions")) for order in itertools.permutations(facts)}) == 1


def test_background_and_what_is_empty_everywhere_is_left_out_and_ignore_found() -> None:
    facts = _facts(_case("a", {_segment("Background"): LOW, _segment("Liver"): HIGH, _segment("nothing"): NOWHERE},
                         {_segment("IGNORE"): np.s_[5, :, :]}))  # fmt: skip
    scheme = propose_scheme(facts)
    assert _names(scheme) == ["Liver"] and scheme.ignore == ("ignore",) and scheme.ignore_value == 2
    assert scheme.dropped == ("background", "nothing")


def test_colors_and_names_are_never_twice_in_a_dataset() -> None:
    facts = _facts(*(_case(f"c{n}", {_segment("Lesion", terminology=_entry(code)): ALL}, seed=n)
                     for n, code in enumerate([MASS, BRAIN, LIVER])))  # fmt: skip
    scheme = propose_scheme(facts)
    assert len({each.color for each in scheme.structures}) == 3
    assert len({folded(each.name) for each in scheme.structures}) == 3


def test_cases_without_a_segmentation_have_no_say() -> None:
    case = _case("a", {_segment("Liver"): ALL})
    image = replace(case.case, label=None, id="test image")
    facts = [*_facts(case), inspect_case(LoadedCase(image, case.images))]
    scheme = propose_scheme(facts)
    assert _names(scheme) == ["Liver"] and scheme_rows(scheme, facts)[0].missing_in == ()
    assert propose_scheme([]) == LabelScheme()


# Editing


@pytest.fixture
def organs() -> tuple[LabelScheme, list[CaseFacts]]:
    facts = _facts(
        _case("a", {_segment(n): np.s_[i, :, :] for i, n in enumerate(["Liver", "Spleen", "Kidney", "Aorta"])})
    )
    return propose_scheme(facts), facts


def test_edits(organs: tuple[LabelScheme, list[CaseFacts]]) -> None:
    scheme, facts = organs
    assert _names(renamed(scheme, 0, "  Hepar ")) == ["Hepar", "Spleen", "Kidney", "Aorta"]
    assert recolored(scheme, 1, (1, 0, 0)).structures[1].color == (1, 0, 0)
    assert _names(moved(scheme, 3, 0)) == ["Aorta", "Liver", "Spleen", "Kidney"]
    assert _names(moved(scheme, 0, 3)) == ["Spleen", "Kidney", "Aorta", "Liver"]
    less = dropped(scheme, 1)
    assert _names(less) == ["Liver", "Kidney", "Aorta"] and less.dropped == ("spleen",)
    assert _names(restored(less, ["spleen"], facts)) == ["Liver", "Kidney", "Aorta", "Spleen"]
    one = merged(scheme, [2, 0], "Organs")
    assert _names(one) == ["Organs", "Spleen", "Aorta"] and one.structures[0].sources == ("kidney", "liver")
    assert _names(separated(one, 0, facts)) == ["Liver", "Kidney", "Spleen", "Aorta"]
    unsure = with_ignore(scheme, ["spleen"])
    assert _names(unsure) == ["Liver", "Kidney", "Aorta"] and unsure.ignore_value == 4
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
    facts = _facts(
        _case("a", {_segment("Liver", terminology=_entry(LIVER)): LOW, _segment("Heart"): HIGH}, seed=1),
        _case("b", {_segment("spleen"): LOW}, seed=2),
    )
    assert unmapped(scheme, facts) == ("[SCT:10200004]", "heart")
    full = completed(scheme, facts)
    assert _names(full) == ["Liver", "Spleen"] and full.structures[0].sources == ("[SCT:10200004]", "liver")
    assert full.dropped == ("heart",) and unmapped(full, facts) == () and full.ignore_value == 3
    assert completed(full, facts) == full


def test_new_combinations_come_behind_those_there_are() -> None:
    first = _facts(
        _case("a", {_segment("B"): ALL}, {_segment("C"): np.s_[2:4, 2:4, 2:4]}, {_segment("A"): np.s_[0, 0, 0]})
    )
    scheme = propose_scheme(first, overlaps="regions")
    assert len(scheme.combinations) == 1
    more = [*first, *_facts(_case("b", {_segment("A"): ALL}, {_segment("B"): np.s_[2:4, 2:4, 2:4]}, seed=4))]
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
    facts = _facts(
        _case("a", {_segment("Liver"): LOW, _segment("Spleen"): speck}, seed=1),
        _case("b", {_segment("Liver"): NOWHERE, _segment("Extra"): HIGH}, seed=2),
        _case("c", {_segment("Liver"): LOW}, {_segment("liver"): HIGH}, seed=3),
    )
    scheme = LabelScheme(
        (Structure("Liver", (1, 0, 0), "", ("liver",)), Structure("Spleen", (0, 1, 0), "", ("spleen",)))
    )
    rows = scheme_rows(scheme, facts)
    liver, spleen = _row(rows, "Liver"), _row(rows, "Spleen")
    assert liver.cases == 2 and liver.empty_in == ("b",) and liver.several_in == ("c",) and liver.value == 1
    assert liver.volume_ml == pytest.approx((0.256 + 0.512) / 2)
    assert spleen.missing_in == ("b", "c") and spleen.debris_in == ("a",) and spleen.values == (2,)
    extra = _row(rows, "Extra")
    assert extra.kind == "unmapped" and "background unless" in extra.notes[0] and extra.value == 0
    text = " ".join(scheme_notes(scheme, facts))
    for told in ("'Spleen' (2 of 3 lack it)", "Empty in some cases: 'Liver'", "single voxel: 'Spleen'", "'Extra'"):
        assert told in text


# The file


def test_a_scheme_survives_its_file(tmp_path: Path) -> None:
    facts = _facts(_case("a", {_segment("Liver", terminology=_entry(LIVER)): ALL, _segment("Ä b"): np.s_[0, 0, 0]},
                         {_segment("Tumor"): np.s_[3:5, 3, 3]}, {_segment("ignore"): np.s_[5, 5, 5]}))  # fmt: skip
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


# Label maps


def test_the_first_structure_in_the_order_wins() -> None:
    case = _case(
        "a", {_segment("A"): np.s_[:5, :, :]}, {_segment("B"): np.s_[3:, :, :]}, {_segment("C"): np.s_[:, 4:, :]}
    )
    in_a, in_b, in_c = np.zeros((3, 8, 8, 8), bool)
    in_a[:5], in_b[3:], in_c[:, 4:] = True, True, True
    for order in itertools.permutations("abc"):
        scheme = LabelScheme(tuple(Structure(name, (0, 0, 0), "", (name,)) for name in order))
        expected = np.zeros((8, 8, 8), int)
        for value, name in reversed(list(enumerate(order, 1))):
            expected[{"a": in_a, "b": in_b, "c": in_c}[name]] = value
        found = apply_scheme(case.labels, case.segments, scheme)
        assert found.array.dtype == np.uint8 and found.channels == 1
        np.testing.assert_array_equal(found.array[0], expected)


def test_regions_keep_every_overlap() -> None:
    rng = np.random.default_rng(7)
    masks = rng.integers(0, 2, (4, 8, 8, 8)).astype(bool)
    masks[3] &= rng.integers(0, 20, (8, 8, 8)) == 0
    case = _case("a", *({_segment(name): mask} for name, mask in zip(["A", "B", "C", "ignore"], masks, strict=True)))
    facts = _facts(case)
    scheme = propose_scheme(facts, overlaps="regions")
    assert len(scheme.combinations) == 4 and scheme.ignore_value == 8
    found = apply_scheme(case.labels, case.segments, scheme).array[0]
    np.testing.assert_array_equal(found == 8, masks[3])
    for index, structure in enumerate(scheme.structures):
        mask = masks["abc".index(structure.sources[0])] & ~masks[3]
        np.testing.assert_array_equal(np.isin(found, scheme.values_of(index)), mask)


def test_merged_dropped_and_ignored_structures() -> None:
    case = _case("a", {_segment(n): np.s_[i, :, :] for i, n in enumerate("ABCDE")}, {_segment("F"): np.s_[:, 7, :]})
    scheme = LabelScheme(
        (Structure("AB", (0, 0, 0), "", ("a", "b")), Structure("C", (0, 0, 0), "", ("c",))), ignore=("f",),
        dropped=("d", "e"),
    )  # fmt: skip
    for overlaps in ("order", "regions"):
        found = apply_scheme(case.labels, case.segments, replace(scheme, overlaps=overlaps)).array[0]
        assert found[:, 0, 0].tolist() == [1, 1, 2, 0, 0, 0, 0, 0] and (found[:, 7] == 3).all()


def test_two_segments_of_one_structure_may_overlap_in_regions() -> None:
    case = _case("a", {_segment("A"): LOW}, {_segment("a"): ALL})
    scheme = propose_scheme(_facts(case), overlaps="regions")
    assert scheme.combinations == ()
    found = apply_scheme(case.labels, case.segments, scheme).array[0]
    assert found[:4].all() and found.sum() == 4 * 64 + 3 * 36


def test_more_than_255_values_need_two_bytes() -> None:
    array = np.arange(700, dtype=np.uint16).reshape(1, 7, 10, 10)
    segments = [Segment(n, f"Part {n}", (0, 0, 0)) for n in range(1, 700)]
    scheme = LabelScheme(tuple(Structure(f"p{n}", (0, 0, 0), "", (f"part {n}",)) for n in reversed(range(1, 700))))
    for overlaps in ("order", "regions"):
        found = apply_scheme(Volume(array, np.eye(4)), segments, replace(scheme, overlaps=overlaps))
        assert found.array.dtype == np.uint16
        np.testing.assert_array_equal(found.array, np.where(array, 700 - array.astype(int), 0))
    few = apply_scheme(Volume(array * 0, np.eye(4)), [], scheme)
    assert few.array.dtype == np.uint16, "the type is the dataset's, not the case's"


def test_label_maps_lie_where_their_labels_do_in_any_axis_order() -> None:
    rng = np.random.default_rng(1)
    labels = Volume(rng.integers(0, 3, (2, 4, 5, 6)).astype(np.uint8), PLACES["oblique"])
    segments = [Segment(label, f"s{label}{layer}", (0, 0, 0), "", layer) for label in (1, 2) for layer in (0, 1)]
    scheme = LabelScheme(tuple(Structure(s.name, (0, 0, 0), "", (s.name,)) for s in segments))
    expected = apply_scheme(labels, segments, scheme)
    assert expected.grid.same_as(labels.grid)
    for permutation, signs in axis_orders():
        found = apply_scheme(reordered(labels, permutation, signs), segments, scheme)
        np.testing.assert_array_equal(found.array, reordered(expected, permutation, signs).array)


def test_parts_of_large_maps_are_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets import label_map

    case = _case("a", {_segment("A"): ALL, _segment("B"): np.s_[0, :, :]}, {_segment("C"): np.s_[3:5, 2:6, :]})
    for overlaps in ("order", "regions"):
        scheme = propose_scheme(_facts(case), overlaps=overlaps)
        expected = apply_scheme(case.labels, case.segments, scheme).array
        with monkeypatch.context() as patch:
            patch.setattr(label_map, "_SLAB_VOXELS", 70)
            np.testing.assert_array_equal(apply_scheme(case.labels, case.segments, scheme).array, expected)


def test_what_the_scheme_does_not_say_is_refused_not_lost() -> None:
    case = _case("a", {_segment("A"): LOW, _segment("Heart"): HIGH})
    scheme = LabelScheme((Structure("A", (0, 0, 0), "", ("a",)),))
    with pytest.raises(UsageError, match="say nothing of 'Heart'"):
        apply_scheme(case.labels, case.segments, scheme)
    with pytest.raises(VolumeError, match="no segment describes: 2"):
        apply_scheme(case.labels, case.segments[:1], scheme)
    both = _case("b", {_segment("A"): ALL}, {_segment("B"): LOW})
    two = replace(propose_scheme(_facts(both)), overlaps="regions")
    with pytest.raises(UsageError, match="overlap in a case"):
        apply_scheme(both.labels, both.segments, two)
    empty = _case("c", {_segment("A"): LOW, _segment("Heart"): NOWHERE})
    assert apply_scheme(empty.labels, empty.segments, scheme).array.any()


def test_a_scheme_by_names_fits_segments_with_codes() -> None:
    case = _case("a", {_segment("Liver", terminology=_entry(LIVER)): LOW})
    found = apply_scheme(case.labels, case.segments, parse_scheme('{"structures": ["LIVER"]}'))
    assert (found.array[0, :4] == 1).all()
