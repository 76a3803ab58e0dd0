"""Pictures of the panel MedDL Saliency in `Docs/`: real explanations of real images, beside Slicer's own slice views.

    python Testing/demo/saliency_pictures.py FOLDER [PICTURE...]

Models whose weights are not on this computer are fetched.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), *map(str, (REPOSITORY / "MedDLExtension").glob("MedDL*"))]

from demo import task_pictures  # noqa: E402  (it sets what Qt and VTK must know before they start)

PANEL_WIDTH = 480
VIEW = 400
GAP = 4
LONGEST_RUN_S = 900
LARGEST_BYTES = 320_000


@dataclass(frozen=True)
class SaliencyPicture:
    """What is shown.

    Attributes:
        name: of the file.
        model: in the catalog.
        image: returns the image: a `Volume` or a path.
        title: of the image's node.
        methods, measures: ids; each method gets a column of views of its own.
        views: names of Slicer's slice views, top to bottom.
        options: of the methods, by the names of the panel's parameters.
        anatomy: model whose segmentation tells where the evidence lies; "" for none.
        threshold: share of the scale that is transparent, in percent.
    """

    name: str
    model: str
    image: Callable[[], Any]
    title: str
    methods: tuple[str, ...]
    measures: tuple[str, ...] = ()
    views: tuple[str, ...] = ("Red", "Green", "Yellow")
    options: Mapping[str, Any] = field(default_factory=dict)
    anatomy: str = ""
    threshold: float = 10.0


def pictures() -> dict[str, SaliencyPicture]:
    """Return all pictures by name. Every image is of a person that the model has not seen."""
    import realdata
    from demo_models import images

    shown = (
        SaliencyPicture(
            "saliency_detection",
            "demo_lung_boxes",
            images.chest_b,
            "Chest",
            ("integrated_gradients",),
            ("deletion", "randomization"),
        ),
        SaliencyPicture(
            "saliency_class",
            "demo_body_region",
            images.chest_b,
            "Chest",
            ("integrated_gradients", "gradcam"),
            ("deletion",),
            ("Red",),
        ),
        SaliencyPicture(
            "saliency_brain", "brain_extraction", realdata.head, "T1 head", ("saliency",), anatomy="brain_extraction"
        ),
    )
    return {picture.name: picture for picture in shown}


class PanelOnImage:
    """The panel with an image and a model, in the host of `Testing/host`."""

    def __init__(self, picture: SaliencyPicture) -> None:
        import host

        self.slicer = host.start(testing=True)
        for module in ("MedDLCore", "MedDLInference", "MedDLSaliency"):
            host.load_module(REPOSITORY / "MedDLExtension" / module / f"{module}.py")
        image = picture.image()
        if isinstance(image, Path):
            self.volume = self.slicer.util.loadVolume(str(image), {"name": picture.title})
        else:
            from meddl_slicer.nodes import add_volume_node

            self.volume = add_volume_node(image, picture.title)
        self.widget = self.slicer.util.getModuleWidget("MedDLSaliency")
        self.widget.parent.show()
        self.widget.enter()
        parameters = self.widget._parameterNode
        parameters.inputVolume, parameters.model = self.volume, picture.model
        parameters.methods, parameters.measures = list(picture.methods), list(picture.measures)
        for name, value in picture.options.items():
            setattr(parameters.options, name, value)
        if picture.anatomy:
            logic = self.slicer.util.getModuleLogic("MedDLInference")
            parameters.segmentation = logic.process(self.volume, picture.anatomy)
            parameters.segmentation.GetDisplayNode().SetVisibility(False)
        self._turn(lambda: self.widget.question._key() in self.widget.question._known)

    def explain(self) -> list[Any]:
        """Press Explain and return what is known of the maps, in the order of the methods."""
        from meddl_slicer.explanation_maps import maps_of

        button = self.widget.ui.applyButton
        if not button.enabled:
            raise RuntimeError(f"Explain is not enabled: {button.toolTip}")
        button.click()
        self._turn(lambda: not self.widget.jobPanel.isRunning)
        if self.widget._parameterNode.map is None:
            raise RuntimeError(f"There is no map; the panel says: {self.widget.ui.statusLabel.text}")
        return list(reversed(maps_of(self.volume)))

    def panel(self) -> Any:
        """Return the panel as it looks now; what is folded is left out."""
        from PIL import Image

        panel, ui = self.widget.parent, self.widget.ui
        ui.logCollapsibleButton.visible = ui.advancedCollapsibleButton.visible = False
        for _ in range(3):  # wrapped texts tell their height only once they know their width
            panel.resize(PANEL_WIDTH, max(panel.sizeHint.height(), panel.layout().totalHeightForWidth(PANEL_WIDTH)))
            self.slicer.app.processEvents()
            self.widget.results.fit()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "panel.png"
            panel.grab().save(str(file))
            below = ui.resultsCollapsibleButton.mapTo(panel, ui.resultsCollapsibleButton.rect.bottomLeft()).y() + GAP
            with Image.open(file) as image:
                return image.convert("RGB").crop((0, 0, PANEL_WIDTH, below))

    def close(self) -> None:
        """End the worker and let go of the scene."""
        from meddl_slicer.pump import close_shared_runner

        self.widget.cleanup()
        self.widget.parent.setMRMLScene(None)
        close_shared_runner()

    def _turn(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LONGEST_RUN_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("The panel took too long")
            self.slicer.app.processEvents()
            time.sleep(0.01)


def draw(picture: SaliencyPicture, path: Path) -> None:
    """Use the panel and write the picture. Once per process: the host's scene is not shared."""
    from PIL import Image

    from demo import render

    session = PanelOnImage(picture)
    orientations = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
    # Before the run, as in Slicer: legends are drawn in the views that are there when they come.
    views = [
        [render.SliceView(session.slicer.mrmlScene, name + "+" * column, orientations[name], (VIEW, VIEW))
         for name in picture.views] for column in range(len(picture.methods))
    ]  # fmt: skip
    try:
        maps = session.explain()
        session.widget.ui.thresholdSlider.value = picture.threshold
        if len(maps) > 1:
            session.widget._parameterNode.otherMap = maps[1].node
        session.widget.maps.showValue(tuple(_peak(maps[0].node)))
        slices = [[_slice(session, view, name, one) for name, view in zip(picture.views, column, strict=True)]
                  for column, one in zip(views, maps, strict=True)]  # fmt: skip
        panel = session.panel()
    finally:
        for view in (view for column in views for view in column):
            view.close()
        session.close()
    if len(picture.views) == 1:  # one below the other
        slices = [[one for column in slices for one in column]]
    step = VIEW + GAP
    size = (panel.width + step * len(slices), max(panel.height, step * len(slices[0]) - GAP))
    page = Image.new("RGB", size, panel.getpixel((2, panel.height - 2)))
    page.paste(panel, (0, 0))
    for column, below in enumerate(slices):
        for row, one in enumerate(below):
            page.paste(one, (panel.width + GAP + column * step, row * step))
    task_pictures.save_small(page, path, LARGEST_BYTES, rare_colors=True)


def _slice(session: Any, view: Any, name: str, shown: Any) -> Any:
    """Return the slice through the map's peak, with the middle of the image in its middle."""
    import numpy as np
    from meddl_slicer import nodes
    from PIL import Image

    composite = view.logic.GetSliceCompositeNode()
    composite.SetForegroundVolumeID(shown.node.GetID())
    composite.SetForegroundOpacity(session.widget._parameterNode.opacity)
    size = np.array(session.volume.GetImageData().GetDimensions())
    affine = nodes.affine_to_world(session.volume)
    place = (affine @ [*((size - 1) / 2), 1.0])[:3]
    across = {"Red": 2, "Green": 1, "Yellow": 0}[name]
    place[across] = _peak(shown.node)[across]
    extent = float((size * np.linalg.norm(affine[:3, :3], axis=0)).max())
    return Image.fromarray(view.show(session.volume, place, 1.05 * extent).image)


def _peak(node: Any) -> Any:
    """Return where in the world the map is strongest."""
    import numpy as np
    from meddl_slicer import nodes

    values = np.abs(nodes.volume_from_node(node).array[0])
    index = np.unravel_index(int(values.argmax()), values.shape)
    return (nodes.affine_to_world(node) @ [*index, 1.0])[:3]


def main(folder: Path, names: Sequence[str]) -> int:
    known = pictures()
    folder.mkdir(parents=True, exist_ok=True)
    if len(names) == 1:
        from meddl.models import Catalog

        picture = known[names[0]]
        catalog = Catalog.default()
        if not catalog.find(picture.model).installed:
            catalog.add(picture.model)
        draw(picture, folder / f"{picture.name}.png")
        return 0
    # One process each: a scene of its own, and nothing left over.
    return max(subprocess.call([sys.executable, __file__, str(folder), name]) for name in names or list(known))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", nargs="*", help="names; all by default")
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder, arguments.pictures))
