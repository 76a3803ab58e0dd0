"""Jobs around generators, as a panel runs them in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, UsageError
from meddl.jobs import JobContext
from meddl.synthesis.time_limit import TimeLimit, in_time
from meddl.volume import Grid, Volume

if TYPE_CHECKING:
    from meddl.datasets.manifest import Manifest
    from meddl.synthesis.lesions import LesionExample
    from meddl.synthesis.synthesizer import Synthesizer
    from meddl.synthesis.synthetic import Synthetic
    from meddl.volume import Segment

DESCRIBE_DATASET = "meddl.synthesis.task:describe_dataset"
TRAIN_SYNTHESIZER = "meddl.synthesis.task:train_synthesizer"
SAMPLE_SYNTHESIZER = "meddl.synthesis.task:sample_synthesizer"
INSERT_LESION = "meddl.synthesis.task:insert_lesions"
ADD_SYNTHETIC = "meddl.synthesis.task:add_synthetic"
JUDGE_SYNTHESIZER = "meddl.synthesis.task:judge_synthesizer"


def describe_dataset(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Look at a dataset's manifest; no image is read.

    Args:
        params: ``root``, the folder of a dataset that MedDL has exported.
        context: nothing is told: it takes a moment.

    Returns:
        ``name``, ``task``, ``channels`` and ``structures`` (names), ``complete``, and how many ``cases`` and
        ``patients`` (both by part: "train", "validation", "test") are real and how many cases are ``synthetic``.

    Raises:
        UsageError: there is no such dataset.
    """
    manifest = _manifest(Path(params["root"]))
    plan, done = manifest.plan, manifest.done()
    real = [record.case for record in done if not record.case.source]
    parts = ("train", "validation", "test")
    return {
        "name": plan.options.name,
        "task": plan.task,
        "channels": list(plan.channels),
        "structures": [each.name for each in plan.scheme.structures] if plan.scheme is not None else [],
        "complete": manifest.complete,
        "cases": {part: sum(case.split == part for case in real) for part in parts},
        "patients": {part: len({case.patient for case in real if case.split == part}) for part in parts},
        "synthetic": len(done) - len(real),
    }


def train_synthesizer(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Train a generator on a dataset, or go on with a training.

    Args:
        params: ``dataset`` and ``output`` (folders), ``config`` (:meth:`SynthesisConfig.to_dict`), and if wanted
            ``name`` (of the generator) and ``minutes`` (0: no limit): after so many, what is trained so far is kept.
        context: progress with every step.

    Returns:
        ``bundle`` (folder), ``steps`` (trained so far), ``seconds``, ``ended`` ("steps" or "minutes") and ``notes``.

    Raises:
        UsageError: the dataset or settings make no training; or the time was too short for a generator to come of it.
        JobCancelled: on request; a generator is there as soon as there was a checkpoint.
    """
    from meddl.synthesis.config import SynthesisConfig
    from meddl.synthesis.training import train

    output = Path(params["output"])
    limit = TimeLimit(float(params.get("minutes") or 0.0), context.cancelled)
    try:
        trained = train(
            Path(params["dataset"]),
            SynthesisConfig.from_dict(params["config"]),
            output,
            name=str(params.get("name", "")),
            progress=context.progress,
            cancelled=limit.is_over,
            log=context.log,
        )
    except JobCancelled:
        if context.cancelled() or not limit.passed:
            raise
        if not (output / "configs" / "metadata.json").is_file():
            raise UsageError(
                f"In {params['minutes']:g} minutes the training came to no checkpoint. Give it more time, or let it "
                "make checkpoints more often."
            ) from None
        steps = _steps_of(output)
        return {"bundle": output, "steps": steps, "seconds": limit.elapsed, "ended": "minutes", "notes": []}
    done = {"bundle": trained.bundle, "steps": trained.steps, "seconds": trained.seconds, "ended": "steps"}
    return {**done, "notes": list(trained.notes)}


def sample_synthesizer(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Make images.

    Args:
        params: ``model`` (id or folder), ``count``, ``seed``, and for a conditioned generator ``labels`` (volume) with
            ``segments`` (dicts of :class:`meddl.volume.Segment`) and, where the images shall be on another grid than
            the labels, ``grid`` (``shape`` and ``affine``); if wanted ``steps`` and ``size`` (:class:`Sampling`),
            ``minutes`` (0: no limit), ``device`` and ``trust_file``.
        context: progress, cancel, and the cache that keeps the generator for the next images.

    Returns:
        ``made``: for each image ``image``, ``labels`` (volume or None), ``segments`` and ``facts``; and ``notes``.
    """
    synthesizer = _synthesizer(params, context)
    labels, grid = params.get("labels"), params.get("grid")
    if grid:
        labels = _on_grid(labels, Grid(tuple(grid["shape"]), grid["affine"]))
    made = in_time(
        float(params.get("minutes") or 0.0),
        lambda over: synthesizer.sample(
            int(params.get("count", 1)),
            seed=int(params.get("seed", 0)),
            labels=labels,
            segments=_segments(params),
            progress=context.progress,
            cancelled=over,
        ),
        context.cancelled,
    )
    return {"made": [_plain(each) for each in made], "notes": list(synthesizer.notes)}


def insert_lesions(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Put lesions into an image.

    Args:
        params: ``image`` (volume), ``options`` (the fields of :class:`meddl.synthesis.lesions.LesionOptions`), and if
            wanted ``labels`` (volume on any grid) with ``segments``, ``example`` of a real lesion (``image``,
            ``labels``, and ``segment``, the dict of the lesion's), ``model`` (a conditioned generator) with ``device``
            and ``trust_file``, and ``key``.
        context: progress and cancel.

    Returns:
        ``made``: one entry as of :func:`sample_synthesizer`, whose labels hold the lesions; and ``notes``.
    """
    from meddl.synthesis.lesions import LesionOptions, insert_lesion

    options = dict(params["options"])
    if "volume_ml" in options:
        options["volume_ml"] = tuple(options["volume_ml"])
    image = params["image"]
    made = insert_lesion(
        image,
        _on_grid(params.get("labels"), image.grid),
        _segments(params),
        LesionOptions(**options),
        example=_example(params.get("example")),
        synthesizer=_synthesizer(params, context) if params.get("model") else None,
        key=str(params.get("key", "")),
        progress=context.progress,
        cancelled=context.cancelled,
    )
    return {"made": [_plain(made)], "notes": list(made.facts.get("notes", ()))}


def add_synthetic(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Add generated cases to a dataset's training part.

    Args:
        params: ``root`` (folder), ``model`` (id or folder), ``count`` (for each training case), ``seed``, and if wanted
            ``plan`` (preset or file that moves the label maps; "" for none), ``device`` and ``trust_file``.
        context: progress, cancel, log.

    Returns:
        ``summary``: :meth:`meddl.augmentation.variants.VariantSummary.to_dict`.
    """
    from meddl.augmentation import load_plan
    from meddl.synthesis.adding import SynthesisOptions, add_synthetic_cases

    plan = load_plan(str(params["plan"])) if params.get("plan") else None
    options = SynthesisOptions(int(params.get("count", 1)), int(params.get("seed", 0)), plan)
    summary = add_synthetic_cases(
        Path(params["root"]),
        _synthesizer(params, context),
        options,
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
    )
    return {"summary": summary.to_dict()}


def judge_synthesizer(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Judge a generator by the dataset it learned from, and write the report.

    Args:
        params: ``dataset`` (folder), ``model`` (id or folder), ``options`` (:meth:`JudgeOptions.to_dict`), ``output``
            (folder of the report), and if wanted ``trust_file``.
        context: progress, cancel, log.

    Returns:
        ``judgement`` (:meth:`Judgement.to_dict`) and ``files``, the report first.
    """
    from meddl.synthesis.judgement import JudgeOptions, judge
    from meddl.synthesis.judgement_report import check_report_folder, write_report

    check_report_folder(Path(params["output"]))
    options = JudgeOptions.from_dict(params.get("options") or {})
    judgement = judge(
        Path(params["dataset"]),
        _synthesizer({**params, "device": options.device}, context),
        options,
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
    )
    files = write_report(judgement, Path(params["output"]))
    return {"judgement": judgement.to_dict(), "files": list(files)}


def _steps_of(bundle: Path) -> int:
    from meddl.models import ModelBundle
    from meddl.models.metadata_values import own_part
    from meddl.synthesis.facts import SynthesisFacts

    facts = SynthesisFacts.from_metadata(own_part(ModelBundle.open(bundle).metadata, "synthesis"))
    return int(facts.trained_on.get("steps", 0))


def _manifest(root: Path) -> Manifest:
    from meddl.datasets.manifest import read_manifest

    try:
        manifest = read_manifest(root) if root.is_dir() else None
    except OSError:  # its name is too long, or nobody may look there
        manifest = None
    if manifest is None:
        raise UsageError("This folder holds no dataset that MedDL has exported. Export one first (MedDL Export).")
    return manifest


def _synthesizer(params: Mapping[str, Any], context: JobContext) -> Synthesizer:
    from meddl.models import TrustStore, resolve_model
    from meddl.synthesis.sampling import Sampling
    from meddl.synthesis.synthesizer import Synthesizer

    bundle = resolve_model(str(params["model"]))
    trust_file = params.get("trust_file")
    trust = TrustStore(Path(trust_file)) if trust_file else TrustStore()
    device = str(params.get("device") or "auto")
    # As of a prediction: a model that changed on disk, or lost its trust, is never served from the cache.
    sampling = Sampling(int(params.get("steps") or 0), tuple(params.get("size") or ()))
    key = ("synthesizer", bundle.path, bundle.digest, trust.is_trusted(bundle), device, sampling)
    return context.cache.get_or_create(key, lambda: Synthesizer(bundle, trust=trust, device=device, sampling=sampling))


def _example(given: Mapping[str, Any] | None) -> LesionExample | None:
    from meddl.synthesis.lesions import LesionExample

    if given is None:
        return None
    image, segment = given["image"], given["segment"]
    labels = _on_grid(given["labels"], image.grid)
    mask = (labels.array[segment["layer"]] == segment["label"]).astype(np.uint8)
    return LesionExample(image, Volume(mask[None], image.affine), str(segment["name"]))


def _on_grid(labels: Any, grid: Grid) -> Any:
    """Return labels on another grid: where they do not reach, there is background."""
    from meddl.volume import resample_to

    if labels is None or labels.grid.same_as(grid):
        return labels
    return resample_to(labels, grid, interpolation="nearest")


def _segments(params: Mapping[str, Any]) -> tuple[Segment, ...]:
    from meddl.volume import Segment

    listed = params.get("segments") or ()
    return tuple(Segment(**{**each, "color": tuple(each["color"])}) for each in listed)


def _plain(made: Synthetic | Any) -> dict[str, Any]:
    """Return what was made as a job's result carries it."""
    return {
        "image": made.image,
        "labels": made.labels,
        "segments": [asdict(each) for each in made.segments],
        "facts": dict(made.facts),
    }
