"""What the demo leaves behind: segmentation, scene, report and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import figure

if TYPE_CHECKING:
    from demo.session import Session

# The panel's width in Slicer's default layout, pixels.
PANEL_WIDTH = 440


def write(session: Session, folder: Path, seconds: float) -> dict[str, Any]:
    """Write all files into `folder` and return the report. `seconds`: from Apply to the result in the scene."""
    report = {
        "input": session.volume.GetName(),
        "volumes_ml": session.volumes_ml(),
        "seconds": {"apply_to_result": round(seconds, 2)},
        "provenance": session.provenance(),
    }
    _write_segmentation(session, folder / "brain.seg.nrrd")
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _draw(session, report, folder / "slices.png")
    session.grab_panel(folder / "panel.png", PANEL_WIDTH)
    _write_scene(session, folder / "scene.mrb")
    return report


def _write_segmentation(session: Session, path: Path) -> None:
    session.output.AddDefaultStorageNode(str(path))
    if not session.output.GetStorageNode().WriteData(session.output):
        raise OSError(f"{path} could not be written")


def _write_scene(session: Session, path: Path) -> None:
    path.unlink(missing_ok=True)
    if not session.scene.WriteToMRB(str(path)) or not path.is_file():
        raise OSError(f"{path} could not be written")


def _draw(session: Session, report: dict[str, Any], path: Path) -> None:
    provenance = report["provenance"]
    model, software = provenance["model"], provenance["software"]
    picture = figure.four_up(
        session.volume,
        session.output,
        f"{model['name']} {model['version']}",
        f"{report['input']}  \N{MIDDLE DOT}  {report['seconds']['apply_to_result']:.1f} s on "
        f"{provenance['device']['type'].upper()}  \N{MIDDLE DOT}  {model['license']} license",
        report["volumes_ml"],
        f"MedDL {software['meddl']}, torch {software['torch'].split('+')[0]}; drawn from the MRML scene by "
        "Slicer's own views. For research, not a medical device.",
    )
    picture.save(path, optimize=True)
