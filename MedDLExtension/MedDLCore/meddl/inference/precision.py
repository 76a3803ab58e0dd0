"""In which precision a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def starting_precision(wanted: str, device: torch.device) -> tuple[str, list[str]]:
    """Return the precision to begin with and, where it is not the wanted one, a sentence that says why.

    ``auto`` is float32 on a processor and float16 by autocast on an NVIDIA GPU, where a first comparison decides.

    Args:
        wanted: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        device: where the network runs.
    """
    import torch

    from meddl.inference.engines.torch_engine import cpu_has_bfloat16

    if device.type == "cuda":
        if wanted == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
            return "float16", ["This GPU does not compute in bfloat16: float16 was used."]
        return ("float16" if wanted == "auto" else wanted), []
    if device.type == "cpu":
        if wanted == "float16":
            return "float32", ["A processor does not gain from float16: float32 was used."]
        if wanted == "bfloat16" and not cpu_has_bfloat16():
            return "float32", ["This processor does not compute in bfloat16: float32 was used."]
        return ("float32" if wanted == "auto" else wanted), []
    return ("float16" if wanted == "float16" else "float32"), []
