"""Why did the model say so: maps of attribution on the input's grid, with figures of how far to believe them.

Importing this package needs numpy only.
"""

from __future__ import annotations
