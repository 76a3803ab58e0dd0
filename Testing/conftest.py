"""For all tests: models and consents go into the cache of the test data, never into the user's own."""

from __future__ import annotations

import os

import realdata

os.environ["MEDDL_CACHE"] = str(realdata.cache() / "meddl")
