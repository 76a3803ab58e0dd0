"""An image as a network sees it, window by window, and what methods say of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.jobs.progress import part_of
from meddl.saliency.attribution import Measure
from meddl.saliency.estimate import about, measure_runs, method_runs, runs_taken
from meddl.saliency.facts import named, together
from meddl.saliency.memory import as_usual
from meddl.saliency.methods.method import Method, RawAttribution, Work

if TYPE_CHECKING:
    import torch

    from meddl.inference.sliding_window import WindowRule
    from meddl.inference.stage import Prepared
    from meddl.saliency.placing import Structures
    from meddl.saliency.question import Question
    from meddl.saliency.scorer import Scorer
    from meddl.saliency.windows import Window


class View:
    """One question about one prepared image, window by window.

    Args:
        network: of the model.
        rule: how the model cuts images into windows; None: not at all.
        slice_axis: axis of the image that the network does not see, or None.
        device: where it runs.
        prepared: the image as the network gets it.
        question: the number to explain.
        reference: ``(C, i, j, k)`` for the baseline "reference", or None.
        structures: what "ablation" takes away one by one, or None.
        truth: ``(i, j, k)`` where the evidence should lie, or None.
        digest: identifies the model in the cache of compiled ones; empty: nothing is kept on disk.
    """

    def __init__(
        self,
        network: Any,
        rule: WindowRule | None,
        slice_axis: int | None,
        device: Any,
        prepared: Prepared,
        question: Question,
        reference: torch.Tensor | None,
        structures: Structures | None,
        truth: torch.Tensor | None,
        digest: str = "",
    ) -> None:
        from meddl.saliency.windows import MOST_WINDOWS

        self.prepared, self.question = prepared, question
        self._network, self._rule, self._slice_axis, self._device = network, rule, slice_axis, device
        self._reference, self._structures, self._truth = reference, structures, truth
        self._digest = digest
        self._engine: Any = None  # of the first window, if a method has found one that pays
        self._regions = structures.regions() if structures is not None else None
        size = prepared.image.shape[1:]
        self.windows = question.windows(rule, (int(size[0]), int(size[1]), int(size[2])))[:MOST_WINDOWS]

    def attribute(self, method: Method, work: Work) -> tuple[RawAttribution, RawAttribution, float]:
        """Return the map on the prepared image's grid, that of the first window alone, and the number explained."""
        import torch

        image = self.prepared.image
        total: torch.Tensor | None = None
        first: RawAttribution | None = None
        score = added_up = 0.0
        told: list[Mapping[str, Any]] = []
        noted: list[tuple[str, ...]] = []
        for number, window in enumerate(self.windows):
            low, high = number / len(self.windows), (number + 1) / len(self.windows)
            part = self._work(window, replace(work, progress=part_of(work.progress, low, high)))
            scorer, cut = self.scorer(window), self._cut(image, window)
            if reason := method.unfit(scorer, cut):
                raise UsageError(f"{method.title} cannot explain this model: {reason}")
            begin = time.perf_counter()
            with torch.no_grad():
                score += float(scorer(cut)[0])
            if number == 0 and (runs := method_runs(method.id, work.options)):
                seconds = about((time.perf_counter() - begin) * runs * len(self.windows))
                part.step(0.0, f"{method.title}, {seconds}" if seconds else method.title)
            try:
                raw = method.attribute(scorer, cut, part)
            finally:
                as_usual()
            if number == 0:
                self._engine = scorer.engine or self._engine
            if not torch.isfinite(raw.values).all():
                raise ModelError(f"{method.title} gave values that are no numbers for this model and image.")
            if total is None:
                total = torch.zeros((raw.values.shape[0], *image.shape[1:]))
            window.add(raw.values.float().cpu(), total)
            added_up += float(raw.values.double().sum())
            told.append(raw.facts)
            noted.append(raw.notes)
            first = first or raw
        assert total is not None and first is not None
        facts, notes = together(told, noted, added_up)
        return self._told(total, facts, notes), first, score

    def _told(self, values: torch.Tensor, facts: Mapping[str, Any], notes: Sequence[str]) -> RawAttribution:
        """Return a map with what is to be known of it beside what the method knows."""
        share = sum(window.share for window in self.windows)
        structures = self._structures.names if self._structures is not None else ()
        edges = np.linalg.norm(self.prepared.affine[:3, :3], axis=0)
        known = {**named(facts, structures), "windows": len(self.windows), "share": round(share, 4)}
        known["voxel_mm"] = [round(float(edge), 3) for edge in edges]
        more = []
        if self._regions is not None and not bool((self._regions > 0).any()):
            more.append("No structure of the segmentation lies where the network looks.")
        more += notes
        if share < 0.999:
            more.append(f"Explained are the {len(self.windows)} windows with most of it: {share:.0%} of the whole.")
        return RawAttribution(values, known, tuple(more))

    def measures(self, method: Method, raw: RawAttribution, work: Work, names: Sequence[str]) -> tuple[Measure, ...]:
        """Return how far to believe a map, judged in the window with most of the target.

        Args:
            raw: the map of that window alone.
        """
        if not names:
            return ()
        from meddl.saliency.faithfulness.examined import Examined
        from meddl.saliency.faithfulness.known import MEASURES

        if unknown := [name for name in names if name not in MEASURES]:
            raise UsageError(f"There is no measure {unknown[0]!r}. Choose of: {', '.join(MEASURES)}.")
        window = self.windows[0]
        scorer = self.scorer(window)
        if not method.uses_gradients:
            scorer.engine = self._engine
        examined = Examined(
            scorer,
            self._cut(self.prepared.image, window),
            raw,
            method,
            self._work(window, work),
            window.cut(self._truth[None])[0, 0] > 0 if self._truth is not None else None,
        )
        runs = runs_taken(method.id, work.options, raw.facts)
        weights = [1 + measure_runs(name, runs) for name in names]
        made = []
        for number, name in enumerate(names):
            low, high = (sum(weights[:end]) / sum(weights) for end in (number, number + 1))
            part = replace(examined.work, progress=part_of(work.progress, low, high))
            made.append(MEASURES[name](replace(examined, work=part)))
        return tuple(made)

    def counterfactuals(self, work: Work) -> tuple[Measure, ...]:
        """Return what becomes of the score without each structure, in the window with most of the target."""
        import torch

        from meddl.saliency.counterfactual import counterfactuals

        window, structures = self.windows[0], self._structures
        assert structures is not None

        def masks() -> Iterator[tuple[str, torch.Tensor]]:
            for index, name in enumerate(structures.names):
                mask = torch.from_numpy(structures.mask(index).astype(np.float32))
                yield name, window.cut(mask[None])[0, 0] > 0

        scorer = self.scorer(window)
        scorer.engine = self._engine
        return counterfactuals(scorer, self._cut(self.prepared.image, window), masks(), work)

    def scorer(self, window: Window) -> Scorer:
        """Return the network, asked about the part of the target that a window answers for."""
        from meddl.saliency.scorer import Scorer

        return Scorer(
            self._network,
            self.question.pick(window),
            slice_axis=self._slice_axis,
            device=self._device,
            digest=self._digest,
        )

    def _cut(self, image: torch.Tensor, window: Window) -> torch.Tensor:
        rule = self._rule
        if rule is None:
            return window.cut(image)
        return window.cut(image, rule.padding_mode, rule.cval)

    def _work(self, window: Window, work: Work) -> Work:
        from meddl.saliency.baselines import make_baseline

        cut = self._cut(self.prepared.image, window)
        reference = self._cut(self._reference, window) if self._reference is not None else None
        regions = window.cut(self._regions[None].float())[0, 0].long() if self._regions is not None else None
        return replace(work, baseline=make_baseline(cut, work.options, reference), regions=regions)
