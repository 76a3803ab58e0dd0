"""The generators one can choose: those of the catalog, those trained here and those the user has added."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

from meddl_slicer import model_choices
from meddl_slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.synthesis import SynthesisFacts
    from meddl.volume import Segment

#: Where the places of generators that cannot be run as models are kept between sessions.
_SETTING = "MedDL/OwnGenerators"
_MOST_NAMES = 8


@dataclass(frozen=True)
class GeneratorChoice:
    """A generator one can choose.

    Attributes:
        id: its name in the catalog, or where it is.
        facts: what it makes; None where that is not known.
        segments: what a label map for it may have.
        notes: what the user should know, in sentences.
        installed: whether it can be used at once; else ``sizeText`` would be downloaded.
        problem: why it cannot be used, or "".
    """

    id: str
    name: str
    facts: SynthesisFacts | None = None
    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()
    installed: bool = True
    sizeText: str = ""
    problem: str = ""
    bundle: ModelBundle | None = field(default=None, compare=False)

    @property
    def isConditioned(self) -> bool:
        """Whether it takes a label map."""
        return self.facts is not None and self.facts.conditioned


def available_generators() -> list[GeneratorChoice]:
    """Return the catalog's generators and the user's own, in this order."""
    found = [choice for each in model_choices.available_models() if (choice := _generator_among(each)) is not None]
    known = {choice.id for choice in found}
    return found + [own_generator(place) for place in _own_generators() if place not in known]


def own_generator(place: str) -> GeneratorChoice:
    """Return the generator at a place; one that cannot be used says why."""
    from meddl.errors import MedDLError
    from meddl.models import ModelBundle

    try:
        return _choice(place, ModelBundle.open(Path(place)))
    except MedDLError as error:
        name = _("{name} (cannot be used)").format(name=Path(place).name)
        return GeneratorChoice(place, name, problem=error.message)


def remember_generator(path: Path, is_ours: bool = False) -> GeneratorChoice:
    """Offer the generator at ``path`` from now on, here and, if it takes label maps, in the other panels, too.

    Args:
        is_ours: it was trained here, just now; its files need not be looked through.

    Raises:
        meddl.errors.ModelError: it is no generator, or one that cannot be used; the message says why.
    """
    from meddl.models import ModelBundle
    from meddl.models.recognition import TASKS

    bundle = ModelBundle.open(path)
    if not is_ours:
        # That a model cannot be run on an image, for which there may be reasons, does not matter here.
        replace(bundle.check(), refusal="").raise_if_broken()
    choice = _choice(str(bundle.location), bundle)
    isModel = bundle.task in TASKS and choice.isConditioned
    places = model_choices.own_models() if isModel else _own_generators()
    if choice.id not in places:
        if isModel:
            model_choices.remember_own_model(choice.id)
        else:
            qt.QSettings().setValue(_SETTING, json.dumps([*places, choice.id]))
    return choice


def forget_generator(place: str) -> None:
    """Offer a generator no more; its files stay."""
    model_choices.forget_own_model(place)
    qt.QSettings().setValue(_SETTING, json.dumps([each for each in _own_generators() if each != place]))


def description_html(choice: GeneratorChoice) -> str:
    """Return what a user should know of a generator."""
    if choice.problem or choice.facts is None:
        return html.escape(choice.problem)
    facts, bundle = choice.facts, choice.bundle
    told = []
    if bundle is not None and bundle.description:
        lines = [html.escape(bundle.description)]
    else:
        kinds = {"gan": _("adversarial"), "rectified_flow": _("rectified flow"), "ddpm": _("diffusion")}
        size = " x ".join(map(str, facts.size))
        lines = [_("{size} voxels of {mm:.3g} mm").format(size=size, mm=facts.spacing_mm)]
        told.append(kinds.get(facts.kind, facts.kind))
    if facts.modality:
        told.append(html.escape(facts.modality))
    if isinstance(facts.trained_on.get("steps"), int):
        told.append(_("{steps} steps").format(steps=facts.trained_on["steps"]))
    license = bundle.license if bundle is not None else ""
    told.append(_("License: {license}").format(license=html.escape(license or _("not stated"))))
    if not choice.installed:
        told.append(_("not downloaded yet ({size})").format(size=choice.sizeText))
    lines.append(" \N{MIDDLE DOT} ".join(told))
    lines.append(html.escape(takes(choice)))
    lines += [html.escape(note) for note in choice.notes]
    return "".join(f'<p style="margin: 0 0 4px 0">{line}</p>' for line in lines if line)


def takes(choice: GeneratorChoice) -> str:
    """Return what goes into a generator, in a sentence."""
    if not choice.isConditioned:
        return _("Makes images from chance alone, without labels.")
    names = [segment.name for segment in choice.segments]
    listed = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        listed = _("{names} and {count} more").format(names=listed, count=len(names) - _MOST_NAMES)
    return _("Takes a label map of: {names}.").format(names=listed)


def known_structures(choice: GeneratorChoice, node: slicer.vtkMRMLSegmentationNode) -> tuple[list[str], list[str]]:
    """Return the names of a segmentation's structures that a generator knows, and of those that it does not know."""
    import numpy as np
    from meddl.errors import UsageError
    from meddl.synthesis.label_matching import match_labels
    from meddl.volume import Segment, Volume

    content = node.GetSegmentation()
    found = [content.GetSegment(identifier) for identifier in content.GetSegmentIDs()]
    names = [segment.GetName() for segment in found]
    if choice.facts is None or not names:
        return [], names
    segments = [
        Segment(n, one.GetName(), (0.5, 0.5, 0.5), one.GetTerminology() or "") for n, one in enumerate(found, 1)
    ]
    nothing = Volume(np.zeros((1, 1, 1, 1), np.uint16), np.eye(4))  # names and codes are matched, not voxels
    try:
        unknown = match_labels(nothing, segments, choice.facts, choice.segments).unknown
    except UsageError:  # it knows none of them
        return [], names
    return [name for name in names if name not in unknown], list(unknown)


def _own_generators() -> list[str]:
    stored = qt.QSettings().value(_SETTING, "[]")
    try:
        return [path for path in json.loads(stored) if isinstance(path, str)]
    except (TypeError, ValueError):
        return []


def _generator_among(choice: model_choices.ModelChoice) -> GeneratorChoice | None:
    """Return a model as a generator, or None if it is none."""
    from meddl.errors import MedDLError
    from meddl.models.metadata_values import own_part

    if choice.bundle is None or not own_part(choice.bundle.metadata, "synthesis"):
        return None
    try:
        return _choice(choice.id, choice.bundle, choice.installed, choice.sizeText)
    except MedDLError as error:
        return GeneratorChoice(choice.id, choice.name, problem=error.message)


def _choice(place: str, bundle: Any, installed: bool = True, size_text: str = "") -> GeneratorChoice:
    from meddl.synthesis.synthesizer import Synthesizer

    synthesizer = Synthesizer(bundle)
    return GeneratorChoice(
        place,
        bundle.name,
        synthesizer.facts,
        synthesizer.segments,
        synthesizer.notes,
        installed,
        size_text,
        bundle=bundle,
    )
