"""Training a generator on a dataset: what comes out is a bundle, at every checkpoint anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.errors import UsageError
from meddl.jobs.progress import part_of
from meddl.models.metadata_values import printable
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.examples import Examples
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.training_run import Progress, Run, Trained

if TYPE_CHECKING:
    import torch

    from meddl.datasets.manifest import Manifest

__all__ = ["Trained", "facts_of", "train"]

_READING = 0.1


def train(
    dataset: Path,
    config: SynthesisConfig,
    output: Path,
    *,
    name: str = "",
    device: str = "auto",
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train a generator on the real training cases of a dataset and write it as a bundle.

    The process may be killed at any time: the folder then holds the bundle of the last checkpoint, and the same call
    goes on from there, on a processor to the same bytes as if it had never stopped. With more steps a finished training
    goes on.

    Args:
        dataset: that MedDL has exported.
        config: what is trained.
        output: the bundle's folder: empty, or that of the same training.
        name: of the model, for people; the folder's by default.
        device: "auto", "cpu", "cuda:0", ...
        progress: gets a fraction and a line of text.
        cancelled: asked before each step.
        log: gets a line for every few steps.

    Raises:
        UsageError: the dataset or the folder will not do.
        VolumeError: a case cannot be read.
        ModelError: the folder cannot be written to, or its checkpoint is damaged.
        JobError: the losses became numbers that are none; the last checkpoint stays.
        JobCancelled: on request; the last checkpoint stays.

    Example::

        trained = train(Path("heads"), SynthesisConfig("gan", steps=1200), Path("models/heads-gan"), log=print)
    """
    from meddl.inference.device import resolve_device
    from meddl.models.file_lock import locked
    from meddl.synthesis.checkpoint import LOCK, TrainingFolder
    from meddl.synthesis.reading import dataset_digest, manifest_of, read_examples

    where = resolve_device(device)
    manifest = manifest_of(Path(dataset))
    if Path(dataset).resolve() in Path(output).resolve().parents:
        raise UsageError("The model's folder would lie in the dataset, and go with it wherever that goes. Choose "
                         "another place for it.")  # fmt: skip
    folder = TrainingFolder(Path(output))
    folder.check_writable()
    with locked(folder.path / LOCK, cancelled):
        folder = TrainingFolder(Path(output))  # as whoever held the lock has left it
        name = printable(name or folder.name)
        threads = folder.begin(config, dataset_digest(manifest), name, _threads(config))
        examples = read_examples(Path(dataset), config, progress=part_of(progress, 0.0, _READING), cancelled=cancelled)
        facts = facts_of(examples, config, manifest)
        with _threads_set(threads), _own_chance(where):
            run = Run(examples, config, facts, folder, name, manifest.plan.options.license, where)
            return run.go(part_of(progress, _READING, 1.0), cancelled, log)


def facts_of(examples: Examples, config: SynthesisConfig, manifest: Manifest) -> SynthesisFacts:
    """Return what a bundle says of a generator that learns from ``examples`` of a dataset."""
    cases = {each.case for each in examples.sources}
    told = {
        "dataset": manifest.plan.options.name,
        "channel": config.channel or manifest.plan.channels[0],
        "cases": len(cases),
        "patients": examples.patients,
        "examples": len(examples),
        "steps": 0,
        # So that it is never used where these judge; who has not got the images can do nothing with it.
        "images_sha256": sorted(each.digest for each in manifest.plan.cases if each.name in cases),
    }
    return SynthesisFacts(
        kind=config.kind,
        conditioned=config.conditioned,
        size=config.size,
        spacing_mm=examples.spacing_mm,
        plane=config.plane,
        labels=dict(examples.names) if config.conditioned else {},
        low=examples.low,
        high=examples.high,
        modality=examples.modality,
        trained_on=told,
        where=config.where,
    )


_VOXELS_OF_A_THREAD = 1 << 17


def _threads(config: SynthesisConfig) -> int:
    """Return how many threads are worth their while for a step, at most as many as torch has.

    Those of a small step wait for each other more than they compute: on a busy machine two take 5 to 13 times as long
    as one. How busy it is does not count, or a training begun anew would come to other bytes.
    """
    import torch

    voxels = config.batch_size * math.prod(config.size)
    return max(1, min(torch.get_num_threads(), voxels // _VOXELS_OF_A_THREAD))


@contextmanager
def _threads_set(count: int) -> Iterator[None]:
    """Compute on ``count`` threads: sums in another order have other last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _own_chance(device: torch.device) -> Iterator[None]:
    """Leave torch's own chance to the caller as it was."""
    import torch

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
