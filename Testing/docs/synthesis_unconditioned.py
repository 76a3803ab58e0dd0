"""Makes the picture of images of chance alone: `python Testing/docs/synthesis_unconditioned.py [FOLDER]`.

Trains a GAN and a rectified flow that are told no labels, on the heads of the demo generators, with the defaults but
for the number of steps. It takes half an hour of processor time; with FOLDER it goes on where it was stopped, and takes
what is there as FOLDER/gan or FOLDER/rectified_flow where it has learned for as many steps.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING), str(TESTING / "docs")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from demo_models import head_synthesis, head_tissues  # noqa: E402
from demo_models.bundle import CPU  # noqa: E402
from drawing import rows_of_slices, run  # noqa: E402
from meddl.models import ModelBundle  # noqa: E402
from meddl.plotting import own_settings  # noqa: E402
from meddl.synthesis import SynthesisConfig  # noqa: E402
from meddl.synthesis.reading import read_examples  # noqa: E402
from meddl.synthesis.synthesizer import Synthesizer  # noqa: E402
from meddl.synthesis.training import train  # noqa: E402

logger = logging.getLogger(__name__)
PICTURE = TESTING.parent / "Docs" / "pictures" / "synthesis_unconditioned.png"
STEPS = {"gan": 1500, "rectified_flow": 1200}
TITLES = {"gan": "GAN", "rectified_flow": "flow"}
SEED, COLUMNS = 1, 8


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dataset = folder / "dataset" / "heads"
    dataset = dataset if dataset.is_dir() else head_synthesis.exported(folder / "dataset")
    real, rows = np.empty(0), []
    for kind, steps in STEPS.items():
        config = SynthesisConfig(
            kind, conditioned=False, spacing_mm=head_tissues.SPACING_MM, steps=steps, sample_every=100
        )
        bundle = _trained(dataset, config, folder / kind)
        real = read_examples(dataset, config).images[:, 0]
        made = _made(bundle)
        far = ((made[:, None] - real[None]) ** 2).mean(axis=(2, 3))
        name = f"{TITLES[kind]}, {steps} steps"
        rows += [(name, made), (f"nearest to {TITLES[kind]}", real[far.argmin(axis=1)])]
    shown = ((np.arange(COLUMNS) + 0.5) * len(real) / COLUMNS).astype(int)
    with own_settings():
        PICTURE.write_bytes(rows_of_slices([("real", real[shown]), *rows], 1.15))


def _trained(dataset: Path, config: SynthesisConfig, folder: Path) -> Path:
    """Return the bundle of a training that was finished before, or of one that is finished now."""
    if (folder / "configs").is_dir():
        facts = _synthesizer(folder).facts
        if facts.kind == config.kind and facts.trained_on.get("steps") == config.steps:
            logger.info("%s: %d steps, trained before", config.kind, config.steps)
            return folder
    before = time.process_time()
    train(dataset, config, folder, device="cpu", log=logger.info)
    logger.info("%s: %.0f s of processor time in this call", config.kind, time.process_time() - before)
    return folder


def _made(bundle: Path) -> np.ndarray:
    """Return images ``(N, 64, 64)`` in -1..1 of a bundle, without choosing among them."""
    synthesizer = _synthesizer(bundle)
    facts = synthesizer.facts
    images = np.stack([each.image.array[0, ..., 0] for each in synthesizer.sample(COLUMNS, seed=SEED)])
    return np.asarray((images - facts.low) * (2 / (facts.high - facts.low)) - 1, np.float32)


def _synthesizer(bundle: Path) -> Synthesizer:
    return Synthesizer(ModelBundle.open(bundle), device=CPU.device)


if __name__ == "__main__":
    run(main)
