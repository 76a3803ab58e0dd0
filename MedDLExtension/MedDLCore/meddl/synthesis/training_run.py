"""A training from where it is to its last step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, JobError
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.examples import Examples
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.history import EVERY, History

if TYPE_CHECKING:
    import torch

    from meddl.networks.generation import GeneratorNetwork
    from meddl.synthesis.batches import Batches
    from meddl.synthesis.checkpoint import TrainingFolder
    from meddl.synthesis.trainer import Trainer

Progress = Callable[[float, str], None]
_SHOWN = 6
_FEW_PEOPLE, _FEW_EXAMPLES = 20, 200


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        bundle: the folder of the model.
        steps: that it has learned for, over all calls.
        seconds: that they took.
        history: the losses.
        notes: what the user should know, in sentences.
    """

    bundle: Path
    steps: int
    seconds: float
    history: History
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        rows = [[step, *losses, seconds] for step, losses, seconds in self.history.rows]
        history = {"columns": list(self.history.columns), "rows": rows}
        return {**vars(self), "history": history, "notes": list(self.notes)}


class Run:
    """One training.

    Args:
        examples: to learn from.
        config: of the training.
        facts: of the generator that comes out; how many steps it learned for is added.
        folder: where it is written; begun already.
        name: of the model, for people.
        license: of the data.
        device: that it learns on.
    """

    def __init__(
        self,
        examples: Examples,
        config: SynthesisConfig,
        facts: SynthesisFacts,
        folder: TrainingFolder,
        name: str,
        license: str,
        device: torch.device,
    ) -> None:
        import torch

        from meddl.synthesis.batches import Batches, seed_of_step
        from meddl.synthesis.networks import make_network, network_config
        from meddl.synthesis.trainers import make_trainer

        self._examples, self._config, self._facts = examples, config, facts
        self._folder, self._name, self._license, self._device = folder, name, license, device
        torch.manual_seed(seed_of_step(config, -1))
        labels = max(facts.labels) + 1 if facts.conditioned else 0
        self._definition = network_config(config, labels, facts.low, facts.high)
        self._network: GeneratorNetwork = make_network(self._definition).to(device)
        self._trainer: Trainer = make_trainer(config, self._network)
        self._batches: Batches = Batches(examples, config)
        self._steps = folder.restore(self._trainer, device)
        self._history = folder.history(self._trainer.columns, self._steps)
        self._before = self._history.seconds
        self._started = time.monotonic()

    def go(self, progress: Progress, cancelled: Callable[[], bool], log: Callable[[str], None]) -> Trained:
        """Go on from the last checkpoint to the last step.

        Raises:
            ModelError: the folder cannot be written to.
            JobError: the losses are no numbers any more.
            JobCancelled: on request.
        """
        import torch

        from meddl.synthesis.batches import seed_of_step

        config, first = self._config, self._steps
        sums = dict.fromkeys(self._trainer.columns, 0.0)
        counted = 0
        while self._steps < config.steps:
            if cancelled():
                raise JobCancelled(
                    "The training was cancelled. " + self._left("Start it again with the same settings to go on.")
                )
            images, labels = self._batches.batch(self._steps)
            torch.manual_seed(seed_of_step(config, self._steps))
            conditions = self._conditions(labels)
            losses = self._trainer.step(images.to(self._device), conditions)
            if not all(map(math.isfinite, losses.values())):
                raise JobError(
                    f"The training lost its way at step {self._steps + 1}: its losses are no numbers any more. "
                    + self._left("Begin anew with a lower learning rate.")
                )
            self._steps += 1
            counted += 1
            sums = {name: sums[name] + losses[name] for name in sums}
            last = self._steps == config.steps
            save = last or self._steps % config.checkpoint_every == 0
            # Also with each checkpoint, so that the next row is the same after a restart.
            if save or self._steps % EVERY == 0:
                mean = {name: total / counted for name, total in sums.items()}
                self._history = self._history.with_row(self._steps, mean, self._seconds)
                self._folder.save_history(self._history)
                sums, counted = dict.fromkeys(sums, 0.0), 0
                log(f"step {self._steps}: {_in_words(mean, 4)}")
            if save:
                self._save()
            if last or self._steps % config.sample_every == 0:
                self._picture()
            progress(self._steps / config.steps, self._told(first))
        return Trained(self._folder.path, self._steps, self._history.seconds, self._history, self._notes())

    def _conditions(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        from meddl.networks.labels_to_image import LabelsToImage

        if labels is None or not isinstance(self._network, LabelsToImage):
            return None
        return self._network.conditions(labels.to(self._device))

    @property
    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _save(self) -> None:
        from meddl.synthesis.bundle_writing import WEIGHTS, in_json, inference_config, metadata_of, readme_of, weights

        told = {**self._facts.trained_on, "steps": self._steps}
        facts = replace(self._facts, trained_on=told)
        metadata = metadata_of(self._config, facts, self._name, self._license)
        # The weights first: what has configs is a whole bundle.
        self._folder.write(WEIGHTS, weights(self._trainer.averaged()))
        self._folder.write("docs/README.md", readme_of(metadata, facts).encode())
        self._folder.write("configs/inference.json", in_json(inference_config(self._config, facts, self._definition)))
        self._folder.write("configs/metadata.json", in_json(metadata))
        self._folder.save({**self._trainer.state(), "steps": self._steps})

    def _picture(self) -> None:
        import torch

        from meddl.synthesis.checkpoint import SAMPLES
        from meddl.synthesis.samples_picture import samples_picture

        count = min(_SHOWN, len(self._examples))
        shown = [int(index) for index in (np.arange(count) + 0.5) * len(self._examples) / count]
        real = np.stack([self._examples.images[index, 0] for index in shown])
        known = self._examples.labels if self._config.conditioned else None
        labels = None if known is None else np.stack([known[index] for index in shown])
        learned = {name: value.clone() for name, value in self._network.state_dict().items()}
        with torch.inference_mode():
            self._network.load_state_dict(self._trainer.averaged())
            noise = self._network.noise(count, torch.Generator().manual_seed(self._config.seed)).to(self._device)
            shown_labels = None if labels is None else torch.from_numpy(labels.astype(np.float32))[:, None]
            made = self._network.eval().made(noise, self._conditions(shown_labels))[:, 0].cpu().numpy()
            self._network.load_state_dict(learned)
        picture = samples_picture(labels, real, made, self._config.dimensions)
        self._folder.write(f"{SAMPLES}/step_{self._steps:06d}.png", picture)

    def _told(self, first: int) -> str:
        done, total = self._steps, self._config.steps
        left = (time.monotonic() - self._started) / (done - first) * (total - done)
        losses = self._history.rows[-1][1] if self._history.rows else ()
        shown = _in_words(dict(zip(self._history.columns, losses, strict=False)), 3)
        return f"Step {done} of {total}{', ' + shown if shown else ''}, {_duration(left)} left"

    def _left(self, now: str) -> str:
        stays = "The model of its last checkpoint stays. " if self._folder.has_bundle else "It had no checkpoint yet. "
        return stays + now

    def _notes(self) -> tuple[str, ...]:
        told, notes = self._facts.trained_on, []
        if told["patients"] < _FEW_PEOPLE:
            few = "1 person" if told["patients"] == 1 else f"{told['patients']} people"
            notes.append(
                f"It has learned from {few} only: it may well give their images back. Look at what judging it says "
                "before you share it."
            )
        if told["examples"] < _FEW_EXAMPLES:
            few = "1 example" if told["examples"] == 1 else f"{told['examples']} examples"
            notes.append(f"It has learned from {few} only, which is very little.")
        return tuple(notes)


def _in_words(losses: dict[str, float], digits: int) -> str:
    """Name losses; a discriminator may begin late, and has zeros until then, which tell nothing."""
    return ", ".join(f"{name} {value:.{digits}g}" for name, value in losses.items() if value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
