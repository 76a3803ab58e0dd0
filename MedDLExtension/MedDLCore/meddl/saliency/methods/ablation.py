"""Ablation: how far the answer falls without one structure, or without one small part of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from meddl.saliency.forward import PROBES, quicker
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer

SUPERVOXELS = 100
"""About how many parts an image is cut into where no structures are given."""

_MANY = 16
"""Regions from which on another engine may pay."""


class Ablation(Method):
    """Fall of the score with each region replaced by the baseline (captum's feature ablation).

    Regions are the structures that are given ("what if the left kidney were not there"), or supervoxels (SLIC, Achanta
    et al. 2012). A region's fall is spread evenly over its voxels, so that the map adds up to it, and big regions do
    not count more than small ones with the same effect; the falls themselves are among the facts.
    """

    id: ClassVar[str] = "ablation"
    title: ClassVar[str] = "Ablation of regions"
    source: ClassVar[str] = "Kokhlikyan et al. 2020, arXiv:2009.07896; Achanta et al. 2012, doi:10.1109/TPAMI.2012.120"
    uses_gradients: ClassVar[bool] = False

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import captum.attr
        import torch

        from meddl.saliency.memory import keep_budget

        keep_budget(work.options)
        image = plain(image, scorer)
        notes: list[str] = []
        given = work.regions is not None and bool((work.regions > 0).any())
        if work.regions is not None and not given:
            notes.append("No structure lies in what the network sees here, so supervoxels were taken away instead.")
        regions = work.regions.int().cpu() if given and work.regions is not None else supervoxels(image, work)
        known, numbers = torch.unique(regions, return_inverse=True)
        numbers, baseline = numbers.int()[None, None].to(image.device), baseline_of(image, work)
        with running(scorer, work, len(known) + 1, f"{self.title}: {len(known)} regions") as module:
            if len(known) >= _MANY:
                change = (image - baseline).abs().sum(dim=1).flatten().cpu()
                most = torch.bincount(numbers.flatten().cpu(), change).topk(PROBES).indices.tolist()
                probes = torch.cat([image, *(torch.where(numbers == each, baseline, image) for each in most)])
                quicker(scorer, probes, len(known), work)
            values = captum.attr.FeatureAblation(module).attribute(image, baseline, feature_mask=numbers)
        values = values.detach()[:, :1].cpu()
        falls, spread = {}, torch.zeros_like(values)
        for region in known.tolist():
            inside = (regions == region)[None, None]
            falls[region] = float(values[inside][0])
            # 0 is what belongs to no structure: it is told, but a map of "everything else" says nothing.
            if region != 0:
                spread[inside] = falls[region] / int(inside.sum())
        facts = {
            "regions": "structures" if given else "supervoxels",
            "baseline": work.options.baseline,
            "runs": len(known) + 1,
            "engine": getattr(scorer.engine, "name", "torch"),
            "falls": {str(region): fall for region, fall in falls.items()},
        }
        return RawAttribution(finished(spread, self.title), facts, tuple(notes))


def supervoxels(image: torch.Tensor, work: Work) -> torch.Tensor:
    """Return ``(i, j, k)`` numbers from 1 on of parts of ``image`` ``(1, C, i, j, k)`` that look alike inside."""
    import torch
    from skimage.segmentation import slic

    array = image[0].cpu().numpy()
    low, high = array.min(axis=(1, 2, 3), keepdims=True), array.max(axis=(1, 2, 3), keepdims=True)
    array = (array - low) / np.maximum(high - low, 1e-12)
    extent = np.array(array.shape[1:]) * np.array(work.spacing_mm)
    count = SUPERVOXELS
    if work.options.block_mm:
        count = max(2, round(float(np.prod(np.ceil(extent / work.options.block_mm)))))
    labels = slic(
        array, count, compactness=0.1, spacing=work.spacing_mm, channel_axis=0, start_label=1, convert2lab=False
    )
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int32))
