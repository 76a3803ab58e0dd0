"""All attacks: importing a part registers its own."""

from __future__ import annotations

from core import (  # noqa: F401
    hostile_archives,
    hostile_code,
    hostile_configs,
    hostile_expressions,
    hostile_sizes,
    hostile_weights,
)
from core.hostile_bundles import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack"]
