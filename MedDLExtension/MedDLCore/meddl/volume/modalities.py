"""The kinds of equipment that DICOM knows."""

from __future__ import annotations

import re

_LONGER = (
    "ASMT BDUS BMD CFM CTPROTOCOL DMS DOC ECG EEG EMG EOG EPS FID IOL IVOCT IVUS KER LEN M3D OAM OCT OPM OPR OPT",
    "OPTBSV OPTENF OPV OSS PLAN POS REG RESP RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG",
    "SMR STAIN TEXTUREMAP XAPROTOCOL",
)


def known_modality(text: str) -> str:
    """Return ``text`` if it is a modality: two letters, or one of DICOM's longer ones. Else "": it may be a name.

    Example:
        >>> known_modality("MR"), known_modality("IVUS"), known_modality("MILLER")
        ('MR', 'IVUS', '')
    """
    return text if text in " ".join(_LONGER).split() or re.fullmatch("[A-Z]{2}", text) else ""
