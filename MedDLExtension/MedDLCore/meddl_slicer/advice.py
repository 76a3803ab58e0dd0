"""What is said before a run: what it takes on this computer, and whether the image is of the kind the model knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import slicer
from meddl.errors import MedDLError

from meddl_slicer import nodes

if TYPE_CHECKING:
    from meddl.models import ModelBundle

logger = logging.getLogger(__name__)


def before_run(
    bundles: Sequence[ModelBundle],
    inputs: Sequence[slicer.vtkMRMLVolumeNode],
    options: Mapping[str, Any] | None,
) -> tuple[str, list[str]]:
    """Return a line on what a run takes, and sentences on how the images differ from what the models were made for.

    Without options, nothing is said of what it takes. Advice must never keep anyone from running a model: what cannot
    be found out is left out, and logged.
    """
    try:
        volumes = [nodes.volume_from_node(node) for node in inputs]
    except MedDLError as error:
        return "", [error.message]
    return _estimate(bundles, volumes, options) if options is not None else "", _domain(bundles, volumes)


def _estimate(bundles: Sequence[ModelBundle], volumes: Sequence[Any], options: Mapping[str, Any]) -> str:
    try:
        from meddl.inference.estimate import estimate_joined

        return estimate_joined(bundles, volumes[0].shape, volumes[0].spacing, options).sentence
    except Exception as error:
        logger.info("no estimate: %s", error)
        return ""


def _domain(bundles: Sequence[ModelBundle], volumes: Sequence[Any]) -> list[str]:
    from meddl.inference.domain import check_domain

    return list(dict.fromkeys(sentence for bundle in bundles for sentence in check_domain(bundle, volumes)))
