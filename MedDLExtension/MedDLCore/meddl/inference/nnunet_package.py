"""The package ``nnunetv2`` as MedDL uses it: found, kept quiet, and asked for nothing but its own networks."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models.budget import Budget
from meddl.models.formats.nnunet_folder import PACKAGE
from meddl.models.formats.nnunet_plans import layer_name
from meddl.models.segments import printable

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def require_package() -> None:
    """Raise a :class:`ModelError` that names the package where it is missing or does not work."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise ModelError(
            f"Running nnU-Net models takes the Python package {PACKAGE}, which is not installed. Install it in the "
            f"panel MedDL Setup, or with 'pip install {PACKAGE}'."
        )
    try:
        with quietly():
            importlib.import_module("nnunetv2.preprocessing.preprocessors.default_preprocessor")
    except Exception as error:
        raise ModelError(
            f"The Python package {PACKAGE} is installed but cannot be used here: {first_line(error)}.", repr(error)
        ) from error


def build_network(manager: Any, channels: int, heads: int) -> Any:
    """Build the network that the plans describe out of ``dynamic_network_architectures``, and nothing else.

    Args:
        manager: nnU-Net's configuration manager of plans that have been checked.
        channels: of the image.
        heads: channels of the answer.

    Raises:
        ModelError: it cannot be built, or would fill the memory.
    """
    import torch

    module_name, _, class_name = str(manager.network_arch_class_name).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), class_name, None)
    except Exception as error:
        # Some need further packages, which fail in ways of their own where they do not fit PyTorch.
        raise ModelError(
            f"nnU-Net's network '{class_name}' cannot be loaded: {first_line(error)}.", repr(error)
        ) from error
    if not (
        isinstance(kind, type)
        and issubclass(kind, torch.nn.Module)
        and kind.__module__.startswith("dynamic_network_architectures.")
    ):
        raise ModelError(f"In plans.json 'network_class_name' names '{class_name}', which is no network.")
    arguments = dict(manager.network_arch_init_kwargs)
    for name in manager.network_arch_init_kwargs_req_import:
        if arguments[name] is not None:
            arguments[name] = getattr(torch.nn, layer_name(arguments[name]))

    def make() -> Any:
        return kind(
            input_channels=channels,
            num_classes=heads,
            **{**arguments, "deep_supervision": False},
        )

    budget = Budget("plans.json")
    try:
        budget.try_without_memory(make)
        with budget.spent():
            return make()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"The network of plans.json cannot be built: {first_line(error)}.", repr(error)) from error


def mean_of(networks: Sequence[Any]) -> Any:
    """Return a network that answers with the mean of several."""
    import torch

    class MeanOfFolds(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.folds = torch.nn.ModuleList(networks)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            total = self.folds[0](image)
            for fold in self.folds[1:]:
                total = total + fold(image)
            return total / len(self.folds)

    return MeanOfFolds()


def mirrored(network: Any, axes: tuple[int, ...]) -> Any:
    """Return a network that answers with the mean over all mirrored copies of its image."""
    import torch

    combinations = [each for count in range(len(axes) + 1) for each in itertools.combinations(axes, count)]

    class Mirrored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            total = self.network(image)
            for combination in combinations[1:]:
                where = [2 + axis for axis in combination]
                total = total + torch.flip(self.network(torch.flip(image, where)), where)
            return total / len(combinations)

    return Mirrored()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what nnU-Net prints (about its environment variables, for instance) out of the log."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if said.getvalue():
            logger.debug("nnU-Net says: %s", said.getvalue()[:2000])


def first_line(error: Exception) -> str:
    """Return what an error says, short enough for a sentence."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return printable(text)[:200].rstrip(".")
