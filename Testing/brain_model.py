"""The brain extraction model, added from the catalog once for all tests."""

from __future__ import annotations

import functools

import realdata
from meddl.models import Catalog, ModelBundle


@functools.cache
def installed() -> ModelBundle:
    """Return the installed model; adds it if needed, from the test data's copy of the package."""
    return Catalog.default().add("brain_extraction", place=realdata.wheel("deepbet==1.0.2"))
