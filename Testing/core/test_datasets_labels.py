"""The labels of a dataset: which segments are the same, what is proposed, and the label maps made of it."""

from __future__ import annotations

import doctest
import importlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from core.phantoms import PLACES, axis_orders, reordered
from core.segmented_cases import (
    ALL,
    BRAIN,
    HIGH,
    KIDNEY,
    LEFT,
    LIVER,
    LOW,
    MASS,
    NOWHERE,
    RIGHT,
    STRUCTURE,
    case_of,
    entry,
    facts_of,
    names_of,
    segment,
)
from meddl.datasets.case import LoadedCase
from meddl.datasets.inspection import inspect_case
from meddl.datasets.label_map import apply_scheme
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.scheme_editing import (
    check_scheme,
    parse_scheme,
    propose_scheme,
    scheme_text,
)
from meddl.datasets.scheme_table import scheme_rows
from meddl.datasets.structure_keys import folded, keys_within, structure_key
from meddl.errors import UsageError, VolumeError
from meddl.volume import Segment, Volume
from meddl.volume.terminology import Code, Terminology, serialize_terminology

# Keys


def test_names_count_alike_whatever_their_case_spaces_and_underscores() -> None:
    keys = {structure_key(segment(name)) for name in ("Left Kidney", "left_kidney", " LEFT  KIDNEY ", "Left_Kidney\n")}
    assert keys == {"left kidney"} and folded("STRASSE") == folded("straße")


def test_codes_decide_before_names() -> None:
    one, other = segment("Liver", terminology=entry(LIVER)), segment("Leber", terminology=entry(LIVER))
    assert structure_key(one) == structure_key(other) == "[SCT:10200004]"
    sides = [segment("Kidney", terminology=entry(KIDNEY, side)) for side in (LEFT, RIGHT, None)]
    assert len({structure_key(each) for each in sides}) == 3
    assert structure_key(segment("x", terminology=entry(MASS, None, LIVER))) != structure_key(
        segment("x", terminology=entry(MASS, None, BRAIN))
    )


def test_slicers_tissue_and_broken_entries_say_nothing() -> None:
    for vague in (serialize_terminology(Terminology()), "~~~", "nonsense", entry(STRUCTURE)):
        assert structure_key(segment("Segment_1", terminology=vague)) == "segment 1"
    assert structure_key(segment("x", terminology=entry(STRUCTURE, None, LIVER))).startswith("[")


def test_older_snomed_codes_are_todays() -> None:
    old = segment("Liver", terminology=entry(Code("SRT", "T-62000", "Liver")))
    assert structure_key(old) == "[SCT:10200004]"


def test_a_name_is_never_taken_for_a_code() -> None:
    assert structure_key(segment("[SCT:10200004]")) != structure_key(segment("x", terminology=entry(LIVER)))


def test_two_names_of_one_code_in_one_case_are_two_structures() -> None:
    both = [
        segment("Left", 1, entry(KIDNEY)),
        segment("right", 2, entry(KIDNEY)),
        segment("RIGHT", 3, entry(KIDNEY)),
    ]
    key = keys_within(both)
    assert [key(each) for each in both] == ["[SCT:64033007] left", "[SCT:64033007] right", "[SCT:64033007] right"]


# The proposal


def test_names_equal_up_to_case_are_one_structure_under_the_usual_name() -> None:
    facts = facts_of(
        *(case_of(f"c{n}", {segment(name): ALL}, seed=n) for n, name in enumerate(["Liver", "liver", "Liver"]))
    )
    scheme = propose_scheme(facts)
    assert names_of(scheme) == ["Liver"] and scheme.structures[0].sources == ("liver",)


def test_names_without_a_code_join_the_code_of_their_name() -> None:
    facts = facts_of(
        case_of("a", {segment("Liver", terminology=entry(LIVER)): ALL}, seed=1), case_of("b", {segment("liver"): ALL})
    )
    scheme = propose_scheme(facts)
    assert names_of(scheme) == ["Liver"] and scheme.structures[0].sources == ("[SCT:10200004]", "liver")
    assert scheme.structures[0].terminology == entry(LIVER)


def test_the_same_name_with_different_codes_stays_apart_and_is_told() -> None:
    facts = facts_of(
        case_of("a", {segment("Lesion", terminology=entry(MASS)): ALL}, seed=1),
        case_of("b", {segment("lesion", terminology=entry(BRAIN)): ALL}, seed=2),
        case_of("c", {segment("LESION"): ALL}, seed=3),
    )
    scheme = propose_scheme(facts)
    assert len(scheme.structures) == 3 and len({folded(name) for name in names_of(scheme)}) == 3
    check_scheme(scheme)
    rows = scheme_rows(scheme, facts)
    assert all(any("also stands for another code" in note for note in row.notes) for row in rows)


def test_the_same_code_under_different_names_is_one_structure_and_is_told() -> None:
    facts = facts_of(
        case_of("a", {segment("Liver", terminology=entry(LIVER)): ALL}, seed=1),
        case_of("b", {segment("Leber", terminology=entry(LIVER)): ALL}, seed=2),
    )
    scheme = propose_scheme(facts)
    (row,) = scheme_rows(scheme, facts)
    assert row.cases == 2 and row.names == ("Leber", "Liver") and "call it differently: leber, liver" in row.notes[0]


def test_sides_of_one_code_join_over_cases_by_their_names() -> None:
    code = entry(KIDNEY)
    facts = facts_of(
        case_of("a", {segment("left", terminology=code): LOW, segment("right", terminology=code): HIGH}, seed=1),
        case_of("b", {segment("Left", terminology=code): LOW}, seed=2),
        case_of("c", {segment("right"): LOW}, seed=3),
    )
    scheme = propose_scheme(facts)
    assert {folded(name) for name in names_of(scheme)} == {"left", "right"}
    rows = scheme_rows(scheme, facts)
    assert {folded(row.name): row.cases for row in rows} == {"left": 2, "right": 2}
    assert all(any("same code" in note for note in row.notes) for row in rows)


def test_what_one_case_keeps_apart_is_not_joined() -> None:
    facts = facts_of(
        case_of("a", {segment("tumor", terminology=entry(MASS)): LOW}, seed=1),
        case_of("b", {segment("growth", terminology=entry(MASS)): LOW, segment("tumor"): HIGH}, seed=2),
    )
    assert len(propose_scheme(facts).structures) == 2


def test_of_structures_that_overlap_the_smaller_comes_first() -> None:
    facts = facts_of(
        case_of(
            "a", {segment("Liver"): ALL, segment("Spleen"): np.s_[0, 0, 0]}, {segment("Tumor"): np.s_[3:5, 3:5, 3:5]}
        )
    )
    scheme = propose_scheme(facts)
    assert names_of(scheme).index("Tumor") < names_of(scheme).index("Liver")


def test_the_order_of_the_cases_changes_nothing() -> None:
    cases = [
        case_of("a", {segment("Liver"): LOW, segment("spleen"): HIGH}, seed=1),
        case_of("b", {segment("LIVER", hue=0.9): LOW, segment("Kidney"): HIGH}, seed=2),
        case_of("c", {segment("Tumor", terminology=entry(MASS)): ALL}, seed=3),
    ]
    facts = facts_of(*cases)
    assert len({scheme_text(propose_scheme(order, overlaps="regions")) for order in itertools.permutations(facts)}) == 1


def test_background_and_what_is_empty_everywhere_is_left_out_and_ignore_found() -> None:
    facts = facts_of(case_of("a", {segment("Background"): LOW, segment("Liver"): HIGH, segment("nothing"): NOWHERE},
                         {segment("IGNORE"): np.s_[5, :, :]}))  # fmt: skip
    scheme = propose_scheme(facts)
    assert names_of(scheme) == ["Liver"] and scheme.ignore == ("ignore",) and scheme.ignore_value == 2
    assert scheme.dropped == ("background", "nothing")


def test_colors_and_names_are_never_twice_in_a_dataset() -> None:
    facts = facts_of(*(case_of(f"c{n}", {segment("Lesion", terminology=entry(code)): ALL}, seed=n)
                     for n, code in enumerate([MASS, BRAIN, LIVER])))  # fmt: skip
    scheme = propose_scheme(facts)
    assert len({each.color for each in scheme.structures}) == 3
    assert len({folded(each.name) for each in scheme.structures}) == 3


def test_cases_without_a_segmentation_have_no_say() -> None:
    case = case_of("a", {segment("Liver"): ALL})
    image = replace(case.case, label=None, id="test image")
    facts = [*facts_of(case), inspect_case(LoadedCase(image, case.images))]
    scheme = propose_scheme(facts)
    assert names_of(scheme) == ["Liver"] and scheme_rows(scheme, facts)[0].missing_in == ()
    assert propose_scheme([]) == LabelScheme()


# Label maps


def test_the_first_structure_in_the_order_wins() -> None:
    case = case_of(
        "a", {segment("A"): np.s_[:5, :, :]}, {segment("B"): np.s_[3:, :, :]}, {segment("C"): np.s_[:, 4:, :]}
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
    case = case_of("a", *({segment(name): mask} for name, mask in zip(["A", "B", "C", "ignore"], masks, strict=True)))
    facts = facts_of(case)
    scheme = propose_scheme(facts, overlaps="regions")
    assert len(scheme.combinations) == 4 and scheme.ignore_value == 8
    found = apply_scheme(case.labels, case.segments, scheme).array[0]
    np.testing.assert_array_equal(found == 8, masks[3])
    for index, structure in enumerate(scheme.structures):
        mask = masks["abc".index(structure.sources[0])] & ~masks[3]
        np.testing.assert_array_equal(np.isin(found, scheme.values_of(index)), mask)


def test_merged_dropped_and_ignored_structures() -> None:
    case = case_of("a", {segment(n): np.s_[i, :, :] for i, n in enumerate("ABCDE")}, {segment("F"): np.s_[:, 7, :]})
    scheme = LabelScheme(
        (Structure("AB", (0, 0, 0), "", ("a", "b")), Structure("C", (0, 0, 0), "", ("c",))), ignore=("f",),
        dropped=("d", "e"),
    )  # fmt: skip
    for overlaps in ("order", "regions"):
        found = apply_scheme(case.labels, case.segments, replace(scheme, overlaps=overlaps)).array[0]
        assert found[:, 0, 0].tolist() == [1, 1, 2, 0, 0, 0, 0, 0] and (found[:, 7] == 3).all()


def test_two_segments_of_one_structure_may_overlap_in_regions() -> None:
    case = case_of("a", {segment("A"): LOW}, {segment("a"): ALL})
    scheme = propose_scheme(facts_of(case), overlaps="regions")
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

    case = case_of("a", {segment("A"): ALL, segment("B"): np.s_[0, :, :]}, {segment("C"): np.s_[3:5, 2:6, :]})
    for overlaps in ("order", "regions"):
        scheme = propose_scheme(facts_of(case), overlaps=overlaps)
        expected = apply_scheme(case.labels, case.segments, scheme).array
        with monkeypatch.context() as patch:
            patch.setattr(label_map, "_SLAB_VOXELS", 70)
            np.testing.assert_array_equal(apply_scheme(case.labels, case.segments, scheme).array, expected)


def test_what_the_scheme_does_not_say_is_refused_not_lost() -> None:
    case = case_of("a", {segment("A"): LOW, segment("Heart"): HIGH})
    scheme = LabelScheme((Structure("A", (0, 0, 0), "", ("a",)),))
    with pytest.raises(UsageError, match="say nothing of 'Heart'"):
        apply_scheme(case.labels, case.segments, scheme)
    with pytest.raises(VolumeError, match="no segment describes: 2"):
        apply_scheme(case.labels, case.segments[:1], scheme)
    both = case_of("b", {segment("A"): ALL}, {segment("B"): LOW})
    two = replace(propose_scheme(facts_of(both)), overlaps="regions")
    with pytest.raises(UsageError, match="overlap in a case"):
        apply_scheme(both.labels, both.segments, two)
    empty = case_of("c", {segment("A"): LOW, segment("Heart"): NOWHERE})
    assert apply_scheme(empty.labels, empty.segments, scheme).array.any()


def test_a_scheme_by_names_fits_segments_with_codes() -> None:
    case = case_of("a", {segment("Liver", terminology=entry(LIVER)): LOW})
    found = apply_scheme(case.labels, case.segments, parse_scheme('{"structures": ["LIVER"]}'))
    assert (found.array[0, :4] == 1).all()


@pytest.mark.parametrize("module", ["structure_keys", "scheme_proposal", "scheme_file", "label_map", "one_grid"])
def test_the_examples_in_the_docs_run(module: str) -> None:
    done = doctest.testmod(importlib.import_module(f"meddl.datasets.{module}"))
    assert done.attempted and not done.failed
