"""For all tests: models and consents go into the cache of the test data, never into the user's own.

Files whose tests take longest come first: with several processes, none is left alone with a long one at the end.
"""

from __future__ import annotations

import os

import pytest
import realdata

os.environ["MEDDL_CACHE"] = str(realdata.cache() / "meddl")

LONGEST = (
    "test_self_tests.py",
    "test_inference_brain.py",
    "test_models_hostile.py",
    "test_demo_run.py",
    "test_batch_spread.py",
    "test_datasets_writer.py",
    "test_datasets_deface.py",
    "test_demo_models.py",
    "test_synthesis_training.py",
    "test_saliency_planted.py",
    "test_saliency_methods.py",
    "test_saliency_report.py",
    "test_augmentation_datasets.py",
    "test_batch.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
