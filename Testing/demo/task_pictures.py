"""One picture per task: the panel after a run of a demo model on a real image, beside Slicer's own slice views.

    python Testing/demo/task_pictures.py FOLDER [PICTURE...]

The pictures in `Docs/` are made by this. Models whose weights are not on this computer are fetched.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), *map(str, (REPOSITORY / "MedDLExtension").glob("MedDL*"))]
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

PANEL_WIDTH = 480
VIEW = 440
GAP = 4
LONGEST_RUN_S = 600
LARGEST_BYTES = 200_000

_ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


@dataclass(frozen=True)
class TaskPicture:
    """What is shown.

    Attributes:
        name: of the file.
        model: in the catalog.
        image: returns the image: a `Volume` or a path.
        title: of the image's node.
        views: names of Slicer's slice views, top to bottom; for a reconstruction of input, result and difference.
        options: of the run, by the names of the panel's parameters.
        reference: returns the image that a reconstruction is compared with.
        row: the row of the result that is clicked; None for the middle of the image.
        zoom: of the field of view.
        size: of a view in pixels.
    """

    name: str
    model: str
    image: Callable[[], Any]
    title: str
    views: tuple[str, ...] = ("Red", "Green")
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[[], Any] | None = None
    row: int | None = 0
    zoom: float = 1.0
    size: int = VIEW


def pictures() -> dict[str, TaskPicture]:
    """Return all pictures by name. Every image is of a person that the model has not seen."""
    import realdata
    from demo_models import images, mr_denoising

    shown = (
        TaskPicture(
            "uncertainty", "brain_extraction", realdata.head, "T1 head", options={"uncertainty": "FLIPS", "passes": 4}
        ),
        TaskPicture("classification", "demo_body_region", images.chest_b, "Chest", row=None),
        TaskPicture("recurrent", "demo_slice_order", images.chest_b, "Chest", row=None),
        TaskPicture("detection", "demo_lung_boxes", images.chest_b, "Chest", row=None),
        TaskPicture("landmarks", "demo_head_points", images.itk_subject, "Head", ("Yellow", "Red"), row=3),
        TaskPicture(
            "reconstruction",
            "demo_mr_denoising",
            lambda: mr_denoising.noisy(images.itk_subject(), 0.06),
            "Noisy head",
            ("Red", "Red", "Red"),
            {"difference": True},
            images.itk_subject,
            None,
            0.75,
            320,
        ),
    )
    return {picture.name: picture for picture in shown}


def draw(picture: TaskPicture, path: Path) -> None:
    """Run the panel and write the picture. Once per process: the host's scene is not shared."""
    from PIL import Image

    from demo.session import Session

    session = Session(picture.image(), picture.model, picture.title)
    views = _make_views(session, picture)
    try:
        _choose(session, picture)
        session.apply(LONGEST_RUN_S)
        _show(session)
        slices = [_slice(session, picture, view, index) for index, view in enumerate(views)]
        panel = _panel(session)
    finally:
        for view in views:
            view.close()
        session.close()
    step = picture.size + GAP
    height = max(panel.height, step * len(slices) - GAP)
    page = Image.new("RGB", (panel.width + GAP + picture.size, height), (239, 239, 239))
    page.paste(panel, (0, 0))
    for index, one in enumerate(slices):
        page.paste(one, (panel.width + GAP, index * step))
    save_small(page, path)


def _make_views(session: Any, picture: TaskPicture) -> list[Any]:
    # Before the run, as in Slicer: legends are drawn in the views that are there when they come.
    from demo import render

    return [
        render.SliceView(session.scene, f"{name}{index or ''}", _ORIENTATIONS[name], (picture.size, picture.size))
        for index, name in enumerate(picture.views)
    ]


def _choose(session: Any, picture: TaskPicture) -> None:
    from meddl_slicer.nodes import add_volume_node

    parameters = session.widget.logic.getParameterNode()
    for name, value in picture.options.items():
        kind = type(getattr(parameters.options, name))
        setattr(parameters.options, name, kind[value] if isinstance(value, str) else value)
    if picture.reference is not None:
        parameters.referenceVolume = add_volume_node(picture.reference(), "Without noise")
    end = session.slicer.app.processEvents
    for _turn in range(50):  # what is said before a run comes a moment after the choice
        end()
        if not session.widget.inputs._adviceTimer.isActive():
            break


def _show(session: Any) -> None:
    """Lay the map over the slices, and clear the view of it."""
    if session.output.IsA("vtkMRMLSegmentationNode"):
        session.widget.ui.overlayComboBox.setCurrentIndex(1)
        session.output.GetDisplayNode().SetVisibility2DFill(False)
        session.output.GetDisplayNode().SetVisibility2DOutline(False)
    session.slicer.app.processEvents()


def _slice(session: Any, picture: TaskPicture, view: Any, index: int) -> Any:
    import numpy as np
    from meddl_slicer import nodes, results, view_text
    from PIL import Image

    result = session.widget.results.result
    shown = session.volume
    if session.output.IsA("vtkMRMLScalarVolumeNode"):
        shown = (session.volume, session.output, *result.maps)[index]
    place = results.place_of(result, picture.row) if picture.row is not None else None
    size = np.array(session.volume.GetImageData().GetDimensions())
    affine = nodes.affine_to_world(session.volume)
    if place is None:
        place = (affine @ [*((size - 1) / 2), 1.0])[:3]
    if result.viewText:
        view.renderer.AddViewProp(view_text.make_actor(result.viewText))
    extent = float((size * np.linalg.norm(affine[:3, :3], axis=0)).max())
    return Image.fromarray(view.show(shown, np.asarray(place), 1.05 * extent * picture.zoom).image)


def _panel(session: Any) -> Any:
    """Return the panel as it looks now; what is folded or below the result is left out."""
    from PIL import Image

    ui = session.widget.ui
    ui.logCollapsibleButton.visible = ui.batchCollapsibleButton.visible = ui.advancedCollapsibleButton.visible = False
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.png"
        session.grab_panel(file, PANEL_WIDTH)
        with Image.open(file) as image:
            return image.convert("RGB").copy()


def save_small(page: Any, path: Path, largest_bytes: int = LARGEST_BYTES, rare_colors: bool = False) -> None:
    """Write the picture with as many colors as fit into a modest file.

    Args:
        rare_colors: choose colors that lie far from one another, not the most frequent ones.
    """
    from PIL import Image

    method = Image.Quantize.MAXCOVERAGE if rare_colors else Image.Quantize.MEDIANCUT
    for colors in (256, 128, 64, 32):
        buffer = io.BytesIO()
        page.quantize(colors, method=method, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= largest_bytes:
            break
    path.write_bytes(buffer.getvalue())


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
