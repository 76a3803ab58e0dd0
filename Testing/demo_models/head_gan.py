"""Synthesis by a GAN: see :mod:`demo_models.head_synthesis`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from meddl.models import ModelBundle
from meddl.synthesis import SynthesisConfig

from demo_models import head_synthesis, head_tissues

CONFIG = SynthesisConfig(
    "gan",
    size=(64, 64),
    spacing_mm=head_tissues.SPACING_MM,
    batch_size=8,
    steps=600,
    learning_rate=1e-3,
    features=(16, 32, 32, 64, 64),
)
DEFINITION = head_synthesis.definition_of("demo_head_gan", CONFIG)
DATA = head_synthesis.DATA


def train() -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train as `meddl synth train` does: some minutes on a processor."""
    return head_synthesis.learned(DEFINITION, CONFIG)


def held_out(bundle: ModelBundle) -> dict[str, float]:
    """Make images of label maps of a person whom the model never saw."""
    return head_synthesis.figures_of(DEFINITION, CONFIG)


def tell(figures: Mapping[str, float]) -> str:
    """Return the figures as a sentence."""
    return head_synthesis.tell_figures(figures)
