"""Reading an image from a file or a DICOM folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from meddl.errors import UsageError, VolumeError

from .data import Volume
from .picture_file import PICTURES

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", *PICTURES)


def read_volume(path: str | os.PathLike[str], *, series_uid: str | None = None, multichannel: bool = False) -> Volume:
    """Return the image in a file (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd, .png, .jpg, .tif, DICOM) or a DICOM folder.

    Two-dimensional images (pictures; DICOM radiographs, mammograms, ultrasound and the like) are one voxel thick.

    Voxels keep their order and the affine maps each to where the file says it is: nothing is reoriented, sheared axes
    stay sheared. Integers stay integers. Values are those stored, except where the format itself defines a slope and
    intercept (DICOM, NIfTI): those are applied and ``meta["rescaled"]`` says so.

    Args:
        path: the file or folder. One file of a DICOM series stands for the series in its folder.
        series_uid: which series, in a DICOM folder of several.
        multichannel: read the images of a 4-D nrrd or NIfTI file as channels. Vectors are channels anyway.

    Returns:
        A :class:`Volume`; its ``meta`` has "format", and for DICOM "modality". Names and other private entries of the
        header are not kept.

    Raises:
        VolumeError: the image is not there, is damaged or cannot be placed in space; the message says what and why.
        UsageError: ``series_uid`` does not fit the path.

    Example:
        >>> import numpy as np
        >>> from meddl.volume import write_volume
        >>> write_volume(Volume(np.zeros((1, 2, 3, 4), np.int16), np.diag([1, 1, 2.5, 1])), "image.nii.gz")
        >>> volume = read_volume("image.nii.gz")
        >>> volume.shape, volume.orientation, volume.array.dtype
        ((2, 3, 4), 'RAS', dtype('int16'))
    """
    path = Path(path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # a name the system cannot have, for instance with a zero byte in it
        is_folder = is_file = False
    if is_folder:
        from .dicom_series import read_dicom

        return read_dicom(path, series_uid=series_uid)
    if not is_file:
        raise VolumeError(
            f"There is no file or folder {path.name or str(path)!r} to read an image from. Check its path."
        )
    name = path.name.lower()
    try:
        if name.endswith(READABLE):
            if series_uid is not None:
                raise UsageError("A series UID was given, but the image is a single file and not DICOM. Leave it out.")
            if path.stat().st_size == 0:
                raise VolumeError(f"{path.name} is empty. Export or copy it again.")
            return _read_file(path, name, multichannel)
        from .dicom_frames import is_dicom
        from .dicom_series import read_dicom

        if is_dicom(path):
            return read_dicom(path, series_uid=series_uid)
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error
    if name.endswith((".dcm", ".ima")):
        raise VolumeError(
            f"{path.name} is damaged or not a DICOM file: DICOM's mark is missing. Export or copy it again."
        )
    raise VolumeError(
        f"{path.name} is not an image MedDL reads. It reads {', '.join(READABLE)} and DICOM; "
        "for other formats, load it in Slicer and save it as .nrrd."
    )


def read_frames(path: str | os.PathLike[str], *, series_uid: str | None = None) -> tuple[Volume, ...]:
    """Return the frames of a clip or a 4-D image, in order, each a volume of its own; of another image the only one.

    A DICOM clip (ultrasound, fluoroscopy) gives frames one voxel thick, a 4-D nrrd or NIfTI file one volume per image.

    Raises:
        VolumeError, UsageError: as :func:`read_volume`.

    Example:
        >>> import numpy as np
        >>> from meddl.volume import write_volume
        >>> write_volume(Volume(np.zeros((5, 2, 3, 4), np.int16), np.eye(4)), "beating.nrrd")
        >>> len(read_frames("beating.nrrd"))
        5
    """
    path = Path(path)
    if path.name.lower().endswith(READABLE):
        volume = read_volume(path, series_uid=series_uid, multichannel=True)
        if path.name.lower().endswith(PICTURES):
            return (volume,)  # its channels are colors
        return tuple(replace(volume, array=channel[np.newaxis]) for channel in volume.array)
    try:
        if path.is_dir() or path.is_file():
            from .dicom_frames import is_dicom
            from .dicom_series import read_dicom_frames

            if path.is_dir() or is_dicom(path):
                return read_dicom_frames(path, series_uid=series_uid)
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error
    return (read_volume(path, series_uid=series_uid),)


def _read_file(path: Path, name: str, multichannel: bool) -> Volume:
    if name.endswith((".nrrd", ".nhdr")):
        from .nrrd_file import read_nrrd

        return read_nrrd(path, multichannel=multichannel)
    if name.endswith((".nii", ".nii.gz")):
        from .nifti_file import read_nifti

        return read_nifti(path, multichannel=multichannel)
    if name.endswith(PICTURES):
        from .picture_file import read_picture_file

        return read_picture_file(path)
    from .meta_file import read_meta

    return read_meta(path)
