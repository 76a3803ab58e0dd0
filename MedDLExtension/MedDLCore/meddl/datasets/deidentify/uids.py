"""Made-up UIDs: the same for the same UID within a dataset, and nobody without the secret can tell whose they are."""

from __future__ import annotations

import re
from uuid import UUID

from .key_file import derived

_CODING_SCHEME = re.compile(r"2\.16\.840\.1\.113883\.(?:6(?:\.\d{1,4}){1,2}|3\.26\.1(?:\.\d{1,2}){1,2})")
"""HL7's: LOINC, SNOMED, UMLS, RadLex, ...; NCI."""


def new_uid(secret: bytes, uid: str) -> str:
    """Return the UID (of a UUID, below 2.25) that stands for ``uid``."""
    return f"2.25.{UUID(bytes=derived(secret, 'uid', uid)[:16], version=4).int}"


def is_public(uid: str) -> bool:
    """Say whether a UID names something that everybody shares: a kind of file, a coding, a coding scheme."""
    from pydicom.uid import UID_dictionary

    # Below the standard's root everything that is not in the standard is somebody's own.
    return uid in UID_dictionary or bool(_CODING_SCHEME.fullmatch(uid))
