"""A Slicer session without Slicer's program: the host of `Testing/host`, an image and the panel MedDL Inference."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import host

REPOSITORY = Path(__file__).resolve().parents[2]
_MARGIN = 20


class Session:
    """The panel, ready to be used on an image.

    Attributes:
        scene, volume, widget: the MRML scene, the image's node, the panel.
        output: the result's main node, after :meth:`apply`.

    Args:
        image: a file, or a `meddl.volume.Volume`.
        model: name in the catalog, or where the model is.
        name: of the image's node.
    """

    def __init__(self, image: Any, model: str, name: str = "T1 head") -> None:
        # In testing mode nothing opens a dialog and waits for an answer that nobody here would give.
        self.slicer = host.start(testing=True)
        for module in ("MedDLCore", "MedDLInference"):
            host.load_module(REPOSITORY / "MedDLExtension" / module / f"{module}.py")
        self.scene = self.slicer.mrmlScene
        if isinstance(image, Path):
            self.volume = self.slicer.util.loadVolume(str(image), {"name": name})
        else:
            from meddl_slicer.nodes import add_volume_node

            self.volume = add_volume_node(image, name)
        self.output: Any = None
        self.widget = self.slicer.util.getModuleWidget("MedDLInference")
        self.widget.parent.show()  # as in Slicer's module panel: what is folded hides when it is first shown
        self.widget.enter()
        parameters = self.widget.logic.getParameterNode()
        parameters.inputVolume = self.volume
        parameters.model = model

    def apply(self, longest_s: float) -> None:
        """Press the panel's Apply button and process events, as a session does, until the result is there.

        Raises:
            RuntimeError: the panel did not let the run start, or the run failed.
        """
        button = self.widget.ui.applyButton
        if not button.enabled:
            raise RuntimeError(f"Apply is not enabled: {button.toolTip}")
        button.click()
        deadline = time.monotonic() + longest_s
        while self.widget.jobPanel.isRunning and time.monotonic() < deadline:
            self.slicer.app.processEvents()
            time.sleep(0.01)
        self.output = self.widget.results.result.node if self.widget.results.result is not None else None
        if self.output is None:
            raise RuntimeError(f"There is no result; the panel says: {self.widget.ui.statusLabel.text}")

    def show_3d(self) -> None:
        """Press the panel's Show 3D button."""
        self.widget.ui.show3DButton.click()
        self.slicer.app.processEvents()

    def volumes_ml(self) -> dict[str, float]:
        """Milliliters of each structure, as in the scene's table."""
        from meddl_slicer.runs import table_of
        from meddl_slicer.table import values

        _, rows = values(table_of(self.output))
        return {row[0]: round(row[1], 3) for row in rows}

    def provenance(self) -> dict[str, Any]:
        """What the result's node tells about where it comes from."""
        from meddl_slicer import provenance

        return provenance.read(self.output) or {}

    def grab_panel(self, path: Path, width: int) -> None:
        """Save a picture of the panel as it looks now, `width` pixels wide and as high as it needs."""
        import numpy as np
        from PIL import Image

        panel = self.widget.parent
        for _ in range(2):  # wrapped texts tell their height only once they know their width
            panel.resize(width, max(panel.sizeHint.height(), panel.layout().totalHeightForWidth(width)))
            self.slicer.app.processEvents()
            self.widget.results.fit()  # else a moment later
        if not panel.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        with Image.open(path) as image:
            picture = image.convert("RGB").copy()
        rows = np.asarray(picture)
        drawn = np.flatnonzero((rows != rows[-1, -1]).any(axis=(1, 2)))  # below, there is nothing but background
        margin = round(_MARGIN * picture.width / width)
        picture.crop((0, 0, picture.width, min(int(drawn[-1]) + margin, picture.height))).save(path, optimize=True)

    def close(self) -> None:
        """End the worker and let go of the scene, as Slicer does when it quits."""
        from meddl_slicer.pump import close_shared_runner

        self.widget.cleanup()
        self.widget.parent.setMRMLScene(None)
        close_shared_runner()
