"""Which generator of MONAI's Model Zoo a bundle holds; none of the scripts that come with it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meddl.errors import ModelError
from meddl.models.allowed_targets import short_name
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import as_mapping, as_text
from meddl.models.trust import TrustStore
from meddl.synthesis.generators import Generator
from meddl.synthesis.maisi_config import is_maisi
from meddl.synthesis.sampling import AS_TOLD, Sampling
from meddl.synthesis.zoo_gan import NoiseToImage
from meddl.synthesis.zoo_latent import LatentDiffusion, own_way
from meddl.synthesis.zoo_maisi import LabelsToCT


def zoo_generator(
    bundle: ModelBundle, trust: TrustStore, device: Callable[[], Any], sampling: Sampling = AS_TOLD
) -> Generator | None:
    """Return the generator in a bundle that MedDL has not trained; None for models of other kinds.

    Raises:
        ModelError: there is one that cannot be run here.
        UsageError: it cannot be sampled so.
    """
    if bundle.task != "generation":
        return None
    tree = bundle.config()
    if is_maisi(tree):
        return LabelsToCT(bundle, trust, device, sampling)
    if "autoencoder_def" in tree and as_mapping(tree.get("noise_scheduler")):
        if reason := own_way(tree):
            raise ModelError(f"The model '{bundle.name}' cannot be run here: {reason}. Run it with MONAI's own program "
                             "(python -m monai.bundle run), and take what it makes.")  # fmt: skip
        return LatentDiffusion(bundle, trust, device, sampling)
    if short_name(as_text(as_mapping(tree.get("network_def")).get("_target_"))) == "Generator":
        return NoiseToImage(bundle, trust, device, sampling)
    raise ModelError(f"The model '{bundle.name}' makes images in a way that is not known here. Run it with MONAI's own "
                     "program (python -m monai.bundle run), and take what it makes.")  # fmt: skip
