"""Identifiers planted everywhere they can hide, and none of them anywhere in a dataset, of whatever format."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from core.planted import AFFINE, PLANTED, found_in, plant, plant_pictures
from meddl.datasets import (
    BoxesLabel,
    Case,
    DeidentifyOptions,
    ExportOptions,
    SegmentationLabel,
    collect_cases,
    export_dataset,
    verify_dataset,
)
from meddl.errors import UsageError
from meddl.inference.prediction import Box
from meddl.volume import Segment, Volume
from PIL import Image

MOST = DeidentifyOptions(shift_dates=True, clean_descriptors=True, clean_pixels=True, keep_safe_private=True)


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(tmp_path_factory.mktemp("planted"))


def cases_in(listing: Path) -> list[Case]:
    """Return the cases, the scene's image under the name of the others' channel."""
    cases = collect_cases(listing)
    return [replace(case, images={"T1w": next(iter(case.images.values()))}) for case in cases]


def test_more_than_thirty_are_planted_and_the_search_finds_them(listing: Path) -> None:
    found = found_in(listing.parent)

    hidden = {word for word in PLANTED if word not in found}
    assert len(PLANTED) >= 30 and hidden <= {"sop", "software"}


@pytest.mark.parametrize("deidentify", [DeidentifyOptions(), MOST], ids=["basic", "most options"])
@pytest.mark.parametrize("form", ["nnunet", "msd", "monai", "bids", "dicom"])
def test_none_is_in_a_dataset(
    listing: Path, tmp_path: Path, form: str, deidentify: DeidentifyOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines: list[str] = []
    key = tmp_path / "key.csv"

    summary = export_dataset(
        cases_in(listing), tmp_path / "out", ExportOptions(format=form, name="Tumors", deidentify=deidentify),
        key=key, log=lines.append, progress=lambda fraction, text: lines.append(text),
    )  # fmt: skip

    assert len(summary.done) == 5 and not summary.failed and not summary.left_out
    assert found_in(tmp_path / "out") == {}
    told = "\n".join([*lines, caplog.text, *summary.notes]).casefold()
    assert not [text for text in PLANTED.values() if text.casefold() in told]
    assert PLANTED["column_patient"] in key.read_text("utf-8-sig")  # there they belong
    assert verify_dataset(summary.root).complete


def test_the_files_of_a_dicom_series_are_copied_without_names(listing: Path, tmp_path: Path) -> None:
    options = ExportOptions(format="dicom", name="Tumors", deidentify=MOST)

    summary = export_dataset(cases_in(listing), tmp_path, options)

    files = [pydicom.dcmread(path) for path in sorted(summary.root.rglob("*.dcm"))]
    copies = [file for file in files if "AnatomicRegionSequence" in file]
    assert len(copies) == 12
    assert {file.PatientIdentityRemoved for file in files if file.Modality == "MR"} == {"YES"}
    assert {file.SeriesDescription for file in copies} == {"thorax lung"}


def test_names_that_people_gave_are_refused_where_they_name_the_patient(listing: Path, tmp_path: Path) -> None:
    cases = cases_in(listing)
    named = SegmentationLabel(
        Volume(np.ones((1, 32, 30, 12), np.uint8), AFFINE), (Segment(1, f"Tumor {PLANTED['given']}", (1, 0, 0)),)
    )
    options = ExportOptions(format="monai", name="Tumors")
    for changed, typed, place in (
        (cases, replace(options, description=f"Seen by {PLANTED['family']}"), "description"),
        ([replace(cases[0], label=named), *cases[1:]], options, "structure"),
    ):
        with pytest.raises(UsageError, match=place) as caught:
            export_dataset(changed, tmp_path / "out", typed)
        assert not [text for text in PLANTED.values() if text in str(caught.value)]
        assert not (tmp_path / "out").exists() or found_in(tmp_path / "out") == {}


@pytest.mark.parametrize("form", ["classification", "coco"])
def test_none_is_left_of_pictures(tmp_path: Path, form: str) -> None:
    cases = collect_cases(plant_pictures(tmp_path / "in"))
    if form == "coco":
        box = Box("Tumor", 1.0, np.array([-90.0, -90, 0]), np.array([30.0, 30, 1]))
        cases = [replace(case, label=BoxesLabel((box,))) for case in cases]

    summary = export_dataset(cases, tmp_path / "out", ExportOptions(format=form, name="Pictures"))

    assert len(summary.done) == 4 and found_in(tmp_path / "out") == {}


def test_burned_in_names_are_refused_or_blanked(tmp_path: Path) -> None:
    cases = collect_cases(plant_pictures(tmp_path / "in", burned_in=True))
    options = ExportOptions(format="classification", name="Pictures")

    refused = export_dataset(cases, tmp_path / "refused", options)
    blanked = export_dataset(cases, tmp_path / "blanked", replace(options, deidentify=MOST))

    assert not refused.done and len(refused.failed) == 4
    assert all("looks like text" in why for why in refused.failed.values())
    assert len(blanked.done) == 4 and found_in(tmp_path / "blanked") == {}
    pictures = list((tmp_path / "blanked").rglob("case_*.png"))
    for path in pictures:
        assert np.asarray(Image.open(path).convert("L"))[5:35].max() < 250
