"""Volume nodes of a MRML scene as core :class:`~meddl.volume.Volume` values, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import study

if TYPE_CHECKING:
    from meddl.volume import Volume

_VECTOR_CLASS = "vtkMRMLVectorVolumeNode"
_NODE_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", _VECTOR_CLASS)


def volume_from_node(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return the voxels of ``node`` with their place in the patient.

    The array, ``(C, I, J, K)``, is a view of the node's own memory: copy it before changing anything. Linear parent
    transforms are composed into the affine, so that it maps a voxel index to *world* RAS millimeters.

    Raises:
        VolumeError: there are no voxels, the node is of a kind that holds no plain image, or a parent transform is
            not linear.
    """
    from meddl.volume import Volume

    array = _channel_first(_stored_array(node))
    return Volume(array, affine_to_world(node), name=node.GetName() or "", meta=study.image_facts(node))


def affine_to_world(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the (4, 4) matrix from voxel index (I, J, K) to world RAS millimeters, parent transforms included.

    Raises:
        VolumeError: a parent transform is not linear; the message names it and says to harden it.
    """
    return parent_to_world(node) @ affine_to_parent(node)


def affine_to_parent(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the (4, 4) matrix from voxel index to the node's own frame, that is without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def parent_to_world(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """Return the (4, 4) matrix of all parent transforms of ``node``; the identity when it has none.

    Raises:
        VolumeError: one of the parent transforms is not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        warped = _first_nonlinear(transform)
        raise VolumeError(
            f'"{node.GetName()}" is bent by the nonlinear transform "{warped.GetName()}", so that its voxels form no '
            "regular grid. Harden the transform on the volume (Data module: right-click on the transform, Harden "
            "transform) and run again."
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def add_volume_node(
    volume: Volume,
    name: str = "",
    like: slicer.vtkMRMLVolumeNode | None = None,
    take_over: bool = False,
    window: tuple[float, float] | None = None,
) -> slicer.vtkMRMLVolumeNode:
    """Add ``volume`` to the scene as a new node: a scalar volume, or a vector volume when it has several channels.

    Args:
        volume: the voxels and their place in the world.
        name: name of the node; ``volume.name`` when empty.
        like: a node that the new one belongs to. It comes to lie under the same parent transform and in the same
            study folder.
        take_over: as for :func:`fill_image`.
        window: the gray values that are black and white; found by Slicer in all of the voxels when ``None``.
    """
    node_class = "vtkMRMLScalarVolumeNode" if volume.channels == 1 else _VECTOR_CLASS
    if like is not None:
        parent_to_world(like)  # a bent reference is refused before anything is added
    node = slicer.mrmlScene.AddNewNodeByClass(
        node_class, slicer.mrmlScene.GenerateUniqueName(name or volume.name or "Volume")
    )
    if like is not None:
        node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    if window is not None and volume.channels == 1:
        # Before there are voxels: else Slicer makes a histogram of them first.
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(*window)
    update_node_from_volume(node, volume, take_over)
    node.CreateDefaultDisplayNodes()
    if like is not None:
        study.place_beside(node, like)
    return node


def update_node_from_volume(
    node: slicer.vtkMRMLVolumeNode, volume: Volume, take_over: bool = False, parent: np.ndarray | None = None
) -> None:
    """Write the voxels and the place of ``volume`` into ``node``, which keeps its parent transform.

    Args:
        take_over: as for :func:`fill_image`.
        parent: the (4, 4) matrix of the parent transforms that it will lie under, for a node outside of the scene.

    Raises:
        VolumeError: the node cannot hold that many channels, or lies under a nonlinear transform.
    """
    if (node.GetClassName() == _VECTOR_CLASS) != (volume.channels > 1):
        raise VolumeError(
            f'"{node.GetName()}" cannot hold an image of {volume.channels} channels: choose another output volume.'
        )
    to_parent = np.linalg.inv(parent_to_world(node) if parent is None else parent) @ volume.affine
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(to_parent))
    image = vtk.vtkImageData()
    fill_image(image, volume.array, take_over)
    node.SetAndObserveImageData(image)


def fill_image(image: vtk.vtkImageData, array: np.ndarray, take_over: bool = False) -> None:
    """Put ``array``, ``(C, I, J, K)``, into ``image``: copied once into memory that it owns.

    Args:
        take_over: nobody else will change ``array``, so that its memory can be used as it is where it lies as VTK
            wants it. It lives as long as the image does.
    """
    from vtk.util import numpy_support

    array = _storable(array)
    channels, *shape = array.shape
    image.SetDimensions(*shape)
    if take_over and channels == 1 and array[0].flags.f_contiguous and array.flags.writeable:
        image.GetPointData().SetScalars(_taken_over(array[0].ravel(order="F")))
        return
    image.AllocateScalars(numpy_support.get_vtk_array_type(array.dtype), channels)
    target = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    target = target.reshape((*reversed(shape), channels))
    source = array.transpose(3, 2, 1, 0)
    # Plane by plane, a copy that turns the axes around keeps to the processor's cache: 4 times faster than at once.
    for j in range(shape[1]):
        target[:, j] = source[:, j]


def _taken_over(array: np.ndarray) -> vtk.vtkDataArray:
    """Return a VTK array over the memory of a flat ``array``, which lives as long as it does."""
    from vtk.util import numpy_support

    taken = numpy_support.numpy_to_vtk(array, deep=False)
    # What VTK's wrapper holds on to is let go only when the next such array comes; an observer goes at once.
    taken.AddObserver("DeleteEvent", lambda _caller, _event, _memory=array: None)
    del taken._numpy_reference
    return taken


def _stored_array(node: slicer.vtkMRMLVolumeNode | None) -> np.ndarray:
    """Return Slicer's own array: ``(K, J, I)``, or ``(K, J, I, C)`` of a vector volume."""
    if node is None:
        raise VolumeError("No volume is selected. Choose an input volume.")
    if node.GetClassName() not in _NODE_CLASSES:
        raise VolumeError(
            f'"{node.GetName()}" is of type {node.GetNodeTagName()}, which holds no plain image. '
            "Choose a scalar volume."
        )
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise VolumeError(f'"{node.GetName()}" holds no voxels. Load its image again or choose another volume.')
    return slicer.util.arrayFromVolume(node)


def _channel_first(array: np.ndarray) -> np.ndarray:
    """View ``(K, J, I)`` as ``(1, I, J, K)`` and ``(K, J, I, C)`` as ``(C, I, J, K)``."""
    return array.transpose(2, 1, 0)[np.newaxis] if array.ndim == 3 else array.transpose(3, 2, 1, 0)


def _storable(array: np.ndarray) -> np.ndarray:
    """Return ``array`` in a type that Slicer displays: it knows no bool, no half floats and no 64-bit integers."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype in (np.int64, np.uint64):
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        info = np.iinfo(np.int32)
        return array.astype(np.int32 if info.min <= low and high <= info.max else np.float64)
    return array


def _first_nonlinear(transform: slicer.vtkMRMLTransformNode) -> slicer.vtkMRMLTransformNode:
    while transform.IsLinear() and transform.GetParentTransformNode() is not None:
        transform = transform.GetParentTransformNode()
    return transform
