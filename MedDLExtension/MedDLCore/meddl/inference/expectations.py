"""What a bundle says, outright or between the lines, about the images it was made for.

Outright: ``meddl.expected`` of its metadata, and MONAI's own fields. Between the lines: what its preprocessing does,
read from the config without evaluating any of it. All lengths are in mm along the patient's axes (left-right,
back-front, foot-head), whatever the order of an image's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models.metadata_values import as_mapping, image_format, own_part

if TYPE_CHECKING:
    from meddl.models import ModelBundle

Range = tuple[float, float]

_MODALITIES = {
    "ct": "CT", "mr": "MR", "mri": "MR", "pet": "PT", "pt": "PT", "us": "US", "ultrasound": "US", "nm": "NM",
    "spect": "NM", "mg": "MG", "mammogram": "MG", "mammography": "MG", "xr": "XR", "cr": "XR", "dx": "XR", "dr": "XR",
    "rf": "XR", "xa": "XA", "radiograph": "XR", "radiography": "XR", "ray": "XR", "xray": "XR", "es": "ES",
    "endoscopy": "ES", "sm": "SM", "op": "OP", "opt": "OPT", "oct": "OPT",
}  # fmt: skip
"""Words to DICOM's modalities, but that all ways to make a plain radiograph are one."""


@dataclass(frozen=True)
class Expectations:
    """What images are expected to be; None and empty where the bundle does not tell.

    Attributes:
        modalities: the possible ones for each input image, see :func:`modalities_in`.
        spacing: allowed distance of voxels for each of the patient's axes.
        field_of_view: allowed size of the image for each of the patient's axes.
        percentiles: allowed value of percentiles (0..100) of the voxels.
        empty_fraction: allowed part (0 to 1) of the voxels that have the image's least value.
        value_window: the values that the preprocessing maps to the network's range, if they are fixed ones.
        hounsfield: the voxels are expected in Hounsfield units.
        spatial_dims: 2 or 3; of the network.
        window_mm: what the network looks at in one go.
    """

    modalities: tuple[frozenset[str], ...] = ()
    spacing: tuple[Range, ...] = ()
    field_of_view: tuple[Range, ...] = ()
    percentiles: Mapping[float, Range] | None = None
    empty_fraction: Range | None = None
    value_window: Range | None = None
    hounsfield: bool = False
    spatial_dims: int = 3
    window_mm: tuple[float, ...] = ()

    @property
    def tells_anything(self) -> bool:
        """Whether there is anything to compare an image with."""
        return any(self.modalities) or bool(
            self.spacing or self.field_of_view or self.percentiles or self.empty_fraction or self.value_window
        )


def expectations_of(bundle: ModelBundle) -> Expectations:
    """Return what a bundle expects. What cannot be understood counts as not told."""
    metadata = bundle.metadata
    image = image_format(metadata, "inputs")
    own = own_part(metadata, "expected")
    modalities = tuple(modalities_in(channel.modality) for channel in bundle.channels)
    if named := own.get("modality"):
        wanted = modalities_in(" ".join(map(str, named)) if isinstance(named, list) else str(named))
        modalities = tuple(each | wanted for each in modalities) or (wanted,)
    shape = image.get("spatial_shape")
    shape = shape if isinstance(shape, list) else []
    steps = _preprocessing(bundle)
    spacing = _network_spacing(steps)
    window: tuple[float, ...] = ()
    if len(shape) == 3 and len(spacing) == 3 and all(type(size) is int for size in shape):
        window = tuple(size * edge for size, edge in zip(shape, spacing, strict=True))
    return Expectations(
        modalities=modalities,
        spacing=_ranges(own.get("spacing_mm")),
        field_of_view=_ranges(own.get("field_of_view_mm")),
        percentiles=_percentiles(own.get("intensity")),
        empty_fraction=_range(own.get("empty_fraction")),
        value_window=_value_window(steps),
        hounsfield=str(image.get("format")) == "hounsfield" and set().union(*modalities) <= {"CT"},
        spatial_dims=2 if len(shape) == 2 else 3,
        window_mm=window,
    )


def modalities_in(text: str) -> frozenset[str]:
    """Return the modalities that a text names; none for words such as "none", "regular" or "OT".

    Example:
        >>> sorted(modalities_in("T1-weighted MRI")), sorted(modalities_in("CT/MR")), sorted(modalities_in("regular"))
        (['MR'], ['CT', 'MR'], [])
    """
    words = re.findall(r"[a-z]+", text.lower())
    return frozenset(_MODALITIES[word] for word in words if word in _MODALITIES)


def _preprocessing(bundle: ModelBundle) -> list[Mapping[str, Any]]:
    try:
        config = bundle.config()
    except ModelError:
        return []
    part = config.get("preprocessing")
    steps = part.get("transforms") if isinstance(part, dict) else part
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _kind(step: Mapping[str, Any]) -> str:
    return str(step.get("_target_", "")).rpartition(".")[2].removesuffix("Dict").removesuffix("d")


def _value_window(steps: list[Mapping[str, Any]]) -> Range | None:
    """Return the values that the first step on intensities maps to a range, if they are numbers in the config."""
    for step in steps:
        name = _kind(step)
        if name == "ScaleIntensityRange":
            return _range([step.get("a_min"), step.get("a_max")])
        if "Intensity" in name or name in ("Lambda", "HistogramNormalize"):
            return None
    return None


def _network_spacing(steps: list[Mapping[str, Any]]) -> tuple[float, ...]:
    """Return the voxel size the image is resampled to, if it is told for the patient's axes; else nothing."""
    ordered = False
    for step in steps:
        if _kind(step) == "Orientation":
            ordered = str(step.get("axcodes")).upper() in ("RAS", "LPS", "LAS", "RPS")
        if _kind(step) == "Spacing" and "_disabled_" not in step:
            edges = step.get("pixdim")
            if ordered and isinstance(edges, list) and len(edges) == 3 and all(_is_number(edge) for edge in edges):
                return tuple(float(edge) for edge in edges)
            return ()
    return ()


def _ranges(value: object) -> tuple[Range, ...]:
    """Understand ``{"min": [3 numbers], "max": [3 numbers]}``."""
    low, high = as_mapping(value).get("min"), as_mapping(value).get("max")
    if not isinstance(low, list) or not isinstance(high, list) or len(low) != 3 or len(high) != 3:
        return ()
    ranges = [_range(list(pair)) for pair in zip(low, high, strict=True)]
    return tuple(each for each in ranges if each) if all(ranges) else ()


def _percentiles(value: object) -> dict[float, Range] | None:
    """Understand ``{"p1": [low, high], "p99.5": [low, high]}``."""
    found = {}
    for key, pair in as_mapping(value).items():
        match = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?|100)", str(key))
        wanted = _range(pair)
        if match and wanted:
            found[float(match[1])] = wanted
    return found or None


def _range(value: object) -> Range | None:
    if isinstance(value, list) and len(value) == 2 and all(_is_number(each) for each in value) and value[0] <= value[1]:
        return float(value[0]), float(value[1])
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
