"""Occlusion: how far the answer falls when a block of the image is covered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from meddl.saliency.methods.blocks import Blocks, block_edges
from meddl.saliency.methods.figures import sentences
from meddl.saliency.methods.integrated import baseline_of
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.running import finished, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


class Occlusion(Method):
    """Fall of the score with each block covered by the baseline (Zeiler and Fergus 2014, arXiv:1311.2901).

    Gives the map of captum's ``Occlusion`` with blocks side by side, in a fraction of its runs:

    - Blocks that look the same when covered, above all air, change nothing and are left out.
    - Several covered images go through the network at once; where many are left to measure, in the quicker of two ways
      that pays and whose scores agree: only what a block reaches is computed, or OpenVINO runs the network.
    - Where there are many blocks, a random sample is covered one by one, and the effect of all is estimated: from the
      gradient on the way to covering them, or, where there are no gradients, by covering big blocks first and looking
      into those that matter. If the estimates are in the order of the sample, only those that promise most are covered
      one by one, too; if not, all are.

    The value of a voxel is the effect of its block, as measured or estimated.
    """

    id: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "Zeiler and Fergus 2014, arXiv:1311.2901"
    uses_gradients: ClassVar[bool] = False

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        from meddl.saliency.forward import quicker
        from meddl.saliency.methods.covering import Trial, images_at_once, images_in_line

        image = plain(image, scorer)
        blocks = Blocks(image, baseline_of(image, work), *block_edges(image, work))
        at_once = images_at_once(scorer, image, work.options)
        trial: Trial | None = None

        def hurry(probes: torch.Tensor, runs: int, together: int) -> int:
            if quicker(scorer, probes, runs, work, together):
                return 0
            return images_in_line(image, together) if scorer.engine.name == "openvino" else together

        def share() -> float:
            return trial.runs / trial.runs_in_all if trial is not None else 0.0

        text = f"{self.title}: {len(blocks.live)} blocks"
        with _channels_last(scorer), running(scorer, work, share, text) as module:
            trial = Trial(module, blocks, *at_once, hurry)
            facts = trial.all_effects(work.options.seed)
        values = blocks.painted(trial.effects)
        facts |= {"baseline": work.options.baseline, "block_voxels": list(blocks.edges)}
        facts["engine"] = getattr(scorer.engine, "name", "torch")
        return RawAttribution(finished(values, self.title), facts, sentences(facts))


@contextmanager
def _channels_last(scorer: Scorer) -> Iterator[None]:
    """Let a network for slices keep channels as the last axis for a while: that is faster on a processor."""
    import torch

    network = scorer.network
    suits = isinstance(network, torch.nn.Module) and not isinstance(network, torch.jit.ScriptModule)
    if scorer.slice_axis is None or not suits or torch.device(scorer.device).type != "cpu":
        yield
        return
    network.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)


__all__ = ["Occlusion", "block_edges"]
