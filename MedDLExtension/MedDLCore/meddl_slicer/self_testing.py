"""What the panels' self-tests have in common: how they are run, waiting for jobs, images on oblique grids."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk

_LOOK_S = 0.01
"""Time between two turns of the event loop while something is waited for."""


def run_tests(test: Any, parts: Sequence[type], impossible: str = "") -> None:
    """Run all methods ``test_...`` that these classes define, each in a folder of its own, ``test.folder``.

    The environment variable MEDDL_ONLY_TEST tells a part of the names of those to run.

    Args:
        test: a ScriptedLoadableModuleTest that has the methods.
        impossible: what cannot be done where Python packages are missing, as the beginning of a sentence; "" where
            the tests do without.
    """
    if impossible:
        from meddl_slicer import packages

        missing = ", ".join(package.requirement for package in packages.missing())
        test.assertFalse(missing, f"{impossible} in this Python: {missing} missing. Install it in MedDL Setup.")
    only = os.environ.get("MEDDL_ONLY_TEST", "")
    for name in [name for part in parts for name in vars(part)]:
        if not name.startswith("test_") or only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="MedDL-test-") as folder:
            test.folder = Path(folder)
            test.setUp()
            logging.info(f"{type(test).__name__}.{name}")
            try:
                getattr(test, name)()
            finally:
                test.tearDown()
                test.doCleanups()
    test.delayDisplay("All tests passed")


def close(widget: Any) -> None:
    """Take down a module's widget that a test has made."""
    # It would be cleaned up again when Slicer exits, after it is gone.
    slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded)
    widget.cleanup()
    widget.parent.setMRMLScene(None)
    widget.parent.deleteLater()


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> float:
    """Process events until ``condition()``; return the longest time between two turns of the event loop, in seconds.

    Raises:
        AssertionError: it took longer than ``seconds``.
    """
    end, last, gap = time.monotonic() + seconds, time.monotonic(), 0.0
    while not condition():
        slicer.app.processEvents()
        now = time.monotonic()
        gap, last = max(gap, now - last), now
        assert now < end, f"This took longer than {seconds} s"
        time.sleep(_LOOK_S)
    return gap


def add_oblique_volume(array: Any, name: str, shift_mm: float = 0.0) -> Any:
    """Return a volume node of a (K, J, I) array: turned by 20 degrees, voxels of 1.5 x 1.5 x 2 mm.

    Args:
        shift_mm: how far it lies from where it would lie, to the front.
    """
    node = slicer.util.addVolumeFromArray(array, name=name)
    turned = vtk.vtkTransform()
    turned.Translate(-30.0, 10.0 + shift_mm, 5.0)
    turned.RotateX(20.0)
    turned.Scale(-1.5, -1.5, 2.0)
    node.SetIJKToRASMatrix(turned.GetMatrix())
    node.CreateDefaultDisplayNodes()
    return node


def add_segmentation(volume: Any, masks: Mapping[str, Any], name: str, shown: bool = True) -> Any:
    """Return a segmentation node of (K, J, I) masks by name, on the grid of a volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if shown:
        node.CreateDefaultDisplayNodes()
    for title, mask in masks.items():
        identifier = node.GetSegmentation().AddEmptySegment(title, title)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype("uint8"), node, identifier, volume)
    return node
