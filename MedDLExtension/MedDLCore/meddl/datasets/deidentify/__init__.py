"""Taking away what tells who somebody is: DICOM headers, burned-in text, faces, names in texts; and the key to it.

Importing this package needs numpy only.
"""

from __future__ import annotations

from .dicom_profile import deidentify_dataset
from .identifier_check import check_plan, find_identifiers
from .key_file import Key, KeyRow, derived, new_key, read_key, secret_of, write_key

__all__ = [
    "Key",
    "KeyRow",
    "check_plan",
    "deidentify_dataset",
    "derived",
    "find_identifiers",
    "new_key",
    "read_key",
    "secret_of",
    "write_key",
]
