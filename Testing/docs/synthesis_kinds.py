"""Makes the picture that compares the kinds of generators: `python Testing/docs/synthesis_kinds.py [FOLDER]`.

The demo generators (a GAN and a rectified flow) beside a DDPM, which is trained here on the same heads with the same
settings and number of steps: some four minutes of processor time; with FOLDER it goes on where it was stopped. The
label maps are those of a person whom none of them has seen.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING), str(TESTING / "docs")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from demo_models import head_flow, head_gan, head_synthesis, head_tissues  # noqa: E402
from demo_models.bundle import CPU, load_network  # noqa: E402
from drawing import rows_of_slices, run  # noqa: E402
from meddl.models import ModelBundle, TrustStore  # noqa: E402
from meddl.plotting import own_settings  # noqa: E402
from meddl.synthesis.generators import load_network as load_trained  # noqa: E402
from meddl.synthesis.training import train  # noqa: E402

logger = logging.getLogger(__name__)
PICTURE = TESTING.parent / "Docs" / "pictures" / "synthesis_kinds.png"
CONFIG = replace(head_flow.CONFIG, kind="ddpm", sample_every=100)
SEED, COLUMNS = 1, 6
COLORS = np.array([(0.0, 0.0, 0.0), *head_tissues.COLORS])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dataset = folder / "heads" if (folder / "heads").is_dir() else head_synthesis.exported(folder)
    before = time.process_time()
    bundle = ModelBundle.open(train(dataset, CONFIG, folder / "ddpm", device="cpu", log=logger.info).bundle)
    logger.info("%.0f s of processor time in this call", time.process_time() - before)
    ddpm = load_trained(bundle, TrustStore(), "network_def", bundle.weights_path, torch.device(CPU.device))
    held_out = head_tissues.slices_of(head_tissues.held_out_head(), CONFIG, COLUMNS)
    assert held_out.labels is not None
    real, labels = held_out.images[:, 0], held_out.labels
    rows = [("label map", COLORS[labels]), ("real", real)]
    for name, network in (
        ("GAN", load_network(head_gan.DEFINITION)), ("flow", load_network(head_flow.DEFINITION)), ("DDPM", ddpm)
    ):  # fmt: skip
        made = head_synthesis.made(network.eval(), labels, SEED)
        other = head_synthesis.made(network, labels, SEED + 1)
        logger.info(
            "%s: differs from the real slices by %.1f %% of the range, from its other seed by %.1f %%, where there is "
            "air by %.1f %%",
            name, *(50 * float(np.abs(each).mean()) for each in (made - real, made - other, (made + 1)[labels == 0])),
        )  # fmt: skip
        rows.append((name, made))
    with own_settings():
        PICTURE.write_bytes(rows_of_slices(rows, 1.45))


if __name__ == "__main__":
    run(main)
