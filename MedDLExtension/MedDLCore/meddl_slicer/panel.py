"""What every panel does with the scene: its choices are observed while it is shown, and let go of in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin


class PanelScene(VTKObservationMixin):
    """Follows the scene and the panel's parameter node in it.

    While a scene is read, the node is let go of: selectors do not know the new nodes yet, and would empty what is read.

    Example::

        self.scene = PanelScene(self, self.logic.getParameterNode, self.ui, self)
        self.scene.start()

    Args:
        widget: the panel; it is asked whether the user is in it.
        getParameters: returns the scene's parameter node, wrapped.
        ui: the widgets that are connected to it.
        follower: has ``onParameters(parameters)``, called with another node, or with None as there is none;
            ``onParametersChanged()``; ``onSceneReady()``, called after ``onParameters`` where choices can be made for
            the user, and when an image was loaded while the panel is shown; ``onSceneClosing()``;
            ``onNodeLeaving(node)``, not called while the scene is closed.
    """

    def __init__(self, widget: Any, getParameters: Callable[[], Any], ui: Any, follower: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._widget, self._getParameters, self._ui, self._follower = widget, getParameters, ui, follower
        self.parameters: Any = None
        self._guiTag: Any = None
        self._soon: Any = None

    @property
    def isShown(self) -> bool:
        """Whether the user is in the panel."""
        # Outside of Slicer's module panel (in a test) there is no such property.
        return bool(getattr(self._widget.parent, "isEntered", True))

    def start(self) -> None:
        """Begin to follow; to be called at the end of the panel's ``setup``."""
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onReady)
        self.addObserver(scene, scene.StartImportEvent, self._onStartImport)
        # After the selectors, which learn only then which nodes have come.
        self.addObserver(scene, scene.EndImportEvent, self._onReady, priority=-1.0)
        self.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeLeaving)
        self.follow()

    def follow(self) -> None:
        """Observe the scene's parameter node; to be called when the user comes into the panel, too."""
        self._set(self._getParameters())
        self._follower.onSceneReady()

    def pause(self) -> None:
        """Observe nothing, and keep showing what was; to be called when the user leaves the panel."""
        if self._guiTag is not None:
            self.parameters.disconnectGui(self._guiTag)
            self._guiTag = None
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._onChanged)

    def stop(self) -> None:
        """Let go of the scene for good."""
        if self._soon is not None:
            self._soon.stop()
        self._set(None)
        self.removeObservers()

    def _set(self, parameters: Any) -> None:
        self.pause()
        self.parameters = parameters
        self._follower.onParameters(parameters)
        if parameters is not None:
            self._guiTag = parameters.connectGui(self._ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._onChanged)
        self._follower.onParametersChanged()

    def _onChanged(self, _caller: Any, _event: str) -> None:
        self._follower.onParametersChanged()

    def _onStartClose(self, _caller: Any, _event: str) -> None:
        self._follower.onSceneClosing()
        self._set(None)

    def _onStartImport(self, _caller: Any, _event: str) -> None:
        self.pause()

    def _onReady(self, _caller: Any, _event: str) -> None:
        if self.isShown:
            self.follow()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeLeaving(self, _caller: Any, _event: str, node: Any) -> None:
        if not slicer.mrmlScene.IsClosing():
            self._follower.onNodeLeaving(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _caller: Any, _event: str, node: Any) -> None:
        if node.IsA("vtkMRMLVolumeNode") and not slicer.mrmlScene.IsImporting():
            self._timer().start()  # it gets its voxels only after it has come

    def _timer(self) -> Any:
        if self._soon is None:
            import qt

            self._soon = qt.QTimer()
            self._soon.setSingleShot(True)
            self._soon.setInterval(0)
            self._soon.connect("timeout()", self._onImageThere)
        return self._soon

    def _onImageThere(self) -> None:
        if self.parameters is not None and self.isShown:
            self._follower.onSceneReady()
