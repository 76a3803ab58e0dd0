"""What computes a network's forward pass: torch as it is, in half precision or compiled, or OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.inference.engines.engine import Engine, first_output
from meddl.inference.engines.selector import EngineSelector

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "EngineSelector", "first_output", "for_images_near"]


def for_images_near(base: torch.Tensor, engine: Engine) -> Engine:
    """Return an engine for many images that differ from one in a small box each: a faster one, or ``engine`` itself.

    Its answers are those of ``engine`` up to rounding, and it takes any images; but those that differ from the base in
    much are no faster, and cost as much memory as both engines. Where it is made, its answers are to be compared as
    those of any engine.

    Args:
        base: ``(1, C, ...)`` the image; the first convolution's answer to it is kept.
        engine: of the whole network, as an :class:`EngineSelector` gives it.
    """
    make = getattr(engine, "near", None)
    return (make(base) if make else None) or engine
