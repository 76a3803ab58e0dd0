"""Which case gets which number and part, before anything is written; and adding cases later."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from meddl.datasets import (
    Case,
    ClassLabel,
    DeidentifyOptions,
    ExportOptions,
    GridOptions,
    ImageFile,
    SegmentationLabel,
    SplitOptions,
    plan_export,
)
from meddl.datasets.deidentify.key_file import Key, KeyRow
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.datasets.manifest import MANIFEST, Manifest
from meddl.datasets.plan import CaseRecord
from meddl.datasets.planning import Planning, made_from
from meddl.errors import UsageError
from meddl.volume import Segment, Volume

OPTIONS = ExportOptions("monai", "Heads", split=SplitOptions(test=0.25, folds=2))


def digest(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


def case(name: str, patient: str = "", channels: tuple[str, ...] = ("T1",), **more: object) -> Case:
    image = Volume(np.zeros((1, 2, 2, 2), np.int16), np.eye(4))
    label = SegmentationLabel(image.with_array(np.ones((1, 2, 2, 2), np.uint8)), (Segment(1, "Brain", (1, 0, 0)),))
    return Case(name, dict.fromkeys(channels, image), more.pop("label", label), patient, **more)


def facts(case: Case, image: str, problems: tuple[str, ...] = ()) -> CaseFacts:
    channel = ChannelFacts((2, 2, 2), (1, 1, 1), "RAS", "MR", "int16", 0, 1, 0, 0, 0, 1, 0, image)
    structure = StructureFacts("brain", "Brain", "", (1, 0, 0), 8, 0.008, 1, 0)
    classes = case.label.names if isinstance(case.label, ClassLabel) else ()
    return CaseFacts(
        case.id, case.task, dict.fromkeys(case.images, channel), (structure,) if not classes else (),
        classes=classes, problems=problems,
    )  # fmt: skip


def plan(tmp_path: Path, cases: list[Case], digests: list[str], options: ExportOptions = OPTIONS, **more: object):
    return plan_export(cases, [facts(*pair) for pair in zip(cases, digests, strict=True)], options, tmp_path, **more)


def keep(made: Planning, *, but: str = "", labels: dict[str, str] | None = None) -> None:
    """Write the manifest of a dataset with all planned cases in it, ``but`` the one of an id."""
    records = {
        each.name: CaseRecord(each, "", {}, {"quality": {"label_digest": (labels or {}).get(each.id, "")}})
        for each in made.plan.cases
        if each.id != but
    }
    made.root.mkdir(exist_ok=True)
    (made.root / MANIFEST).write_bytes(Manifest(made.plan, records).to_bytes())


def test_numbers_do_not_follow_names_nor_the_order_of_the_list(tmp_path):
    cases, digests = [case("adam"), case("berta"), case("zoe")], ["c" * 64, "a" * 64, "b" * 64]
    there = plan(tmp_path, cases, digests).plan.cases
    assert [(each.name, each.id) for each in there] == [
        ("case_0001", "berta"), ("case_0002", "zoe"), ("case_0003", "adam")
    ]  # fmt: skip
    assert plan(tmp_path, cases[::-1], digests[::-1]).plan.cases == there


def test_a_patient_keeps_to_one_part(tmp_path):
    cases = [case(f"scan {n}", f"patient {n // 3}") for n in range(24)]
    there = plan(tmp_path, cases, [digest(n) for n in range(24)]).plan.cases
    parts = {}
    for each in there:
        parts.setdefault(each.patient, set()).add((each.split, each.fold))
    assert len(parts) == 8 and all(len(each) == 1 for each in parts.values())
    assert {split for each in parts.values() for split, _ in each} == {"train", "test"}


def test_cases_added_later_change_nothing_for_those_that_are_there(tmp_path):
    first = plan(tmp_path, [case(f"scan {n}", f"p{n}") for n in range(6)], [digest(n) for n in range(1, 7)])
    keep(first)
    cases = [case("new", "p2"), case("scan 2", "p2"), case("quite new")]
    second = plan(tmp_path, cases, [digest(0), digest(3), digest(99)]).plan
    before = {each.digest: (each.name, each.patient, each.split, each.fold) for each in first.plan.cases}
    after = {each.digest: (each.name, each.patient, each.split, each.fold) for each in second.cases}
    assert {image: after[image] for image in before} == before
    new, old = (next(each for each in second.cases if each.id == name) for name in ("new", "scan 2"))
    assert (new.patient, new.split, new.fold) == (old.patient, old.split, old.fold)
    assert sorted(each.name for each in second.cases)[-2:] == ["case_0007", "case_0008"]


def test_a_key_knows_a_patient_again_whose_old_cases_are_not_at_hand(tmp_path):
    first = plan(tmp_path, [case(f"scan {n}", f"p{n}") for n in range(6)], [digest(n) for n in range(6)])
    keep(first)
    old = next(each for each in first.plan.cases if each.id == "scan 4")
    key = Key(bytes(32), tuple(KeyRow(e.name, e.patient, e.id, f"p{e.id[-1]}") for e in first.plan.cases))
    again = plan(tmp_path, [case("follow-up", "p4")], ["f" * 64], key=key)
    new = next(each for each in again.plan.cases if each.id == "follow-up")
    assert (new.patient, new.split, new.fold) == (old.patient, old.split, old.fold)
    assert not any("key file" in note for note in again.notes)
    unknown = plan(tmp_path, [case("follow-up", "p4")], ["f" * 64])
    assert any("key file" in note for note in unknown.notes)


def test_new_patients_are_compared_with_those_at_hand_only_which_is_said(tmp_path):
    keep(plan(tmp_path, [case("a", "p1"), case("b", "p2")], ["a" * 64, "b" * 64]))
    some = plan(tmp_path, [case("a", "p1"), case("c", "p2")], ["a" * 64, "c" * 64])
    told = " ".join(some.notes)
    assert "1 case is not among these and stays in the dataset." in told and "key file" in told
    everyone = [case("a", "p1"), case("b", "p2"), case("c", "p2")]
    assert not any("key file" in note for note in plan(tmp_path, everyone, ["a" * 64, "b" * 64, "c" * 64]).notes)


def test_of_one_image_with_two_labels_each_keeps_its_number_when_the_other_is_not_there(tmp_path):
    both, same = [case("reader 1", "p"), case("reader 2", "p")], ["a" * 64] * 2
    first = plan(tmp_path, both, same)
    keep(first, labels={"reader 1": "one", "reader 2": "two"})
    two = replace(facts(both[1], "a" * 64), label_digest="two")
    second = plan_export(both[1:], [two], OPTIONS, tmp_path)
    names = {each.id: each.name for each in first.plan.cases}
    assert [each.name for each in second.plan.cases if each.id == "reader 2"] == [names["reader 2"]]
    corrected = replace(two, label_digest="three")
    key = Key(bytes(32), tuple(KeyRow(each.name, each.patient, each.id, "p") for each in first.plan.cases))
    by_key = plan_export(both[1:], [corrected], OPTIONS, tmp_path, key=key)
    assert [each.name for each in by_key.plan.cases if each.id == "reader 2"] == [names["reader 2"]]


def test_a_case_that_was_never_written_and_is_gone_is_no_longer_waited_for(tmp_path):
    cases, digests = [case("a"), case("b"), case("c")], ["a" * 64, "b" * 64, "c" * 64]
    keep(plan(tmp_path, cases, digests), but="b")
    again = plan(tmp_path, cases[::2], digests[::2])
    assert {each.id for each in again.plan.cases} == {"a", "c"}
    assert any("1 case that an earlier run planned but did not write" in note for note in again.notes)
    assert {each.name for each in plan(tmp_path, cases, digests).plan.cases} == {"case_0001", "case_0002", "case_0003"}


def test_with_a_key_a_case_whose_file_has_changed_takes_the_place_of_its_older_self(tmp_path):
    cases = [Case("a", {"T1": ImageFile(Path("/x/a.nii"))}, case("a").label)]
    first = plan(tmp_path, cases, ["a" * 64])
    keep(first)
    rows = tuple(KeyRow(each.name, each.patient, each.id, "", "", ("/x/a.nii",)) for each in first.plan.cases)
    second = plan(tmp_path, cases, ["f" * 64], key=Key(bytes(32), rows)).plan.cases
    assert [(each.id, each.name) for each in second] == [("a", "case_0001")]
    other = [Case("a", {"T1": ImageFile(Path("/elsewhere/a.nii"))}, case("a").label)]
    assert len(plan(tmp_path, other, ["f" * 64], key=Key(bytes(32), rows)).plan.cases) == 2


def test_other_parts_are_for_new_cases_only_which_is_said(tmp_path):
    cases, digests = [case(f"scan {n}") for n in range(8)], [digest(n) for n in range(8)]
    first = plan(tmp_path, cases, digests, replace(OPTIONS, split=SplitOptions(folds=2)))
    keep(first)
    asked = plan(tmp_path, [replace(each, split="test") for each in cases], digests)
    assert asked.plan.cases == first.plan.cases and asked.plan.options.split == SplitOptions(folds=2)
    told = " ".join(asked.notes)
    assert "keep their parts" in told and "8 cases that are in the dataset already stay" in told
    assert "too few" not in told


def test_equal_images_under_two_names_stay_together(tmp_path):
    cases = [case(f"scan {n}") for n in range(12)]
    digests = [digest(n // 2) for n in range(12)]
    parts = {}
    for each in plan(tmp_path, cases, digests).plan.cases:
        parts.setdefault(each.digest, set()).add((each.split, each.fold))
    assert all(len(each) == 1 for each in parts.values())


def test_a_case_that_lacks_an_image_is_left_out_and_named(tmp_path):
    cases = [case("a", channels=("T1", "T2")), case("b", channels=("T1", "T2")), case("c")]
    made = plan(tmp_path, cases, ["a" * 64, "b" * 64, "c" * 64])
    assert made.left_out == {"c": "It has no image 'T2'. The images of this dataset are: T1, T2."}
    assert {each.id for each in made.plan.cases} == {"a", "b"}


def test_an_unreadable_case_is_left_out_with_its_reason(tmp_path):
    cases = [case("a"), case("b")]
    made = plan_export(cases, [facts(cases[0], "a" * 64), facts(cases[1], "", ("It is damaged.",))], OPTIONS, tmp_path)
    assert made.left_out == {"b": "It is damaged."}


def test_an_image_without_label_is_for_testing_unless_its_patient_has_labels(tmp_path):
    cases = [case("a", "p1"), case("b", "p1", label=None), case("c", "p2", label=None)]
    made = plan(tmp_path, cases, ["a" * 64, "b" * 64, "c" * 64])
    assert {each.id: each.split for each in made.plan.cases} == {"a": "train", "c": "test"}
    assert list(made.left_out) == ["b"]


def test_labels_of_different_kinds_are_refused(tmp_path):
    with pytest.raises(UsageError, match="different kinds"):
        plan(tmp_path, [case("a"), case("b", label=ClassLabel(("ill",)))], ["a" * 64, "b" * 64])


def test_no_case_no_label_no_format(tmp_path):
    with pytest.raises(UsageError, match="no case to export"):
        plan(tmp_path, [], [])
    with pytest.raises(UsageError, match="No case has a label"):
        plan(tmp_path, [case("a", label=None)], ["a" * 64])
    with pytest.raises(UsageError, match="no dataset format 'zip'"):
        plan(tmp_path, [case("a")], ["a" * 64], ExportOptions("zip"))


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        plan(tmp_path, [case("a")], ["a" * 64])


def test_other_options_for_the_same_folder_are_refused(tmp_path):
    made = plan(tmp_path, [case("a")], ["a" * 64])
    keep(made)
    with pytest.raises(UsageError, match="another grid"):
        plan(tmp_path, [case("a")], ["a" * 64], replace(OPTIONS, grid=GridOptions(orientation="RAS")))


def test_without_deidentification_cases_keep_safe_names(tmp_path):
    options = replace(OPTIONS, deidentify=DeidentifyOptions("none"))
    made = plan(tmp_path, [case("../up"), case("b c")], ["a" * 64, "b" * 64], options)
    names = {each.name for each in made.plan.cases}
    assert "b_c" in names and all("/" not in name and " " not in name for name in names)


def test_what_a_case_is_made_from_follows_everything_its_files_depend_on(tmp_path):
    made = plan(tmp_path, [case("a")], ["a" * 64]).plan
    fact, planned = facts(case("a"), "a" * 64), made.cases[0]
    first = made_from(planned, fact, made)
    assert made_from(planned, fact, replace(made, options=replace(made.options, license="CC0"))) == first
    assert made_from(planned, replace(fact, label_digest="x"), made) != first
    assert made_from(replace(planned, split="test"), fact, made) != first
    assert made_from(planned, fact, replace(made, options=replace(made.options, file_ending=".nrrd"))) != first


def test_the_key_of_another_dataset_is_refused(tmp_path):
    key = Key(bytes(32), (KeyRow("case_0001", "patient_0001", "other scan", "p9"),))
    with pytest.raises(UsageError, match="another dataset"):
        plan(tmp_path, [case("scan", "p1")], ["a" * 64], key=key)
    own = Key(bytes(32), (KeyRow("case_0001", "patient_0001", "scan", "p1"),))
    assert plan(tmp_path, [case("scan", "p1")], ["a" * 64], key=own).plan.cases[0].name == "case_0001"
