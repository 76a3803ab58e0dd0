"""What MAISI's label maps mean, and what it is told beside them: the part of the body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.models import content
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import printable

BODY = 200
"""What MAISI calls all of the body that has no name of its own, where its files do not tell."""

_DUMMY = "dummy"
_MOST_BYTES = 1 << 20
_MOST_LETTERS = 200
_REGIONS = (
    ("brain", "skull"),
    ("left lung upper lobe", "left lung lower lobe", "right lung upper lobe", "right lung middle lobe",
     "right lung lower lobe"),
    ("liver", "spleen", "pancreas", "right kidney", "left kidney"),
    ("left femur", "right femur"),
)  # fmt: skip
"""What tells that a part of the body is shown: head and neck, thorax, abdomen, pelvis and legs. MAISI's own rule."""
_WRAPPING = ("rib", "skull", "hip", "gluteus", "autochthon", "scapula", "humerus", "femur")
"""What lies so near to the skin that the outline of a body can be told by it."""


@dataclass(frozen=True)
class MaisiLabels:
    """The dictionary of a bundle.

    Attributes:
        names: by value, background and body among them, its placeholders not.
        body: the value of the rest of the body.
    """

    names: Mapping[int, str]
    body: int

    def region(self, values: set[int]) -> tuple[int, int] | None:
        """Return which parts of the body, 0 (head) to 3 (legs), are the uppermost and lowest; None if nothing tells."""
        shown = [n for n, wanted in enumerate(self._regions) if values & wanted]
        return (shown[0], shown[-1]) if shown else None

    def outlines(self, values: set[int]) -> bool:
        """Say whether an outline of the body can be told by these structures."""
        return any(word in self.names[value].split() for value in values if value in self.names for word in _WRAPPING)

    def check(self, values: set[int], needs_region: bool) -> None:
        """Refuse a label map that MAISI can make nothing of.

        Args:
            values: that it has.
            needs_region: the network is told the parts of the body.

        Raises:
            UsageError: the message says what is missing.
        """
        if needs_region and self.region(values) is None:
            told = ", ".join(name for names in _REGIONS for name in names)
            raise UsageError("This model must know which part of the body it shows, and tells it by these structures: "
                             f"{told}. The label map has none of them.")  # fmt: skip
        if self.body not in values and not self.outlines(values):
            raise UsageError("This model must know where the body ends. Add a segment 'Body' that holds all of it "
                             "(a threshold above -300 HU, the largest island, its holes filled), or structures by "
                             "which the outline can be told: ribs, skull, hips, muscles of back and seat.")  # fmt: skip

    @cached_property
    def _regions(self) -> tuple[set[int], ...]:
        return tuple({value for value, name in self.names.items() if name in names} for names in _REGIONS)


def maisi_labels(bundle: ModelBundle, bits: int) -> MaisiLabels:
    """Return the dictionary of a bundle.

    Args:
        bits: that a value is told to the network in.

    Raises:
        ModelError: it is not there, or is none.
    """
    config = bundle.restricted_config()
    found = _read(bundle, config.text("label_dict_json") or "configs/label_dict.json")
    names = {0: "background"}
    for name, value in found.items():
        if type(value) is not int or not 0 < value < min(256, 1 << bits) or value in names:
            raise ModelError(f"The dictionary of '{bundle.name}' gives '{printable(name)[:40]}' a value that it cannot "
                             "have. Fetch it anew.")  # fmt: skip
        names[value] = printable(name)[:_MOST_LETTERS]
    body = next((value for value, name in names.items() if name.lower() == "body"), 0) or _remapped_body(bundle)
    names = {value: name for value, name in names.items() if not name.startswith(_DUMMY)}
    if body >= 1 << bits or names.get(body, "body").lower() != "body":
        raise ModelError(f"The dictionary of '{bundle.name}' leaves no value for the body. Fetch it anew.")
    return MaisiLabels({**names, body: "body"}, body)


def with_body(
    labels: np.ndarray, body: int, spacing: tuple[float, float, float], margin_mm: float = 15.0
) -> np.ndarray:
    """Return a label map in which all of the body has a value.

    Where there is a body, its holes become it, slice by slice: outside of it is air for MAISI. Where there is none, it
    is in each slice what lies between the structures (their convex hull) and a margin, which skin and fat may fill.

    Args:
        labels: ``(I, J, K)`` uint8, axes towards R, A, S.
        body: its value.
        spacing: in mm.
        margin_mm: of an outline that is made up.
    """
    from scipy.ndimage import binary_fill_holes

    out = labels.copy()
    given = bool((labels == body).any())
    last: np.ndarray | None = None
    used = np.flatnonzero(labels.any(axis=(0, 1)))
    for k in range(int(used[0]), int(used[-1]) + 1) if used.size else ():
        inside = labels[:, :, k] > 0
        if not given:
            # Between labeled slices the body goes on.
            inside = _outline(inside, spacing[:2], margin_mm) if inside.any() or last is None else last
            last = inside
        whole = binary_fill_holes(inside)
        out[:, :, k][whole & (labels[:, :, k] == 0)] = body
    return out


def _outline(inside: np.ndarray, spacing: tuple[float, ...], margin_mm: float) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import convex_hull_image

    hull = convex_hull_image(inside) if inside.sum() > 2 else inside
    near: np.ndarray = distance_transform_edt(~hull, sampling=spacing) <= margin_mm
    return near


def _remapped_body(bundle: ModelBundle) -> int:
    place = bundle.restricted_config().text("label_dict_remap_json")
    try:
        pair = _read(bundle, place).get("body") if place else None
    except ModelError:  # it is for making label maps, and need not be there
        pair = None
    return pair[1] if isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int and 0 < pair[1] < 256 else BODY


def _read(bundle: ModelBundle, place: str) -> dict[str, Any]:
    try:
        path = content.inside(bundle.path, place)
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"The file '{path.name}' of '{bundle.name}' is too large for a dictionary.")
        data = json.loads(path.read_text("utf-8"))
    except ModelError as error:
        raise ModelError(f"{error.message} Fetch the dictionary of '{bundle.name}' ('{Path(place).name}') as its file "
                         "'large_files.yml' says, and put it into its folder 'configs'.") from error  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"The dictionary '{Path(place).name}' of '{bundle.name}' cannot be read. Fetch it anew.",
                         details=str(error)) from error  # fmt: skip
    if not isinstance(data, dict) or not data:
        raise ModelError(f"The dictionary '{Path(place).name}' of '{bundle.name}' is none. Fetch it anew.")
    return data
