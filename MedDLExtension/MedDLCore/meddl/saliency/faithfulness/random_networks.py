"""Networks that have forgotten what they learned: the same layers with weights drawn anew."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from meddl.errors import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


def can_forget(scorer: Scorer) -> bool:
    """Tell whether a network has weights that can be drawn anew; ONNX files and frozen TorchScript have not."""
    import torch

    network = scorer.network
    return isinstance(network, torch.nn.Module) and any(each.is_floating_point() for each in network.parameters())


def forgotten(scorer: Scorer, image: torch.Tensor, share: float, seed: int) -> Scorer:
    """Return the same question asked of a network whose last ``share`` of layers have random weights.

    Kernels and matrices are drawn from a normal distribution as wide as the trained weights are, so that signals keep
    their size through deep networks; gains and biases are shuffled. Batch normalization measures its mean and variance
    anew on the image, since those of the trained network would shut a random one's channels.

    Args:
        image: ``(1, C, i, j, k)``.
        share: 0 to 1 of the layers with weights, counted from the answer back to the image (the cascade of Adebayo et
            al.) in the order in which they run; TorchScript's in the order in which they were made.
    """
    import torch

    network = copy.deepcopy(scorer.network) if isinstance(scorer.network, torch.jit.ScriptModule) else scorer.network
    made = scorer.with_network(network)  # copies all others itself
    layers = _layers(made, image)
    last = layers[len(layers) - round(share * len(layers)) :]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in last:
            for parameter in layer.parameters(recurse=False):
                if parameter.is_floating_point():
                    parameter.copy_(_drawn(parameter, generator))
        _measure_norms(made, last, image)
    return made


def _drawn(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    if weights.ndim < 2:
        return (
            weights[torch.randperm(weights.numel(), generator=generator).to(weights.device)]
            if weights.ndim
            else weights
        )
    size = float(weights.double().pow(2).mean().sqrt())
    return torch.randn(weights.shape, generator=generator).to(weights) * size


def _layers(scorer: Scorer, image: torch.Tensor) -> list[Any]:
    """Return the modules with weights of their own, in the order in which they run; those that don't run come first."""
    import torch

    modules = [each for each in scorer.network.modules() if list(each.parameters(recurse=False))]
    if isinstance(scorer.network, torch.jit.ScriptModule):
        return modules
    ran: list[Any] = []
    hooks = [each.register_forward_pre_hook(lambda module, _: ran.append(module)) for each in modules]
    try:
        with torch.no_grad():
            scorer(image)
    finally:
        for hook in hooks:
            hook.remove()
    order = {id(module): number for number, module in enumerate(ran)}
    return sorted(modules, key=lambda module: order.get(id(module), -1))


def _measure_norms(scorer: Scorer, layers: list[Any], image: torch.Tensor) -> None:
    """Let the batch normalizations among ``layers`` measure the image once."""
    import torch

    norms = [each for each in layers if hasattr(each, "running_mean") and each.running_mean is not None]
    if not norms:
        return
    for each in norms:
        each.running_mean.zero_()
        each.running_var.zero_()
        each.train()
    try:
        scorer(image)
    except (ValueError, RuntimeError) as error:  # TorchScript's errors are of the second kind
        if is_out_of_memory(error):
            raise
        # One value per channel has no variance.
    finally:
        for each in norms:
            each.eval()
    for each in norms:
        # From zero on, one run gives them the share "momentum" of what was measured; it is a constant in TorchScript.
        share = getattr(each, "momentum", None) or 1.0
        if bool(each.running_var.any()) and bool(torch.isfinite(each.running_var).all()):
            each.running_mean.div_(share)
            each.running_var.div_(share)
        else:  # not measured: traced networks always take what they have stored
            each.running_mean.zero_()
            each.running_var.fill_(1.0)
