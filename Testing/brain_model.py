"""The brain extraction model, added from the catalog once for all tests."""

from __future__ import annotations

import functools

import realdata
from meddl.models import Catalog, ModelBundle


@functools.cache
def installed() -> ModelBundle:
    """Return the installed model; adds it (from the test data's cache where the wheel is there already) if needed."""
    return Catalog.default().add("brain_extraction", packages=realdata.cache())
