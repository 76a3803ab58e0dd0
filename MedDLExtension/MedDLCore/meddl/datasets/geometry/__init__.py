"""The geometry of an export: which grid a case is brought to, and how images and labels get there."""

from __future__ import annotations
