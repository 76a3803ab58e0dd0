"""From segmented cases to a dataset that trains: collecting, checking, splitting, de-identifying, writing.

Importing this package needs numpy only.
"""

from __future__ import annotations
