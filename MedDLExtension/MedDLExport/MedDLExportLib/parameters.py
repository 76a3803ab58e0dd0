"""What the user has chosen in the panel; saved with the scene, but for patients' names and the key file."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack


class Task(Enum):
    """What a model shall learn from the dataset."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"
    DETECTION = "detection"
    LANDMARKS = "landmarks"
    RECONSTRUCTION = "reconstruction"

    def label(self):
        return {
            "segmentation": _("Segmentation: find structures"),
            "classification": _("Classification: tell what it is"),
            "detection": _("Detection: find boxes"),
            "landmarks": _("Landmarks: find points"),
            "reconstruction": _("Reconstruction: make a better image"),
        }[self.value]


class Orientation(Enum):
    """Directions of the axes."""

    KEEP = ""
    RAS = "RAS"
    LPS = "LPS"
    LAS = "LAS"
    PIR = "PIR"

    def label(self):
        return {
            "": _("As it is"),
            "RAS": _("Right, anterior, superior (RAS)"),
            "LPS": _("Left, posterior, superior (LPS)"),
            "LAS": _("Left, anterior, superior (LAS)"),
            "PIR": _("Posterior, inferior, right (PIR)"),
        }[self.value]


class Crop(Enum):
    """Which part of each image is kept."""

    NONE = "none"
    FOREGROUND = "foreground"
    LABEL = "label"
    ROI = "roi"

    def label(self):
        return {
            "none": _("Nothing"),
            "foreground": _("To what is not background"),
            "label": _("To what is labeled"),
            "roi": _("To a region"),
        }[self.value]


class Profile(Enum):
    """What becomes of names."""

    BASIC = "basic"
    NONE = "none"

    def label(self):
        return {
            "basic": _("Replaced by numbers (DICOM basic profile)"),
            "none": _("Kept: names of cases and sites stay"),
        }[self.value]


class Deface(Enum):
    """What becomes of faces."""

    NONE = "none"
    TEMPLATE = "template"
    BRAIN = "brain"

    def label(self):
        return {
            "none": _("Kept"),
            "template": _("Removed, by a face mask"),
            "brain": _("Removed with all that is far from the brain"),
        }[self.value]


@parameterPack
class MedDLExportGrid:
    """Geometry, see meddl.datasets.GridOptions."""

    orientation: Orientation = Orientation.KEEP
    resample: bool = False
    spacingI: Annotated[float, WithinRange(0.01, 100.0), Default(1.0)]
    spacingJ: Annotated[float, WithinRange(0.01, 100.0), Default(1.0)]
    spacingK: Annotated[float, WithinRange(0.01, 100.0), Default(1.0)]
    crop: Crop = Crop.NONE
    margin: Annotated[float, WithinRange(0.0, 500.0), Default(10.0)]


@parameterPack
class MedDLExportSplit:
    """Parts of the dataset, see meddl.datasets.SplitOptions; percents of the patients."""

    validation: Annotated[int, WithinRange(0, 90), Default(0)]
    test: Annotated[int, WithinRange(0, 90), Default(0)]
    folds: Annotated[int, WithinRange(0, 20), Default(5)]
    byLabel: bool = True
    bySite: bool = True
    seed: Annotated[int, WithinRange(0, 999999), Default(0)]


@parameterPack
class MedDLExportDeidentify:
    """See meddl.datasets.DeidentifyOptions."""

    profile: Profile = Profile.BASIC
    shiftDates: bool = False
    cleanDescriptors: bool = False
    cleanPixels: bool = False
    keepSafePrivate: bool = False
    deface: Deface = Deface.NONE


@parameterPack
class MedDLExportDataset:
    """Format and texts, see meddl.datasets.ExportOptions."""

    format: str = "nnunet"
    name: str = "Dataset"
    number: Annotated[int, WithinRange(1, 999), Default(1)]
    ending: str = ""
    description: str = ""
    license: str = ""
    consent: str = ""
    contact: str = ""


@parameterNodeWrapper
class MedDLExportParameterNode:
    """What the user has chosen.

    task - What a model shall learn.
    cases, caseNodes - The table of cases, see meddl_slicer.export_storage: as text, and the nodes it counts.
    pattern - How the names of files are made of case and channel.
    labels - The labels as the user has changed them, as JSON; "" for what the cases propose.
    reference - The channel whose grid the others are brought to; "" for the first.
    grid, split, deidentify, dataset - See their classes.
    cropROI - What is cropped to.
    folder - Where the dataset goes.
    """

    task: Task = Task.SEGMENTATION
    cases: str = ""
    caseNodes: list[vtkMRMLNode]
    pattern: str = ""
    labels: str = ""
    reference: str = ""
    grid: MedDLExportGrid
    split: MedDLExportSplit
    deidentify: MedDLExportDeidentify
    dataset: MedDLExportDataset
    cropROI: vtkMRMLMarkupsROINode
    folder: str = ""


def options_of(parameters):
    """Return the choices as meddl.datasets.ExportOptions.

    Raises:
        meddl.errors.VolumeError: the region to crop to lies under a transform that bends it.
    """
    from meddl.datasets.options import DeidentifyOptions, ExportOptions, GridOptions, SplitOptions

    grid, split, hide, dataset = parameters.grid, parameters.split, parameters.deidentify, parameters.dataset
    stratify = tuple(name for name, wanted in (("label", split.byLabel), ("site", split.bySite)) if wanted)
    return ExportOptions(
        format=dataset.format,
        name=dataset.name.strip() or "Dataset",
        number=dataset.number,
        file_ending=dataset.ending,
        grid=GridOptions(
            reference=parameters.reference,
            orientation=grid.orientation.value,
            spacing_mm=(grid.spacingI, grid.spacingJ, grid.spacingK) if grid.resample else (),
            crop=grid.crop.value,
            margin_mm=grid.margin if grid.crop is not Crop.NONE else 0.0,
            roi=roi_of(parameters.cropROI) if grid.crop is Crop.ROI and parameters.cropROI else (),
        ),
        split=SplitOptions(split.validation / 100, split.test / 100, split.folds, stratify, split.seed),
        deidentify=DeidentifyOptions(
            hide.profile.value,
            hide.shiftDates,
            hide.cleanDescriptors,
            hide.cleanPixels,
            hide.keepSafePrivate,
            hide.deface.value,
        ),
        description=dataset.description.strip(),
        license=dataset.license.strip(),
        consent=dataset.consent.strip(),
        contact=dataset.contact.strip(),
    )


def roi_of(node):
    """Return the limits of a region in the world: lowest and highest R, A and S in mm."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return (*(round(value, 3) for value in bounds[::2]), *(round(value, 3) for value in bounds[1::2]))
