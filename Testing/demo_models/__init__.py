"""The small demo models: what each is trained on, how, and what it reaches on people it never saw."""

from __future__ import annotations

from types import ModuleType


def recipes() -> dict[str, ModuleType]:
    """Return the modules that make the models, by the models' ids."""
    from demo_models import body_region, head_flow, head_gan, head_points, lung_boxes, mr_denoising, slice_order

    modules = (body_region, slice_order, lung_boxes, head_points, mr_denoising, head_gan, head_flow)
    return {module.DEFINITION.id: module for module in modules}
