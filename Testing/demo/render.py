"""Pictures of a MRML scene without a window: Slicer's own slice and 3D views, drawn offscreen.

The views are built of the same parts as Slicer's (slice logic, displayable managers), so that what they show is the
scene: the volume with its window/level, the segmentation with its display properties, at the places MRML says.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
    # Says at once what VTK would find out itself after complaining about the missing X server.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


@dataclass(frozen=True)
class SlicePicture:
    """A slice view as it looks, and where it lies: what labels and scale bars are drawn from.

    image: (height, width, 3) uint8, top row first.
    right, up, normal: unit vectors (RAS) along the picture's axes and across the slice.
    center: the picture's middle in RAS mm; mm_per_pixel: size of one pixel.
    """

    image: np.ndarray
    right: np.ndarray
    up: np.ndarray
    normal: np.ndarray
    center: np.ndarray
    mm_per_pixel: float


class _View:
    """A render window without a screen, with a group of displayable managers that fill it from the scene."""

    def __init__(
        self, scene: slicer.vtkMRMLScene, factory_class: type, managers: tuple[str, ...], size: tuple[int, int]
    ) -> None:
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        self.application_logic.SetMRMLScene(scene)
        if hasattr(getattr(slicer, "modules", None), "markups"):  # by which the manager of markups finds its widgets
            self.application_logic.SetModuleLogic("Markups", slicer.modules.markups.logic())
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        factory = factory_class.GetInstance()
        factory.SetMRMLApplicationLogic(self.application_logic)
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(factory, self.renderer)

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8, top row first."""
        self.window.Render()
        reader = vtk.vtkWindowToImageFilter()
        reader.SetInput(self.window)
        reader.ReadFrontBufferOff()
        reader.Update()
        image = reader.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def close(self) -> None:
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceView(_View):
    """One of Slicer's slice views; `name` as there: Red is axial, Yellow sagittal, Green coronal."""

    def __init__(self, scene: slicer.vtkMRMLScene, name: str, orientation: str, size: tuple[int, int]):
        super().__init__(scene, slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS, size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = scene.GetSingletonNode(name, "vtkMRMLSliceNode") or self.logic.AddSliceNode(name)
        self.logic.SetSliceNode(self.node)
        self.node.SetOrientation(orientation)
        self.group.SetMRMLDisplayableNode(self.node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        # In a layer of its own below everything else: a translucent overlay drawn first would hide the slice.
        background = vtk.vtkRenderer()
        background.AddViewProp(actor)
        self.window.SetNumberOfLayers(max(2, self.window.GetNumberOfLayers()))  # legends have one of their own
        self.renderer.SetLayer(1)
        self.window.AddRenderer(background)

    def show(self, volume: slicer.vtkMRMLVolumeNode, position: np.ndarray, field_of_view: float) -> SlicePicture:
        """The slice through `position` (RAS mm), with `field_of_view` mm across the shorter side around it."""
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume.GetID())
        if self.node.GetScene().GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode") is not None:
            # Their manager looks for the view's layers when the view is set, and finds them the second time only.
            self.group.SetMRMLDisplayableNode(None)
            self.group.SetMRMLDisplayableNode(self.node)
        width, height = self.window.GetSize()
        self.logic.ResizeSliceNode(width, height)
        mm_per_pixel = field_of_view / min(width, height)
        self.node.SetFieldOfView(width * mm_per_pixel, height * mm_per_pixel, mm_per_pixel)
        self.node.JumpSliceByCentering(*position)
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        place = slicer.util.arrayFromVTKMatrix(self.node.GetSliceToRAS())
        right, up, normal, center = place[:3].T
        return SlicePicture(self.picture(), right, up, normal, center, mm_per_pixel)


class ThreeDView(_View):
    """Slicer's 3D view."""

    def __init__(self, scene: slicer.vtkMRMLScene, name: str, size: tuple[int, int]):
        super().__init__(scene, slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS, size)
        self.window.SetMultiSamples(8)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = scene.GetSingletonNode(name, "vtkMRMLViewNode") or self.logic.AddViewNode(name)
        self._before = slicer.vtkMRMLViewNode()
        self._before.Copy(self.node)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.group.SetMRMLDisplayableNode(self.node)
        # Darkens folds and corners, as the "shadows" switch of Slicer's 3D view does.
        occlusion = vtk.vtkSSAOPass()
        occlusion.SetDelegatePass(vtk.vtkRenderStepsPass())
        occlusion.SetRadius(12.0)
        occlusion.SetBias(0.5)
        occlusion.SetKernelSize(64)
        occlusion.BlurOn()
        self.renderer.SetPass(occlusion)

    def show(
        self, center: np.ndarray, direction: np.ndarray, extent: float, color: tuple[float, float, float]
    ) -> np.ndarray:
        """The scene around `center` (RAS mm), `extent` mm high, seen from `direction` (RAS) before `color` (0..1)."""
        self.node.SetBackgroundColor(*color)
        self.node.SetBackgroundColor2(*color)
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(*center)
        distance = extent / 2 / np.tan(np.radians(camera.GetViewAngle() / 2))
        camera.SetPosition(*(center + np.asarray(direction) / np.linalg.norm(direction) * distance))
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCameraClippingRange()
        return self.picture()

    def close(self) -> None:
        super().close()
        self.node.SetBoxVisible(self._before.GetBoxVisible())
        self.node.SetAxisLabelsVisible(self._before.GetAxisLabelsVisible())
        self.node.SetBackgroundColor(self._before.GetBackgroundColor())
        self.node.SetBackgroundColor2(self._before.GetBackgroundColor2())
