"""Files compressed on several cores, read by Slicer itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from meddl.volume import Volume, deflate, write_volume
from vtk.util.numpy_support import vtk_to_numpy


@pytest.mark.parametrize("name", ["image.nrrd", "image.nii.gz", "image.mha"])
def test_slicer_reads_files_of_many_blocks(
    name: str, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflate, "BLOCK", 4096)
    monkeypatch.setattr(deflate, "_threads", lambda: 4)
    voxels = np.cumsum(np.random.default_rng(0).integers(-3, 4, (1, 40, 31, 27)), axis=1).astype(np.int16)
    write_volume(Volume(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / name)
    storage, node = slicer.vtkMRMLVolumeArchetypeStorageNode(), slicer.vtkMRMLScalarVolumeNode()
    for each in (storage, node):
        scene.AddNode(each)
    storage.SetFileName(str(tmp_path / name))

    assert storage.ReadData(node) == 1

    image = node.GetImageData()
    read = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).T
    np.testing.assert_array_equal(read, voxels[0])
