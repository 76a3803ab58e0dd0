"""A real MRML scene of slicer-core for each test: nodes, logics and ``slicer.util`` of Slicer, without its windows."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk

#: A rotated, sheared, anisotropic and mirrored frame: every convention that can be confused shows in it.
SHEARED = np.array(
    [
        [-0.9, 0.25, 0.1, 31.0],
        [0.2, 1.4, -0.35, -12.5],
        [0.05, 0.3, 2.5, 7.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty scene, with the module logics that ``slicer.util`` asks for."""
    scene = slicer.vtkMRMLScene()
    # A scene bundle (.mrb) is unpacked in the cache folder of the data manager, which the application sets up.
    cache = slicer.vtkCacheManager()
    cache.SetMRMLScene(scene)
    cache.SetRemoteCacheDirectory(str(tmp_path_factory.mktemp("cache")))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    modules = types.SimpleNamespace()
    for name, kind in (
        ("volumes", slicer.vtkSlicerVolumesLogic),
        ("segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("terminologies", slicer.vtkSlicerTerminologiesModuleLogic),
        ("colors", slicer.vtkSlicerColorLogic),
        ("markups", slicer.vtkSlicerMarkupsLogic),
        ("sequences", slicer.vtkSlicerSequencesLogic),
    ):
        logic = kind()
        logic.SetMRMLScene(scene)
        setattr(modules, name, types.SimpleNamespace(logic=lambda logic=logic: logic))
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    yield scene
    scene.Clear(True)


@pytest.fixture
def make_volume(scene: Any) -> Any:
    """Return a factory of scalar volume nodes: ``make_volume(array (I, J, K), affine, name)``."""

    def make(array: np.ndarray, affine: np.ndarray | None = None, name: str = "T1") -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.eye(4) if affine is None else affine))
        return node

    return make


@pytest.fixture
def make_transform(scene: Any) -> Any:
    """Return a factory of transform nodes: ``make_transform(matrix, parent=None)`` or a bent one: ``matrix=None``."""

    def make(matrix: np.ndarray | None, name: str = "moved", parent: Any = None) -> Any:
        if matrix is None:
            node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", name)
            grid = vtk.vtkImageData()
            grid.SetDimensions(4, 4, 4)
            grid.SetSpacing(20, 20, 20)
            grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
            grid.GetPointData().GetScalars().Fill(1.5)
            bent = slicer.vtkOrientedBSplineTransform()
            bent.SetCoefficientData(grid)
            node.SetAndObserveTransformFromParent(bent)
        else:
            node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
            node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        if parent is not None:
            node.SetAndObserveTransformNodeID(parent.GetID())
        return node

    return make


@pytest.fixture
def rotation() -> np.ndarray:
    """A rigid transform: 30 degrees about an oblique axis and a shift."""
    transform = vtk.vtkTransform()
    transform.Translate(5.0, -3.0, 11.0)
    transform.RotateWXYZ(30.0, 0.3, -0.5, 0.8)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


@pytest.fixture
def sheared() -> np.ndarray:
    return SHEARED.copy()
