"""Which cases there are: in a list (CSV), a folder, a folder of DICOM files, a scene (.mrb)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meddl.datasets.case import Case
from meddl.datasets.collect.dicom_headers import DicomSeries

__all__ = ["DicomSeries", "collect_cases", "list_dicom"]


def collect_cases(
    source: Path, *, pattern: str = "", exclude: Sequence[Path] = (), synthetic: bool = False
) -> tuple[Case, ...]:
    """Return the cases of a list (CSV), a scene (.mrb) or a folder of images, scenes or DICOM files.

    Of a dataset that MedDL has made these are the real ones: in another dataset nobody would know the synthetic ones,
    and some would be validated by.

    Args:
        source: the list, scene or folder.
        pattern: how files of a folder are named, see :mod:`meddl.datasets.collect.folder`; "" finds out.
        exclude: folders to leave out, for instance the one the dataset goes to.
        synthetic: whether the synthetic cases of datasets are wanted too.

    Returns:
        The cases, in an order that depends on their names only. Nothing but headers was read.

    Raises:
        UsageError: there is no such list or folder, it holds no case, or it is not understood; the message says why.
    """
    from meddl.datasets.collect.sources import cases_of
    from meddl.datasets.synthetic import without_synthetic

    cases = cases_of(Path(source), pattern, tuple(Path(each) for each in exclude))
    return cases if synthetic else without_synthetic(cases)


def list_dicom(folder: Path, *, exclude: Sequence[Path] = ()) -> tuple[DicomSeries, ...]:
    """Return the DICOM series in a folder and its subfolders, ordered by patient, study and number.

    For showing what was found; patients' names are in it.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    from meddl.datasets.collect.dicom_folder import series_in

    return series_in(Path(folder), tuple(Path(each) for each in exclude))
