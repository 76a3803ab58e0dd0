"""The pictures of the tasks in `Docs/`: made by a script that runs, and all there, of modest size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "Docs" / "pictures"

SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, {testing!r})
from demo import task_pictures
import numpy as np
from meddl.volume import Volume
from meddl_slicer.known_model import write_known_bundle

folder = Path(sys.argv[1])
i, j, k = np.indices((40, 40, 40))
image = 50 + 130 * np.exp(-((i - 14) ** 2 + (j - 20) ** 2 + (k - 20) ** 2) / 8.0)
volume = Volume(image[None].astype(np.float32), np.diag([-2.0, -2.0, 2.0, 1.0]))
model = str(write_known_bundle(folder / "spots", "detection"))
picture = task_pictures.TaskPicture("spot", model, lambda: volume, "Phantom", ("Red",))
task_pictures.draw(picture, folder / "spot.png")
"""


@pytest.mark.timeout(300)
def test_picture_shows_the_panel_and_the_box_in_the_slice(tmp_path: Path) -> None:
    script = SCRIPT.format(testing=str(ROOT / "Testing"))

    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stdout + done.stderr
    page = np.asarray(Image.open(tmp_path / "spot.png").convert("RGB")).astype(int)
    panel, view = page[:, :-444], page[:440, -440:]
    assert panel.mean() > 200  # a light panel on the left
    orange = (view[..., 0] - view[..., 2] > 100) & (view[..., 0] > 180)  # the first label's color
    # A box of 10 mm in a field of view of 84 mm across 440 pixels, centered on it by the click on its row.
    side = 10 / 84 * 440
    for axis in (0, 1):
        edges = np.nonzero(orange.sum(axis=axis) > 0.7 * side)[0]  # where many pixels lie in one line
        assert np.ptp(edges) == pytest.approx(side, abs=5)
        assert edges.mean() == pytest.approx(220, abs=15)


def test_every_picture_of_the_guide_is_there_and_modest() -> None:
    named = re.findall(r"\(pictures/([\w-]+\.png)\)", (ROOT / "Docs" / "MedDLInference.md").read_text())

    assert len(named) == 6
    for name in named:
        assert 20_000 < (PICTURES / name).stat().st_size <= 200_000, name
