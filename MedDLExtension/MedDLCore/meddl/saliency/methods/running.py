"""Running a library's method of attribution: with progress, cancel, a seed, and errors in words."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meddl.errors import MedDLError, ModelError, OutOfMemory, is_out_of_memory

if TYPE_CHECKING:
    import torch

    from meddl.saliency.methods.method import Work
    from meddl.saliency.scorer import Scorer

_NO_GRADIENT = ("does not require grad", "not have been used in the graph", "modified by an inplace operation")

_WORTH_TELLING = 10.0
"""Seconds that somebody may want to know of."""


def plain(image: torch.Tensor, scorer: Scorer) -> torch.Tensor:
    """Return a copy that gradients can be taken of, on the network's device; a plain tensor, whatever it was."""
    import torch

    return image.detach().as_subclass(torch.Tensor).to(scorer.device, torch.float32).clone()


@contextmanager
def running(scorer: Scorer, work: Work, runs: int | Callable[[], float], text: str) -> Iterator[torch.nn.Module]:
    """Give the score as a module ``(B, C, i, j, k)`` to ``(B,)`` that tells the progress and stops on request.

    Whatever runs the module, each of its runs counts as one of ``runs``, and none starts after the user has cancelled.
    Random numbers are those of the seed; those of the rest of the program go on as if nothing had been.

    Args:
        runs: of the network with one image, about; or what tells the share that is done, 0 to 1.

    Raises:
        JobCancelled: on request.
        OutOfMemory: the memory ran out.
        ModelError: no gradient passes through the network.
    """
    import numpy as np
    import torch

    from meddl.saliency.memory import as_usual

    module = scorer.module()
    done, told, begin = 0, 0.0, time.monotonic()

    def before(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal done, told
        share = runs() if callable(runs) else done / max(runs, 1)
        told = max(told, min(share, 1.0))  # it never goes back
        work.step(told, text + _time_left(min(share, 1.0), time.monotonic() - begin))
        done += len(inputs[0])

    hook = module.register_forward_pre_hook(before)
    state = np.random.get_state()
    # cuDNN's recurrent layers know no way back outside of training; PyTorch's own do.
    recurrent = isinstance(scorer.network, torch.nn.Module) and any(
        isinstance(each, torch.nn.RNNBase) for each in scorer.network.modules()
    )
    devices = [torch.device(scorer.device)] if torch.device(scorer.device).type == "cuda" else []
    try:
        with (
            torch.random.fork_rng(devices),
            torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent),
            torch.inference_mode(False),
            warnings.catch_warnings(),
        ):
            # captum warns of hooks that it sets and removes.
            warnings.simplefilter("ignore")
            torch.manual_seed(work.options.seed)
            np.random.seed(work.options.seed % (1 << 32))
            yield module
    except MedDLError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory(
                "There was not enough memory for the explanation. Choose occlusion, which takes less, or the processor "
                "as device, or close other programs.",
                str(error),
            ) from error
        if isinstance(error, RuntimeError) and any(each in str(error) for each in _NO_GRADIENT):
            raise ModelError(
                "No gradient comes through this model, which this method needs. Choose occlusion or ablation.",
                str(error),
            ) from error
        raise
    finally:
        hook.remove()  # it holds what holds the module, and with it all that its network has kept
        np.random.set_state(state)
        as_usual()


def _time_left(share: float, seconds: float) -> str:
    """Return how long it will still take, in words; "" where that is short, or too early to tell."""
    left = seconds * (1 - share) / share if share > 0 else 0.0
    if left < _WORTH_TELLING:
        return ""
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {round(left, -1):.0f} s left"


def finished(values: torch.Tensor, name: str) -> torch.Tensor:
    """Return ``(1, C, i, j, k)`` values as a method gives them: ``(C, i, j, k)`` float32 on the CPU.

    Raises:
        ModelError: some are no numbers.
    """
    import torch

    values = values.detach()[0].to("cpu", torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise ModelError(f"{name} gave values that are no numbers for this model and image. Choose another method.")
    return values


def no_gradients(scorer: Scorer) -> str:
    """Return why gradients cannot pass through a network, in a sentence; "" as far as one can tell without running."""
    import torch

    from meddl.networks import OnnxNetwork

    if isinstance(scorer.network, OnnxNetwork):
        return "An ONNX file has no gradients, which this method needs."
    if not isinstance(scorer.network, torch.nn.Module):
        return "This model does not run in PyTorch, whose gradients this method needs."
    return ""
