"""Dividing patients: nobody on two sides, fractions and strata kept, what is settled stays."""

from __future__ import annotations

import random

import pytest
from meddl.datasets.options import SplitOptions
from meddl.datasets.splitting import SplitItem, assign_splits, groups_of, split_notes
from meddl.errors import UsageError


def _cohort(seed: int, patients: int | None = None) -> list[SplitItem]:
    """Patients with one to four cases, some images stored twice, labels from common to rare, sites of unequal size."""
    chance = random.Random(seed)
    items: list[SplitItem] = []
    for patient in range(patients or chance.randint(1, 60)):
        site = chance.choices(["A", "B", "C", ""], [10, 4, 1, 1])[0]
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            labels = tuple(f"label {n}" for n in range(8) if chance.random() < 0.8 / (n + 1))
            digest = f"d{len(items)}-e{len(items)}"
            if items and chance.random() < 0.05:  # one of two channels is that of another case
                digest = f"d{len(items)}-{chance.choice(items).digest.split('-')[1]}"
            name = f"patient {patient}" if chance.random() < 0.9 else ""
            items.append(SplitItem(f"case {len(items)}", name, site, labels, digest))
    return items


def _options(seed: int) -> SplitOptions:
    chance = random.Random(-seed)
    validation, test = chance.choice([(0, 0), (0.1, 0.2), (0, 0.25), (0.3, 0.3), (0.05, 0)])
    return SplitOptions(validation, test, chance.choice([0, 1, 2, 5, 10]), seed=seed)


def _assert_nobody_on_two_sides(items: list[SplitItem], parts: dict) -> None:
    for key in ("patient", *range(2)):
        seen: dict[str, object] = {}
        for item in items:
            value = item.patient if key == "patient" else item.digest.split("-")[key]
            if value:
                assert seen.setdefault(value, parts[item.id]) == parts[item.id]


@pytest.mark.parametrize("seed", range(60))
def test_no_patient_and_no_image_is_ever_on_two_sides(seed: int) -> None:
    items, options = _cohort(seed), _options(seed)

    parts = assign_splits(items, options)

    assert set(parts) == {item.id for item in items}
    _assert_nobody_on_two_sides(items, parts)


@pytest.mark.parametrize("seed", range(60))
def test_fractions_are_kept_as_well_as_whole_patients_allow(seed: int) -> None:
    items, options = _cohort(seed), _options(seed)

    parts = assign_splits(items, options)

    groups = groups_of(items)
    splits = [parts[group.id][0] for group in groups]
    assert "train" in splits
    for split, fraction in (("validation", options.validation), ("test", options.test)):
        assert abs(splits.count(split) - fraction * len(groups)) <= 1
        needed = 2 if split == "test" or not options.test else 3
        assert (split in splits) == (fraction > 0 and len(groups) >= needed)
    folds = [parts[group.id][1] for group in groups if parts[group.id][0] == "train"]
    if options.folds > 1 and len(folds) > 1:
        sizes = [folds.count(fold) for fold in range(min(options.folds, len(folds)))]
        assert sum(sizes) == len(folds) and max(sizes) - min(sizes) <= 1
    else:
        assert set(folds) == {None}
    assert {fold for split, fold in parts.values() if split != "train"} <= {None}


@pytest.mark.parametrize("seed", range(30))
def test_what_is_settled_stays_when_cases_are_added(seed: int) -> None:
    items, options = _cohort(seed, 40), _options(seed)
    before = [item for item in items if item.patient and int(item.patient.split()[1]) < 25]
    settled = assign_splits(before, options)
    # A new case may join two settled patients: then nothing could be right, and that is refused (tested below).
    known = {part for item in before for part in item.digest.split("-")}
    added = [item for item in items if item not in before and item.patient
             and not known & set(item.digest.split("-"))]  # fmt: skip

    parts = assign_splits([*added, *before], options, settled)

    assert {name: parts[name] for name in settled} == settled
    _assert_nobody_on_two_sides([*before, *added], parts)
    groups = groups_of([*before, *added])
    count = sum(parts[group.id][0] == "test" for group in groups)
    assert abs(count - options.test * len(groups)) <= 1


def test_order_of_cases_does_not_matter_but_the_seed_does() -> None:
    items = _cohort(3, 40)
    options = SplitOptions(0.1, 0.2, 5)

    parts = assign_splits(items, options)

    assert assign_splits(items[::-1], options) == parts
    assert assign_splits(items, SplitOptions(0.1, 0.2, 5, seed=1)) != parts


def _imbalance(items: list[SplitItem], parts: dict[str, str]) -> float:
    """How far shares of labels and sites in each part are from those of all, added up."""
    total = 0.0
    for kind in {(label,) for item in items for label in item.labels} | {item.site for item in items}:
        has = [item for item in items if (kind[0] in item.labels if isinstance(kind, tuple) else item.site == kind)]
        for part in set(parts.values()):
            share = sum(part == each for each in parts.values()) / len(items)
            total += abs(sum(parts[item.id] == part for item in has) / len(has) - share)
    return total


def test_rare_labels_and_sites_are_spread_better_than_by_chance() -> None:
    better, ours_total, chance_total = 0, 0.0, 0.0
    for seed in range(20):
        items = [item for item in _cohort(seed, 60) if item.patient]
        items = list(
            {item.patient: SplitItem(item.id, item.patient, item.site, item.labels) for item in items}.values()
        )
        parts = {name: part[0] for name, part in assign_splits(items, SplitOptions(0.15, 0.2, 0)).items()}
        shuffled = list(parts.values())
        random.Random(seed).shuffle(shuffled)
        ours, chance = _imbalance(items, parts), _imbalance(items, dict(zip(parts, shuffled, strict=True)))
        better += ours < chance
        ours_total, chance_total = ours_total + ours, chance_total + chance

    assert better >= 19
    assert ours_total < 0.5 * chance_total


def test_every_fold_gets_a_case_of_a_label_that_five_patients_of_fifty_have() -> None:
    items = [SplitItem(f"{n:02}", f"p{n}", "", ("rare",) if n < 5 else ("common",)) for n in range(50)]

    parts = assign_splits(items, SplitOptions(folds=5))

    assert sorted(parts[f"{n:02}"][1] for n in range(5)) == [0, 1, 2, 3, 4]


def test_sites_can_be_left_out_of_the_balance() -> None:
    items = [SplitItem(f"{n:02}", f"p{n}", "A" if n < 5 else "B") for n in range(50)]

    by_site = assign_splits(items, SplitOptions(folds=5))
    by_chance = [assign_splits(items, SplitOptions(folds=5, stratify=("label",), seed=seed)) for seed in range(9)]

    assert len({by_site[f"{n:02}"][1] for n in range(5)}) == 5
    assert any(len({parts[f"{n:02}"][1] for n in range(5)}) < 5 for parts in by_chance)


def test_one_patient_is_for_training_and_a_sentence_says_so() -> None:
    items = [SplitItem(f"case {n}", "only one") for n in range(4)]
    options = SplitOptions(0.1, 0.2, 5)

    parts = assign_splits(items, options)

    assert set(parts.values()) == {("train", None)}
    notes = " ".join(split_notes(items, options, parts))
    assert "too few patients (1)" in notes and "no folds" in notes


def test_more_folds_than_patients_are_as_many_as_patients() -> None:
    items = [SplitItem(f"case {n}", f"p{n}") for n in range(3)]

    parts = assign_splits(items, SplitOptions(folds=5))

    assert sorted(fold for _, fold in parts.values()) == [0, 1, 2]
    assert split_notes(items, SplitOptions(folds=5), parts) == (
        "There are 3 patients for training, so there are 3 folds instead of 5.",
    )


def test_parts_that_the_user_chose_for_all_are_taken_and_folds_made_of_training() -> None:
    items = [SplitItem(f"{n:02}", f"p{n}") for n in range(12)]
    chosen = {item.id: (("train", "validation", "test")[n % 3], None) for n, item in enumerate(items)}

    parts = assign_splits(items, SplitOptions(0.5, 0.0, 2), chosen)

    assert {name: split for name, (split, _) in parts.items()} == {name: split for name, (split, _) in chosen.items()}
    assert sorted(fold for _, fold in parts.values() if fold is not None) == [0, 0, 1, 1]


def test_a_case_follows_its_patient_s_settled_case() -> None:
    items = [SplitItem("new", "p"), SplitItem("old", "p"), SplitItem("other", "q")]

    parts = assign_splits(items, SplitOptions(folds=0), {"old": ("test", None)})

    assert parts["new"] == ("test", None)


@pytest.mark.parametrize(
    ("items", "fixed"),
    [
        ([SplitItem("a", "p"), SplitItem("b", "p")], {"a": ("train", 0), "b": ("test", None)}),
        ([SplitItem("a", "p"), SplitItem("b", "p")], {"a": ("train", 0), "b": ("train", 1)}),
        # p and q were apart until somebody found an image of q among those of p
        ([SplitItem("a", "p", digest="1"), SplitItem("b", "q", digest="2"), SplitItem("c", "p", digest="2")],
         {"a": ("train", None), "b": ("test", None)}),
    ],
)  # fmt: skip
def test_settled_cases_that_belong_together_but_lie_apart_are_refused(items: list, fixed: dict) -> None:
    with pytest.raises(UsageError, match="'a' and 'b' are of one patient or have an image in common"):
        assign_splits(items, SplitOptions(folds=5), fixed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (SplitOptions(validation=0.5, test=0.5), "leave something for training"),
        (SplitOptions(test=-0.1), "fractions"),
        (SplitOptions(test=float("nan")), "fractions"),
        (SplitOptions(folds=-1), "number of folds"),
        (SplitOptions(folds=1000), "number of folds"),
        (SplitOptions(stratify=("patient",)), "not over 'patient'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: SplitOptions, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        assign_splits([SplitItem("a")], options)


def test_fewer_folds_than_the_dataset_has_are_refused() -> None:
    with pytest.raises(UsageError, match="Ask for at least 5"):
        assign_splits([SplitItem("a"), SplitItem("b")], SplitOptions(folds=3), {"a": ("train", 4)})


def test_images_without_a_label_are_for_test_and_do_not_count() -> None:
    items = [SplitItem(f"{n:02}", counts=n < 10) for n in range(30)]

    parts = assign_splits(items, SplitOptions(test=0.2, folds=0))

    assert sum(parts[f"{n:02}"][0] == "test" for n in range(10)) == 2
    assert {parts[f"{n:02}"][0] for n in range(10, 30)} == {"test"}


def test_images_of_one_value_tie_nobody_together() -> None:
    nothing = "0" * 16 + "ab"
    items = [SplitItem(str(n), digest=f"{nothing}-d{n}") for n in range(4)]

    assert len(groups_of(items)) == 4
    assert len(groups_of([SplitItem("a", digest=nothing), SplitItem("b", digest=nothing)])) == 1


def test_notes_tell_of_images_under_two_patients_and_of_labels_missing_in_training() -> None:
    items = [SplitItem("a", "p", digest="1"), SplitItem("b", "q", digest="1"), SplitItem("c", "r", "", ("rare",))]
    parts = assign_splits(items, SplitOptions(folds=0), {"c": ("test", None)})

    notes = split_notes(items, SplitOptions(folds=0), parts)

    assert any("another patient's name" in note for note in notes)
    assert "Only outside of the training part there is: rare." in notes


def test_no_cases_give_no_parts() -> None:
    assert assign_splits([], SplitOptions(0.1, 0.1)) == {}
