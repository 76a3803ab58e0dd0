"""Cases for the tests of the DICOM format, and independent ways to read it back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import realdata
import SimpleITK as sitk
from core.dataset_by_hand import LESION, SECRET, on, patient, plan_of, vertebra
from core.phantoms import PLACES, world_of
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.dicom import DicomFormat
from meddl.volume import Volume, from_sitk

FORMAT = DicomFormat()


def case_of(name: str, image: Volume, labels: Volume | None, *, modality: str = "MR", **more: object) -> PreparedCase:
    channel = more.pop("channel", "T1")
    return PreparedCase(
        name, f"patient_{name[-4:]}", {str(channel): image}, labels=labels, modality={str(channel): modality},
        secret=SECRET, **more,
    )  # fmt: skip


def cases() -> list[PreparedCase]:
    brain, tumor = patient("brain1")
    lung, nodule = patient("lung1")
    spine, parts = vertebra()
    oblique = PLACES["oblique and left-handed"]
    return [
        case_of("case_0001", brain, tumor, split="train", fold=0, site="site_1"),
        case_of("case_0002", lung, nodule, modality="CT", split="train", fold=1),
        case_of("case_0003", spine, Volume((parts.array > 0).astype(np.uint8), parts.affine), split="validation"),
        case_of("case_0004", on(brain, oblique), on(tumor, oblique), modality="", split="test"),
        case_of("case_0005", lung, None, modality="CT", split="test"),
    ]


def plan_for(given: list[PreparedCase], **more: object):
    return plan_of(given, "segmentation", format="dicom", **{"scheme": LESION, **more})


def by_position(image: Volume, others: Volume) -> np.ndarray:
    """The values of ``others`` at the voxels of ``image``."""
    index = np.linalg.inv(others.affine) @ np.vstack([world_of(image.affine, image.shape).reshape(3, -1),
                                                      np.ones(np.prod(image.shape))])  # fmt: skip
    nearest = np.rint(index[:3]).astype(int)
    np.testing.assert_allclose(index[:3], nearest, atol=1e-3)
    return others.array[(0, *nearest)].reshape(image.shape)


def by_itk(folder: Path) -> Volume:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return from_sitk(reader.Execute())


def conformance_errors(path: Path) -> list[str]:
    """What David Clunie's dciodvfy has against a file."""
    program = Path(sys.executable).parent / "dciodvfy"
    if not program.exists():
        pytest.skip("the package dicom3tools, with dciodvfy, is not installed")
    said = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
    assert said.returncode >= 0
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


def real_series(folder: Path, *, repaired: bool) -> tuple[Path, ...]:
    """A real, compressed CT series, whose UIDs and kind were emptied by whoever published it."""
    source = realdata.totalsegmentator() / "example_ct_dicom"
    folder.mkdir()
    for n, path in enumerate(sorted(path for path in source.iterdir() if path.is_file())[:7]):
        file = pydicom.dcmread(path)
        if repaired:
            file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}"
            file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
        file.PatientName, file.PatientID = "Doe^Jane", "SECRET-4711"
        file.save_as(folder / f"{n:03d}.dcm")
    return tuple(sorted(folder.iterdir()))


def alone(path: Path, folder: Path) -> Path:
    (folder / "alone").mkdir()
    shutil.copyfile(path, folder / "alone" / path.name)
    return folder / "alone"
