"""How cases become a dataset: the user's choices, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from meddl.errors import UsageError


@dataclass(frozen=True)
class GridOptions:
    """The one grid that images and label of a case are brought to.

    Attributes:
        reference: the channel whose grid it is; "" for the first.
        orientation: turn and mirror the axes towards these directions, for instance "RAS" (exact, voxels are only
            reordered); "" leaves them.
        spacing_mm: resample to it; () keeps the reference's voxels.
        crop: "none"; "foreground" (where the reference is above its background); "label" (what is labeled); "roi".
        margin_mm: kept round what is cropped to.
        roi: of "roi": lowest and highest R, A, S in mm: ``(r0, a0, s0, r1, a1, s1)``.
    """

    reference: str = ""
    orientation: str = ""
    spacing_mm: tuple[float, ...] = ()
    crop: Literal["none", "foreground", "label", "roi"] = "none"
    margin_mm: float = 0.0
    roi: tuple[float, ...] = ()


@dataclass(frozen=True)
class SplitOptions:
    """Which patients a model learns from, and which it is judged by.

    Attributes:
        validation, test: fractions 0 to 1 of the patients.
        folds: of the training patients, for cross-validation; 0 or 1 for none.
        stratify: what is balanced over the parts: "label" (structures or classes present) and "site".
        seed: of what is left to chance.
    """

    validation: float = 0.0
    test: float = 0.0
    folds: int = 5
    stratify: tuple[str, ...] = ("label", "site")
    seed: int = 0


@dataclass(frozen=True)
class DeidentifyOptions:
    """What is taken away from the cases so that nobody is known by them.

    Attributes:
        profile: "basic": DICOM PS3.15 Annex E's Basic Application Confidentiality Profile, numbers for names
            everywhere; "none": names of cases and sites stay.
        shift_dates: keep longitudinal dates, shifted by a number of days per patient (else they are removed).
        clean_descriptors: keep descriptions, without what identifies (else they are removed).
        clean_pixels: blank burned-in text (else such images are refused).
        keep_safe_private: keep private attributes that the standard knows to be safe.
        deface: remove the face of head images: "none", "template" (a face mask, by registration) or "brain" (all that
            is far from the brain, by the brain model).
    """

    profile: Literal["basic", "none"] = "basic"
    shift_dates: bool = False
    clean_descriptors: bool = False
    clean_pixels: bool = False
    keep_safe_private: bool = False
    deface: Literal["none", "template", "brain"] = "none"


@dataclass(frozen=True)
class ExportOptions:
    """All choices of an export.

    Attributes:
        format: name of one of :data:`meddl.datasets.FORMATS`.
        name: of the dataset, for people.
        number: of the dataset, where the format counts (nnU-Net, Decathlon): 1 to 999.
        file_ending: of images, ".nii.gz" or ".nrrd"; "" for what the format usually has.
        description, license, consent, contact: typed by the user, for manifest and datasheet.
    """

    format: str = "nnunet"
    name: str = "Dataset"
    number: int = 1
    file_ending: str = ""
    grid: GridOptions = field(default_factory=GridOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    deidentify: DeidentifyOptions = field(default_factory=DeidentifyOptions)
    description: str = ""
    license: str = ""
    consent: str = ""
    contact: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's params and the manifest carry it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExportOptions:
        """Return what :meth:`to_dict` described.

        Raises:
            UsageError: it names a choice that there is none of.
        """
        try:
            rooms = {name: dict(data.get(name, {})) for name in ("grid", "split", "deidentify")}
            for room, names in (("grid", ("spacing_mm", "roi")), ("split", ("stratify",))):
                rooms[room].update({name: tuple(rooms[room][name]) for name in names if name in rooms[room]})
            return cls(
                **{
                    **data,
                    "grid": GridOptions(**rooms["grid"]),
                    "split": SplitOptions(**rooms["split"]),
                    "deidentify": DeidentifyOptions(**rooms["deidentify"]),
                }
            )
        except TypeError as error:
            raise UsageError(f"These are no options of an export: {error}.") from error


def key_outside(key: Path | None, folder: Path) -> Path | None:
    """Return the key file's path if it does not lie in the dataset.

    Raises:
        UsageError: it does: whoever gets the dataset would get the names.
    """
    if key is not None and key.resolve().is_relative_to(folder.resolve()):
        raise UsageError("The key file lies in the dataset's folder, where it would undo the de-identification. "
                         "Choose a place outside of it.")  # fmt: skip
    return key
