"""Made-up UIDs: the same for the same UID within a dataset, and nobody without the secret can tell whose they are."""

from __future__ import annotations

from uuid import UUID

from .key_file import derived

_OF_THE_STANDARD = "1.2.840.10008."
_CODING_SCHEMES = ("2.16.840.1.113883.6.", "2.16.840.1.113883.3.26.1.")  # LOINC, SNOMED, UMLS, RadLex, ...; NCI


def new_uid(secret: bytes, uid: str) -> str:
    """Return the UID (of a UUID, below 2.25) that stands for ``uid``."""
    return f"2.25.{UUID(bytes=derived(secret, 'uid', uid)[:16], version=4).int}"


def is_public(uid: str) -> bool:
    """Say whether a UID names something that everybody shares: a kind of file, a coding, a coding scheme."""
    return set(uid) <= set("0123456789.") and uid.startswith((_OF_THE_STANDARD, *_CODING_SCHEMES))
