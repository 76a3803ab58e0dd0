"""Explaining one answer of a model: from an image to maps on the image's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, OutOfMemory, UsageError
from meddl.inference.prediction import Prediction
from meddl.jobs.progress import part_of
from meddl.saliency.attribution import Attribution, Measure
from meddl.saliency.estimate import about, estimate, remember, share_of_method
from meddl.saliency.explanation import Explanation
from meddl.saliency.methods.method import Method, Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.target import Target, slice_of, unexplainable
from meddl.saliency.view import View
from meddl.saliency.windows import with_slices
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    import torch

    from meddl.inference import Predictor
    from meddl.inference.stage import Prepared
    from meddl.models import ModelBundle, TrustStore

_ONLY_STRUCTURES = (
    "Only the structures were taken away, so that this map lies in them, as far as the network's grid shows them: "
    "shares compare them with one another, not with the rest of the image."
)
_ALL_ALIKE = "This method shows all places that look to the network like the one that is explained, not that one alone."
_ONE_CHECKED = "The checks looked only at the window with most of what was explained: {percent:.3g}% of it."
_BLIND_TO_PLACE = ("gradcam", "gradcam_pp")

Progress = Callable[[float, str], None]
Segmentation = tuple[Volume, tuple[Segment, ...]]


class Explainer:
    """A model that is loaded once, and asked why.

    Args:
        bundle: the model.
        options: of the methods.
        trust: where the user's consents are kept.

    Raises:
        ModelError: the model's answers cannot be explained here.
        UntrustedModelError: it would run code that the user has not consented to.
    """

    def __init__(
        self, bundle: ModelBundle, options: ExplainOptions | None = None, trust: TrustStore | None = None
    ) -> None:
        from meddl.inference import Predictor, RunOptions

        if reason := unexplainable(bundle):
            raise ModelError(reason)
        self.bundle = bundle
        self.options = options or ExplainOptions()
        # Gradients ask for PyTorch itself, in full precision.
        run = RunOptions(device=self.options.device, precision="float32", engine="torch", skip_air=False)
        self.predictor: Predictor = Predictor(bundle, run, trust)

    def explain(
        self,
        images: Volume | Sequence[Volume],
        methods: Sequence[str],
        target: Target | None = None,
        *,
        options: ExplainOptions | None = None,
        reference: Volume | None = None,
        segmentation: Segmentation | None = None,
        truth: Volume | None = None,
        faithfulness: Sequence[str] = (),
        counterfactual: bool = False,
        lenient: bool = False,
        progress: Progress = lambda fraction, text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Explanation:
        """Run the model on an image and explain one number of its answer.

        Args:
            images: ``(C, I, J, K)``; several are the model's input channels in order.
            methods: ids of :data:`meddl.saliency.methods.known.METHODS`.
            target: what to explain; by default what the model is surest of, or has found most of.
            options: other ones than the explainer was made with; the device stays.
            reference: image of the same region for the baseline "reference", for instance a healthy one.
            segmentation: labels ``(L, I, J, K)`` on any grid with their segments: the shares of each are told, and
                "ablation" takes them away one by one.
            truth: ``(1, I, J, K)`` mask on any grid: where the evidence should lie.
            faithfulness: ids of :data:`meddl.saliency.faithfulness.known.MEASURES`.
            counterfactual: paint each structure of ``segmentation`` over with its surroundings and ask the model again.
            lenient: leave out methods that turn out not to work on this image, as long as one does.

        Raises:
            UsageError: there is no such method, measure or target, or the method cannot work on this model.
            JobCancelled: on request.
        """
        import torch

        from meddl.saliency.asking import question_of
        from meddl.saliency.methods.known import make_method
        from meddl.saliency.placing import Structures, grid_of, mask_on, reference_on

        if counterfactual and segmentation is None:
            raise UsageError("What would be without which structures? Give a segmentation that has them.")
        options = replace(options or self.options, device=self.options.device)
        chosen = [make_method(each) for each in methods]
        if not chosen:
            raise UsageError("No method was chosen.")
        if options.baseline == "reference" and reference is None:
            raise UsageError("The baseline is a reference image, but none was given. Choose one, or another baseline.")
        seconds = about(estimate(self.bundle, methods, faithfulness, options))
        progress(0.0, f"Asking the model ({seconds} in all, going by the last time)" if seconds else "Asking the model")
        prediction = self.predictor.predict(images, progress=part_of(progress, 0.0, 0.07), cancelled=cancelled)
        slice_index = slice_of(target, prediction)
        image, prepared = self.predictor.prepared(images, cancelled, slice_index=slice_index)
        stage = self.predictor.stages[-1]
        question = question_of(
            target, prediction, self.bundle, prepared, self.predictor, self.slice_axis, cancelled,
            part_of(progress, 0.07, 0.1),
        )  # fmt: skip
        work = Work(options, _spacing(prepared), progress=progress, cancelled=cancelled)
        grid = grid_of(prepared)
        structures = Structures(*segmentation, grid) if segmentation is not None else None
        mask = torch.from_numpy(mask_on(truth, grid).astype(np.float32)) if truth is not None else None
        baseline: torch.Tensor | None = None
        if options.baseline == "reference" and reference is not None:
            baseline = reference_on(reference, image, prepared, self.predictor, slice_index)
        view = View(
            stage.network, with_slices(stage.executor.rule), self.slice_axis, self.predictor.device, prepared,
            question, baseline, structures, mask, self.bundle.digest,
        )  # fmt: skip
        torch.manual_seed(options.seed)
        attributions: list[Attribution] = []
        left_out: dict[str, str] = {}
        for number, method in enumerate(chosen):
            low, high = 0.1 + 0.85 * number / len(chosen), 0.1 + 0.85 * (number + 1) / len(chosen)
            part = replace(work, progress=part_of(progress, low, high))
            try:
                made = self._attribution(method, view, part, image, prediction, segmentation, faithfulness)
            except (ModelError, UsageError, OutOfMemory) as error:
                if not lenient or (number == len(chosen) - 1 and not attributions):
                    raise
                left_out[method.id] = error.message
            else:
                attributions.append(made)
        agreement: tuple[Measure, ...] = ()
        if len(attributions) > 1:
            from meddl.saliency.faithfulness.agreement import agreement as agree

            agreement = agree(attributions)
        without: tuple[Measure, ...] = ()
        if counterfactual:
            progress(0.95, "Asking what would be without each structure")
            without = view.counterfactuals(replace(work, progress=part_of(progress, 0.95, 1.0)))
        progress(1.0, "Explained")
        return Explanation(prediction, tuple(attributions), agreement, without, left_out)

    def offered(self) -> dict[str, str]:
        """Return, by method, why it cannot work on this model, in a sentence; "" if it can."""
        from meddl.saliency.offered import offered

        stage = self.predictor.stages[-1]
        rule = with_slices(stage.executor.rule)
        return offered(self.bundle, stage.network, rule, self.slice_axis, self.predictor.device)

    @property
    def slice_axis(self) -> int | None:
        """Axis of the prepared image that the network does not see, or None."""
        stage = self.predictor.stages[-1]
        rule = stage.executor.rule
        return 2 if stage.flat else rule.slice_axis if rule is not None else None

    def _attribution(
        self,
        method: Method,
        view: View,
        work: Work,
        image: Volume,
        prediction: Prediction,
        segmentation: Segmentation | None,
        faithfulness: Sequence[str],
    ) -> Attribution:
        from meddl.inference.restore import restore_values

        begin = time.perf_counter()
        middle = share_of_method(method.id, faithfulness, work.options)
        raw, first, score = view.attribute(method, replace(work, progress=part_of(work.progress, 0.0, middle)))
        values = restore_values(raw.values, view.prepared.affine, image.grid)
        total = values.sum(axis=0, keepdims=True)
        facts = {**raw.facts, "seconds": round(time.perf_counter() - begin, 3)}
        remember(
            self.bundle,
            str(self.predictor.device).split(":")[0],
            method.id,
            work.options,
            facts,
            prediction.provenance["times_s"]["total"],
        )
        notes = list(raw.notes)
        if method.id in _BLIND_TO_PLACE and view.question.of_one_place:
            notes.append(_ALL_ALIKE)
        if faithfulness and len(view.windows) > 1:
            notes.append(_ONE_CHECKED.format(percent=100 * view.windows[0].share))
        if segmentation is not None and raw.facts.get("regions") == "structures":
            notes.append(_ONLY_STRUCTURES)
        made = Attribution(
            method.id,
            Volume(total, image.affine),
            view.question.words,
            score,
            method.signed,
            Volume(values, image.affine) if values.shape[0] > 1 else None,
            facts,
            tuple(notes),
            view.measures(method, first, replace(work, progress=part_of(work.progress, middle, 1.0)), faithfulness),
            provenance={**prediction.provenance, "explanation": {"method": method.id, **work.options.to_dict()}},
        )
        if segmentation is not None:
            from meddl.saliency.anatomy import anatomy_shares

            made = replace(made, anatomy=anatomy_shares(made.map, *segmentation))
        return made


def explain(
    bundle: ModelBundle,
    images: Volume | Sequence[Volume],
    methods: Sequence[str],
    target: Target | None = None,
    options: ExplainOptions | None = None,
    *,
    trust: TrustStore | None = None,
    **more: Any,
) -> Explanation:
    """Run a model and explain its answer; see :meth:`Explainer.explain`.

    Example:
        >>> from meddl.models import resolve_model
        >>> from meddl.saliency import explain
        >>> why = explain(resolve_model("brain_extraction"), head, ["integrated_gradients"])  # doctest: +SKIP
    """
    return Explainer(bundle, options, trust).explain(images, methods, target, **more)


def _spacing(prepared: Prepared) -> tuple[float, float, float]:
    lengths = np.linalg.norm(prepared.affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


__all__ = ["Explainer", "Explanation", "explain", "unexplainable"]
