"""What a model is on disk, whether it is intact and trusted, and where it comes from.

A model is a MONAI Bundle. Nothing of a bundle is executed, imported or unpickled before the user trusts it; what plain
bundles need (known classes, harmless expressions, tensors) is made by a restricted evaluator without trust.
"""

from __future__ import annotations

from meddl.models.bundle import Cascade, ModelBundle
from meddl.models.catalog import Catalog, CatalogEntry, resolve_model
from meddl.models.channels import Channel
from meddl.models.check import CheckReport
from meddl.models.classes import class_names, output_channels
from meddl.models.config_files import ConfigTree
from meddl.models.inference_parts import InferenceParts, inference_parts
from meddl.models.places import cache_dir, definitions_dir
from meddl.models.restricted_config import RestrictedConfig
from meddl.models.segments import unnamed_segment
from meddl.models.trust import TrustEntry, TrustStore, without_consent
from meddl.models.trusted_config import TrustedConfig, open_config, open_trusted_config
from meddl.models.weights import WeightsFacts, WeightsKind, inspect_weights, load_weights

__all__ = [
    "Cascade",
    "Catalog",
    "CatalogEntry",
    "Channel",
    "CheckReport",
    "ConfigTree",
    "InferenceParts",
    "ModelBundle",
    "RestrictedConfig",
    "TrustEntry",
    "TrustStore",
    "TrustedConfig",
    "WeightsFacts",
    "WeightsKind",
    "cache_dir",
    "class_names",
    "definitions_dir",
    "inference_parts",
    "inspect_weights",
    "load_weights",
    "open_config",
    "open_trusted_config",
    "output_channels",
    "resolve_model",
    "unnamed_segment",
    "without_consent",
]
