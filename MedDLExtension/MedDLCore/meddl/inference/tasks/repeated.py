"""The same image asked about several times, for segmentation and classification: the mean answer and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from meddl.errors import ModelError
from meddl.inference.prediction import Uncertainty
from meddl.inference.restore import restore_values
from meddl.inference.run import Run
from meddl.inference.stage import Prepared, Stage
from meddl.inference.tasks.input_image import first_axis_fastest
from meddl.inference.uncertainty import (
    AugmentedPass,
    TestTimeAugmentation,
    UncertaintyAccumulator,
    class_sentence,
    dropout_passes,
    flip_axes_for,
    volume_sentence,
)
from meddl.inference.uncertainty.accumulator import Measure
from meddl.volume import Volume

if TYPE_CHECKING:
    import torch

    from meddl.volume import Segment


def repeated_segmentation(
    stage: Stage,
    prepared: Prepared,
    image: Volume,
    run: Run,
    measure: Measure,
    segments: Sequence[Segment],
    exclusive: bool,
) -> tuple[torch.Tensor, torch.Tensor, Uncertainty]:
    """Return the mean probabilities ``(C, i, j, k)`` on the prepared grid, what to decide the labels on, and what the
    passes say together.

    Labels are decided on the mean probabilities; those of folds on the mean of their scores, which is the model's
    answer without any uncertainty: asking how sure it is must not change it.

    Args:
        stage: the network.
        prepared: the image it gets.
        image: the input, on whose grid the entropy is told.
        run: with the options ``uncertainty``, ``passes`` and ``seed``.
        measure: milliliters by structure of one pass's probabilities.
        segments: what the channels mean.
        exclusive: channels compete (softmax); otherwise structures may overlap.
    """
    by_fold = run.options.uncertainty == "folds"
    decided: torch.Tensor | None = None
    total: torch.Tensor | None = None

    def measured(probabilities: torch.Tensor) -> Mapping[str, float]:
        return measure(probabilities if decided is None else decided)

    accumulator = UncertaintyAccumulator(measured, exclusive=exclusive)
    with _passes(stage, prepared, run) as (passes, how):
        for number, (augmented, begin) in enumerate(passes):
            begin()
            part = run.part(number / len(passes), (number + 1) / len(passes))
            shown = replace(prepared, image=augmented.apply(prepared.image) if augmented else prepared.image)
            text = f"Segmenting, run {number + 1} of {len(passes)}"
            with run.watch.step("network"):
                scores = stage.scores(shown, part.windows(0.0, 0.9, text), run.cancelled)
            probabilities = stage.post.probabilities(scores.array).float().cpu()
            if by_fold:
                raw = scores.array.float().cpu()
                decided = stage.post.activate(raw)
                total = raw.clone() if total is None else total.add_(raw)
            with run.watch.step("uncertainty"):
                if augmented:
                    accumulator.add(augmented.inverse(probabilities), seen=augmented.seen)
                else:
                    accumulator.add(probabilities)
    channels = _channels(segments, accumulator.mean.shape[0], exclusive)
    sentence = volume_sentence(accumulator, how, channels, threshold=stage.post.threshold)
    with run.watch.step("uncertainty"):
        entropy = first_axis_fastest(restore_values(accumulator.entropy()[None], prepared.affine, image.grid))
    run.note(sentence)
    intervals = {name: (round(low, 3), round(high, 3)) for name, (low, high) in accumulator.intervals().items()}
    told = Uncertainty(_method(run), accumulator.passes, image.with_array(entropy), intervals, sentence)
    if total is None:
        return accumulator.mean, accumulator.mean, told
    return accumulator.mean, stage.post.activate(total / accumulator.passes), told


def repeated_classification(
    stage: Stage,
    frames: Sequence[Prepared],
    run: Run,
    to_probabilities: Callable[[torch.Tensor], torch.Tensor],
    names: Callable[[int], Sequence[str]],
    exclusive: bool,
) -> tuple[torch.Tensor, Uncertainty]:
    """Return the mean probabilities ``(classes,)`` of an image, and what the passes say together."""

    def measure(probabilities: torch.Tensor) -> Mapping[str, float]:
        return dict(zip(names(len(probabilities)), probabilities.tolist(), strict=True))

    accumulator = UncertaintyAccumulator(measure, exclusive=exclusive)
    with _passes(stage, frames[0], run) as (passes, how):
        for number, (augmented, begin) in enumerate(passes):
            run.raise_if_cancelled()
            begin()
            run.tell(0.3 + 0.7 * number / len(passes), f"Classifying, run {number + 1} of {len(passes)}")
            shown = [replace(each, image=augmented.apply(each.image)) if augmented else each for each in frames]
            accumulator.add(to_probabilities(stage.forward(*shown)))
    sentence = class_sentence(accumulator, how)
    run.note(sentence)
    intervals = {name: (round(low, 6), round(high, 6)) for name, (low, high) in accumulator.intervals().items()}
    return accumulator.mean, Uncertainty(_method(run), accumulator.passes, None, intervals, sentence)


@contextmanager
def _passes(
    stage: Stage, prepared: Prepared, run: Run
) -> Iterator[tuple[list[tuple[AugmentedPass | None, Callable[[], None]]], str]]:
    """Yield the passes, each with what to do before it, and what they are called."""
    options = run.options
    if options.uncertainty == "dropout":
        with dropout_passes(stage.network, options.seed) as begin:

            def beginning(number: int) -> Callable[[], None]:
                return lambda: begin(number)

            yield [(None, beginning(number)) for number in range(options.passes)], "dropout"
        return
    if options.uncertainty == "folds":
        if stage.folds < 2:
            raise ModelError(
                f"The model '{stage.bundle.name}' has no folds to compare. Choose flipped and shifted images to see "
                "how sure it is."
            )
        run.parameters["folds"] = stage.folds

        def asking(number: int) -> Callable[[], None]:
            return lambda: stage.ask_fold(number)

        yield [(None, asking(number)) for number in range(stage.folds)], "folds"
        return
    shape = tuple(prepared.image.shape[1:])
    flips = flip_axes_for(stage.bundle, prepared.affine, 2 if stage.flat else 3)
    augmentation = TestTimeAugmentation(shape, options.passes, options.seed, flip_axes=flips.axes)
    if len(augmentation) < options.passes:
        run.note(f"The image is so small that only {len(augmentation)} different runs could be made of it.")
    run.parameters["flip_axes"] = list(flips.axes)
    yield [(each, _nothing) for each in augmentation], augmentation.text


def _method(run: Run) -> str:
    """Return what the answers are of: folds are an ensemble that comes as one model."""
    return "ensemble" if run.options.uncertainty == "folds" else run.options.uncertainty


def _nothing() -> None:
    pass


def _channels(segments: Sequence[Segment], count: int, exclusive: bool) -> dict[str, int]:
    """Return which channel of the probabilities each structure has."""
    if count == 1:
        return {segment.name: 0 for segment in segments[:1]}
    if not exclusive:
        return {segment.name: segment.layer for segment in segments if segment.layer < count}
    return {segment.name: segment.label for segment in segments if segment.label < count}
