"""Reading a two-dimensional picture (PNG, JPEG, TIFF) as a volume one voxel thick."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .data import Volume
from .payload import told_plainly

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

MAX_PIXELS = 100_000_000
"""Four times the largest mammogram: what is larger is a slide to be read in tiles, or a file made to fill memory."""

_DEFLATE_RATIO = 1032
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {  # of EXIF's numbers: flip the stored columns, flip the stored rows, then swap the two
    2: (True, False, False), 3: (True, True, False), 4: (False, True, False), 5: (False, False, True),
    6: (False, True, True), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip
_PLAIN = {"L", "RGB", "I;16", "I;16L", "I;16B", "I", "F"}
_EXPANDED = {"1": "L", "LA": "LA", "La": "LA", "YCbCr": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}


def read_picture_file(path: Path) -> Volume:
    """Return a picture as ``(C, I, J, 1)``: gray has one channel, color three (red, green, blue).

    I runs to the right and J downwards. The pixels lie where Slicer puts them when it reads the file: the first one
    at the origin, I to the patient's left, J to the back, 1 mm apart (``meta["spacing"]`` is "unknown": dots per inch
    are about paper). A photo that EXIF says is turned is read upright, its pixels still at those places.

    Values are those stored, 16 bits included; a palette is expanded; transparency is left out (``meta["alpha"]`` says
    so).

    Raises:
        VolumeError: the file is damaged, has several pages, is too large, or its colors are those of a printer.
    """
    from PIL import Image, UnidentifiedImageError

    name = path.name
    with told_plainly(name, "a picture"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on sizes that are checked here
        try:
            image = Image.open(path, formats=("PNG", "JPEG", "TIFF"))
        except Image.DecompressionBombError as error:
            raise _too_large(name, "") from error
        except UnidentifiedImageError as error:
            raise VolumeError(f"{name} is damaged or no PNG, JPEG or TIFF picture. Export or copy it again.") from error
        with image:
            _check(image, path)
            meta = {"format": str(image.format).lower().replace("mpo", "jpeg"), "spacing": "unknown"}
            pixels = _pixels(image, path)
            turn = image.getexif().get(_EXIF_ORIENTATION, 1)
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
        meta["alpha"] = "left out"
    if pixels.shape[2] == 3:
        meta["color"] = "RGB"
    array = pixels.transpose(2, 1, 0)[:, :, :, np.newaxis]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    if turn in _UPRIGHT:
        array, affine = _turned(array, affine, *_UPRIGHT[turn])
        meta["turned"] = "upright, as EXIF says"
    return Volume(array, affine, meta=meta)


def _check(image: Any, path: Path) -> None:
    """Refuse what cannot be read before its pixels are."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path.name, f" ({width} x {height} pixels)")
    need = width * height * len(image.getbands())
    if image.format == "PNG" and image.mode != "1" and need // 8 > path.stat().st_size * _DEFLATE_RATIO:
        raise VolumeError(f"{path.name} is truncated, or its header announces more pixels than it can hold.")
    # Not their number: Pillow counts a TIFF's pages in a time that grows with the square of it.
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's photo with a preview beside it
        raise VolumeError(f"{path.name} has several pages, where one picture is needed. Save each to its own file.")
    if image.mode not in _PLAIN and image.mode not in _EXPANDED and image.mode != "P":
        raise VolumeError(
            f"{path.name} keeps its colors in a way made for printing ({image.mode}). Save it in gray or RGB."
        )


def _pixels(image: Any, path: Path) -> np.ndarray:
    """Return the pixels as (rows, columns, channels) in native byte order."""
    if _deep_color(image):
        return _by_itk(path)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in _EXPANDED:
        image = image.convert(_EXPANDED[image.mode])
    pixels = np.array(image)
    if image.mode == "I" and image.format == "PNG" and pixels.min() >= 0 and pixels.max() < 2**16:
        pixels = pixels.astype(np.uint16)  # older Pillow
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _deep_color(image: Any) -> bool:
    """Say whether the file has color of more than 8 bits a channel, which Pillow would cut down without a word."""
    if image.mode not in ("RGB", "RGBA", "RGBX", "LA"):
        return False
    if image.format == "PNG":
        return any("16" in str(tile[3]) for tile in image.tile)  # the last entry names how the pixels lie in the file
    bits = image.tag_v2.get(258, (8,)) if image.format == "TIFF" else (8,)
    return max(bits) > 8


def _by_itk(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings print the path, which may name the patient
    try:
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 2:
        return pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise VolumeError(f"{path.name} is no single picture in gray or color. Save it again as PNG.")
    return pixels


def _turned(
    array: np.ndarray, affine: np.ndarray, flip_columns: bool, flip_rows: bool, swap: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same pixels at the same places in another order of columns (axis 1) and rows (axis 2)."""
    index = np.eye(4)
    for axis, flip in enumerate((flip_columns, flip_rows)):
        if flip:
            array = np.flip(array, axis + 1)
            index[axis, axis], index[axis, 3] = -1, array.shape[axis + 1] - 1
    if swap:
        array = array.swapaxes(1, 2)
        index = index @ np.eye(4)[[1, 0, 2, 3]]
    return np.ascontiguousarray(array), affine @ index


def _too_large(name: str, size: str) -> VolumeError:
    return VolumeError(
        f"{name} is too large{size} for a radiograph or photo. Cut it into tiles of at most "
        f"{MAX_PIXELS // 10**6} million pixels."
    )
