"""BIDS: what the official validator says of raw data and derivatives, and every voxel where it was."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from core.dataset_by_hand import LESION, digests, list_again, on, patient, plan_of, same_places, vertebra, written
from core.phantoms import PLACES, SHEARED
from meddl.datasets.case import Case, PreparedCase, SegmentationLabel
from meddl.datasets.export import export_dataset
from meddl.datasets.formats.bids import LABELS, BidsFormat
from meddl.datasets.formats.bids_names import contrast_of, label_of
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import ExportOptions
from meddl.datasets.verify import verify_dataset
from meddl.errors import MedDLError, UsageError
from meddl.volume import Segment, Volume, read_volume

FORMAT = BidsFormat()
MR = {"T1": "MR", "T1 contrast": "MR"}
REGIONS = LabelScheme(
    (LESION.structures[0], Structure('whole "head"', (0, 0, 1))), "regions", ((0, 1),), ignore=("unknown",)
)


def case_of(name: str, patient_name: str, image: Volume, labels: Volume | None, **more: Any) -> PreparedCase:
    enhanced = Volume(image.array + np.int16(7), image.affine)
    return PreparedCase(name, patient_name, {"T1": image, "T1 contrast": enhanced}, labels=labels, modality=MR, **more)


def cases() -> list[PreparedCase]:
    one, two, (spine, parts) = patient("brain1"), patient("brain2"), vertebra()
    oblique = PLACES["oblique and left-handed"]
    marked = Volume((parts.array > 0) * np.uint8(3) + (parts.array > 50).astype(np.uint8), parts.affine)
    return [
        case_of("case_0001", "patient_0001", *one, split="train", fold=0, site="site_1"),
        case_of("case_0002", "patient_0001", *(on(each, oblique) for each in one), split="train", fold=0),
        case_of("case_0003", "patient_0002", *(on(each, SHEARED) for each in two), split="validation", site="site_2"),
        case_of("case_0004", "patient_0003", spine, marked, split="test"),
        case_of("case_0005", "patient_0004", two[0], None, split="test"),
    ]


def plan_for(given: list[PreparedCase], **more: Any) -> Any:
    return plan_of(given, "segmentation", format="bids", **{"scheme": REGIONS, "modality": MR, **more})


def said_by_the_validator(root: Path) -> dict[str, list[tuple[str, str]]]:
    """(code, place) of the errors and warnings that the BIDS project's own validator has."""
    program = Path(sys.executable).parent / "bids-validator-deno"
    if not program.exists():
        pytest.skip("the package bids-validator-deno is not installed")
    ran = subprocess.run([str(program), str(root), "--format", "json"], capture_output=True, text=True, check=False)
    if not ran.stdout.strip():
        pytest.skip(f"the BIDS validator does not run here: {ran.stderr[-200:]}")
    found: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    for issue in json.loads(ran.stdout)["issues"]["issues"]:
        found[issue["severity"]].append(
            (f"{issue['code']} {issue.get('subCode', '')}".strip(), issue.get("location", ""))
        )
    return found


def test_the_validator_of_bids_finds_no_error(tmp_path: Path) -> None:
    given = cases()
    plan = plan_for(given)
    written(FORMAT, plan, given, tmp_path)
    # What the writer of all datasets puts beside it.
    (tmp_path / "dataset.meddl.json").write_text("{}")
    (tmp_path / "datasheet.md").write_text("# By hand")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/volumes.png").write_bytes(b"\x89PNG")
    for root in (tmp_path, tmp_path / LABELS):
        found = said_by_the_validator(root)
        assert found["error"] == []
        assert not [issue for issue in found["warning"] if "RECOMMENDED" not in issue[0] and "AUTHORS" not in issue[0]
                    and not (root != tmp_path and "README" in issue[0])]  # fmt: skip
    (tmp_path / "sub-0001/anat.txt").write_text("this is not BIDS, and the validator is awake")
    assert said_by_the_validator(tmp_path)["error"]


def test_every_voxel_and_label_is_where_it_was(tmp_path: Path) -> None:
    given = cases()
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    for case, subject in zip(given, ("0001", "0001", "0002", "0003", "0004"), strict=True):
        session = case.name[-4:]
        stem = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
        for suffix, image in zip(("T1w", "ce-gadolinium_T1w"), case.images.values(), strict=True):
            read = read_volume(tmp_path / f"{stem}_{suffix}.nii.gz")
            np.testing.assert_array_equal(read.array, image.array)
            assert same_places(read.grid, image.grid)
        path = tmp_path / f"{LABELS}/{stem}_dseg.nii.gz"
        assert path.exists() == (case.labels is not None)
        if case.labels is not None:
            loaded = nibabel.load(path)
            np.testing.assert_array_equal(np.asarray(loaded.dataobj), case.labels.array[0])
            np.testing.assert_allclose(loaded.affine, case.labels.affine, atol=1e-3)


def test_tables_tell_labels_and_parts(tmp_path: Path) -> None:
    given = cases()
    plan = plan_for(given)
    written(FORMAT, plan, given, tmp_path)
    table = (tmp_path / LABELS / "sub-0001/ses-0001/anat/sub-0001_ses-0001_dseg.tsv").read_text()
    assert table.splitlines() == [
        "index\tname\tcolor", "1\tlesion\t#E6331A", "2\twhole 'head'\t#0000FF", "3\tlesion + whole 'head'\t#731A8C",
        "4\tignore\t#808080",
    ]  # fmt: skip
    said = json.loads((tmp_path / LABELS / "sub-0001/ses-0001/anat/sub-0001_ses-0001_dseg.json").read_text())
    assert said["Sources"][0] == "bids:raw:sub-0001/ses-0001/anat/sub-0001_ses-0001_T1w.nii.gz"
    assert said["StructureCodes"]["lesion"]["CodeMeaning"] == "Neoplasm"
    assert (tmp_path / "participants.tsv").read_text().splitlines() == [
        "participant_id\tsplit\tfold\tsite", "sub-0001\ttrain\t0\tsite_1", "sub-0002\tvalidation\tn/a\tsite_2",
        "sub-0003\ttest\tn/a\tn/a", "sub-0004\ttest\tn/a\tn/a",
    ]  # fmt: skip


def test_writing_again_gives_the_same_bytes_and_the_index_names_only_what_is_done(tmp_path: Path) -> None:
    given = cases()
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path / "a")
    written(FORMAT, plan, given, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    list_again(FORMAT, plan, records[:2], tmp_path / "a")
    assert FORMAT.problems(tmp_path / "a", plan, records[:2]) == ()
    assert "sub-0002" not in (tmp_path / "a/participants.tsv").read_text()


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    given = cases()[:3]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path)
    images = sorted(tmp_path.glob("sub-*/ses-*/anat/*_T1w.nii.gz"))
    labels = sorted((tmp_path / LABELS).rglob("*_dseg.nii.gz"))
    images[0].write_bytes(images[0].read_bytes()[:1000])
    labels[1].unlink()
    strange = read_volume(labels[2])
    from meddl.volume import write_volume

    write_volume(Volume(strange.array + np.uint8(9), strange.affine), labels[2])
    table = labels[0].with_name(labels[0].name.replace(".nii.gz", ".tsv"))
    table.write_text(table.read_text().replace("lesion", "liver"))
    (tmp_path / "participants.tsv").write_text("participant_id\tsplit\nsub-0001\ttest\n")
    (tmp_path / "dataset_description.json").write_text("[]")
    (tmp_path / LABELS / "dataset_description.json").write_text("{")
    found = " ".join(FORMAT.problems(tmp_path, plan, records))
    for said in (
        f"{images[0].name} cannot be read", f"{labels[1].name} cannot be read", "that no label of the dataset has",
        f"{table.name} does not name the labels", "sub-0001 is in the part 'train'", "sub-0002 is in the part",
        "dataset_description.json does not tell", "derivatives/labels/dataset_description.json is damaged",
    ):  # fmt: skip
        assert said in found


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("T1", "T1w"), ("t1_mprage", "T1w"), ("T2-weighted", "T2w"), ("T2 FLAIR", "FLAIR"), ("T2*", "T2starw"),
        ("T1ce", "ce-gadolinium_T1w"), ("T1 post contrast", "ce-gadolinium_T1w"), ("PD", "PDw"), ("TOF", "angio"),
        ("acq-fast_run-2_T2w", "acq-fast_run-2_T2w"), ("image", None), ("CT", None), ("../T1w", "T1w"), ("", None),
    ],
)  # fmt: skip
def test_names_of_channels_tell_the_contrast(channel: str, expected: str | None) -> None:
    assert contrast_of(channel) == expected


def test_labels_of_people_stay_apart() -> None:
    names = ["patient_0001", "0001", "patient 1", "patient1", "Ä", "Ö", "a-b", "ab"]
    labels = [label_of(name, "patient") for name in names]
    assert len(set(labels)) == len(names) and all(label.isascii() and label.isalnum() for label in labels)


def test_what_bids_has_no_place_for_is_refused(tmp_path: Path) -> None:
    given = cases()[:1]
    brain, tumor = patient("brain1")
    with pytest.raises(UsageError, match="is of the modality CT"):
        FORMAT.check(plan_for(given, modality={"T1": "CT"}))
    for channels, said in (({"image": brain}, "'image' does not tell"), ({"T1": brain, "T1w": brain}, "acq-first_T1w")):
        with pytest.raises(UsageError, match=said):
            FORMAT.check(plan_for([PreparedCase("case_0001", "p", channels, labels=tumor)], modality={}))
    with pytest.raises(UsageError, match="case_0001 is of the modality CT"):
        case = PreparedCase("case_0001", "p", {"T1": brain}, labels=tumor, modality={"T1": "CT"})
        FORMAT.write_case(case, plan_for([case], modality={}), tmp_path)
    color = Volume(np.zeros((3, 4, 4, 1), np.uint8), np.eye(4))
    with pytest.raises(MedDLError, match="values per voxel"):
        FORMAT.write_case(PreparedCase("case_0001", "p", {"T1": color}, split="test"), plan_for(given), tmp_path)


@pytest.mark.parametrize("name", ["bids_names", "boxes", "stored_values"])
def test_examples_in_the_documentation_hold(name: str) -> None:
    module = importlib.import_module(f"meddl.datasets.formats.{name}")
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.attempted and not result.failed


def test_a_whole_export_is_bids_with_all_that_is_beside_it(tmp_path: Path) -> None:
    collected = [
        Case(
            f"Jane Zwiebel {n}",
            {"T1w": image},
            SegmentationLabel(labels, (Segment(1, "lesion", (1, 0, 0)),)),
            f"Zwiebel {n}",
        )
        for n, (image, labels) in enumerate([patient("brain1"), patient("brain2")])
    ]
    summary = export_dataset(collected, tmp_path, ExportOptions(format="bids", name="Small"))
    checked = verify_dataset(summary.root)
    assert (checked.complete, checked.problems, checked.notes) == (True, (), ())
    assert said_by_the_validator(tmp_path)["error"] == said_by_the_validator(tmp_path / LABELS)["error"] == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"Zwiebel" in path.read_bytes()]
