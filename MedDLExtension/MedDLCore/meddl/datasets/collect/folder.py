"""Cases out of a folder: of images with segmentations, of scenes, of DICOM files, or of all of them.

How the files are named is found out, or told by a pattern, for instance ``{case}_{channel}`` or
``{site}/{patient}/{case}/{channel}``. What is understood by itself:

- scenes (.mrb, or .mrml with its data beside it), and DICOM files with SEG or RTSTRUCT;
- nnU-Net's and the Decathlon's ``imagesTr``, ``labelsTr``, ``imagesTs``, with the names in ``dataset.json``;
- BIDS: ``sub-01/anat/sub-01_T1w.nii.gz`` with ``*_dseg`` or ``*_mask`` beside it or in ``derivatives``;
- images beside their segmentations: ``case.nii.gz`` and ``case_seg.nii.gz`` (or ``-label``, ``_mask``, ``.seg.nrrd``),
  ``case_t1.nrrd``, ``case_t2.nrrd`` and ``case_seg.nrrd``, markups (``case.mrk.json``);
- the same with images and segmentations in folders of their own (``images/``, ``labels/``);
- a folder for each case, with a file for each channel and one segmentation, or a folder of masks;
- a folder for each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from meddl.datasets.case import Case, ImageFile
from meddl.datasets.collect.bids_layout import bids_cases, is_bids
from meddl.datasets.collect.dicom_folder import dicom_among, dicom_cases, image_file
from meddl.datasets.collect.dicom_headers import DicomSeries
from meddl.datasets.collect.entries import Entry, entry_of
from meddl.datasets.collect.exported import with_exported_facts
from meddl.datasets.collect.image_names import DICOM_SUFFIXES, SCENE_SUFFIXES, stem_of
from meddl.datasets.collect.layouts import are_classes, matched_cases
from meddl.datasets.collect.name_pattern import pattern_cases
from meddl.datasets.collect.raw_layout import beside_raw, raw_cases
from meddl.datasets.collect.scene_file import one_channel_where_names_differ, scene_cases
from meddl.datasets.collect.walk import files_below
from meddl.datasets.manifest import MANIFEST
from meddl.datasets.scene_xml import is_bundle, read_scene
from meddl.errors import UsageError, VolumeError


def folder_cases(folder: Path, pattern: str, exclude: frozenset[Path]) -> list[Case]:
    """Return the cases of a folder, see the module's text.

    Args:
        pattern: how files are named; "" finds out.
        exclude: resolved folders to leave out.

    Raises:
        UsageError: a folder cannot be read, a scene is damaged, or the names are not understood.
    """
    files = files_below(folder, exclude)
    # The plots in a dataset's own report are no images of anybody.
    manifests = [file for file in files if file.name == MANIFEST]
    reports = {file.parent / "report" for file in manifests}
    files = [file for file in files if not reports.intersection(file.parents)] if reports else files
    return _whose(with_exported_facts(_found(folder, pattern, files), manifests))


def _found(folder: Path, pattern: str, files: Sequence[Path]) -> list[Case]:
    entries = [entry for file in files if (entry := entry_of(file, folder))]
    cases: list[Case] = []
    entries = [
        entry for entry in entries if not entry.source.path.name.lower().endswith((*SCENE_SUFFIXES, *DICOM_SUFFIXES))
    ]
    dicom = dicom_among(files)
    if dicom:
        found, left = dicom_cases(dicom)
        # Images in folders for classes, or with segmentations in other files, are images like others.
        candidates = _dicom_entries(left, folder)
        has_labels = any(case.label is not None for case in found)
        if entries or pattern or (not has_labels and are_classes(candidates)):
            cases += [case for case in found if case.label is not None]
            entries += candidates
        else:
            cases += found
    scenes = [file for file in files if file.name.lower().endswith(SCENE_SUFFIXES)]
    cases += _scenes(scenes, folder)
    # What lies beside a scene file belongs to it: without its transforms it would be at the wrong place.
    theirs = {file.parent / member for file in scenes if not is_bundle(file) for member in read_scene(file).members}
    entries = [entry for entry in entries if entry.source.path not in theirs]
    if pattern:
        return cases + pattern_cases(entries, pattern)
    cases += raw_cases(entries, folder)
    entries = beside_raw(entries)
    if is_bids(entries):
        return cases + bids_cases(entries)
    return cases + matched_cases(entries, folder.name)


def _whose(cases: list[Case]) -> list[Case]:
    """Return the cases, the first saying so if nobody knows whose images they are: parts are made of patients."""
    unknown = sum(not case.patient for case in cases)
    if not unknown or len(cases) < 2:
        return cases
    note = (f"Of {unknown} of {len(cases)} cases it is not known whose they are: each counts as a patient of its own. "
            "Where patients have several cases, tell so by a pattern with {patient} or in a list.")  # fmt: skip
    return [replace(cases[0], notes=(*cases[0].notes, note)), *cases[1:]]


def _scenes(files: Sequence[Path], folder: Path) -> list[Case]:
    cases: list[Case] = []
    empty = 0
    for file in files:
        name = "_".join((*file.relative_to(folder).parent.parts, stem_of(file)))
        try:
            found = scene_cases(file.absolute(), name)
        except VolumeError as error:
            raise UsageError(f"{error.message} Or move it out of the folder.", error.details) from error
        cases += found
        empty += not found
    cases = one_channel_where_names_differ(cases)
    if empty and cases:
        note = f"{empty} scene{'s' * (empty > 1)} of the folder hold no image that is read: left out."
        cases[0] = replace(cases[0], notes=(*cases[0].notes, note))
    return cases


def _dicom_entries(series: Sequence[DicomSeries], root: Path) -> list[Entry]:
    """Return DICOM images as candidates: a series by the name of its folder, a picture by that of its file."""
    entries = []
    for each in series:
        if each.localizer:
            continue
        if each.kind == "picture":
            entries += [
                Entry(ImageFile(file.absolute()), "image", file.relative_to(root).parent.parts, stem_of(file))
                for file in each.files
            ]
            continue
        place = each.files[0].parent
        folders = place.relative_to(root).parts
        stem = folders[-1] if folders else root.name
        if any(other.files[0].parent == place for other in series if other is not each):
            stem = f"{stem}_{each.number or each.uid}"
        entries.append(Entry(image_file(each, series), "image", folders[:-1], stem))
    return entries
