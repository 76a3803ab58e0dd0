"""The main job once through, without Slicer's program: a real head, the panel MedDL Inference, a real network.

    python Testing/demo/run_demo.py FOLDER

Leaves in FOLDER: brain.seg.nrrd, scene.mrb, report.json, slices.png and panel.png.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "Testing"), *map(str, (REPOSITORY / "MedDLExtension").glob("MedDL*"))]
if sys.platform.startswith("linux"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_SCALE_FACTOR", "2")  # the panel's picture, sharp enough for a page

MODEL = "brain_extraction"
LONGEST_RUN_S = 600


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(folder: Path) -> int:
    import realdata
    from meddl.models import Catalog

    folder.mkdir(parents=True, exist_ok=True)
    say("1/5  Fetching a T1 head (the mean of several people, out of the Python package pydeface)")
    head = realdata.head()
    say("2/5  Adding the model brain_extraction (weights out of the Python package deepbet, checked by SHA-256)")
    Catalog.default().add(MODEL)
    say("3/5  Starting a small Slicer without a screen, with the panel MedDL Inference")
    from demo.session import Session

    session = Session(head, MODEL)
    say("4/5  Pressing Apply: the network runs in a process of its own")
    started = time.monotonic()
    session.apply(LONGEST_RUN_S)
    seconds = time.monotonic() - started
    say(f"     done after {seconds:.1f} s")
    session.show_3d()
    say("5/5  Writing the results and drawing the pictures")
    from demo import results

    report = results.write(session, folder, seconds)
    session.close()
    say(summary(folder, report))
    return 0


def summary(folder: Path, report: dict) -> str:
    """What was made and where, in plain words."""
    volumes = ", ".join(f"{name} {volume:.0f} ml" for name, volume in report["volumes_ml"].items())
    where = Path(os.path.relpath(folder))
    model = report["provenance"]["model"]
    files = {
        "slices.png": "the result in three slice views and in 3D",
        "panel.png": "the panel MedDL Inference after the run",
        "brain.seg.nrrd": "the segmentation, for Slicer and everything else that reads NRRD",
        "scene.mrb": "the whole scene: drop it into 3D Slicer 5.12 or later",
        "report.json": "model, version, checksum, device, times, volume",
    }
    lines = "\n".join(f"  {where / name!s:24} {what}" for name, what in files.items())
    return (
        f"\n{model['name']} {model['version']} ({model['license']}) segmented the head: {volumes}.\n"
        f"It took {report['seconds']['apply_to_result']:.1f} s from Apply to the result in the scene, on "
        f"{report['provenance']['device']['type']}.\n\n{lines}\n\n"
        "For research; not a medical device."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    sys.exit(main(parser.parse_args().folder))
