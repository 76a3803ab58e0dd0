"""The models one can choose: those of the catalog and the user's own, with what a user should know of each."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from meddl_slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddl.models import Channel, ModelBundle

#: Where the places of the user's own models are kept between sessions.
_SETTING = "MedDL/OwnModels"


@dataclass(frozen=True)
class ModelChoice:
    """A model one can choose.

    Attributes:
        id: its name in the catalog, or where the model is: a folder or a file.
        facts: what :func:`description_html` shows, by metadata's own names.
        installed: whether it can be run at once.
        sizeText: what would be downloaded, "16 MB".
        problem: why it cannot be used on this computer, or "".
        task: "segmentation", ...; "" where it is not known yet.
        bundle: the model as far as it is here, or None before it is downloaded.
        words: what it can be found by, in lower case.
    """

    id: str
    name: str
    facts: dict[str, str]
    installed: bool = True
    sizeText: str = ""
    problem: str = ""
    task: str = ""
    bundle: ModelBundle | None = field(default=None, compare=False)
    words: str = ""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The images it takes; one where that is not known."""
        from meddl.models import Channel

        return self.bundle.channels if self.bundle is not None else (Channel("image"),)

    @property
    def readsFrames(self) -> bool:
        """Whether it takes all frames of a sequence at once."""
        return self.bundle is not None and self.bundle.sequence_axis == "frames"

    @property
    def folds(self) -> int:
        """How many networks it consists of, trained on different parts of the same data."""
        return max(1, len(getattr(self.bundle, "folds", ())))

    @property
    def canMirror(self) -> bool:
        """Whether it can look at mirrored copies of the image, as nnU-Net does."""
        return self.bundle is not None and self.bundle.format == "nnunet"

    @property
    def missingPackages(self) -> tuple[str, ...]:
        """Optional Python packages it takes that are not installed."""
        from meddl_slicer import packages

        return packages.missing_of(self.bundle.required_packages) if self.bundle is not None else ()

    def matches(self, text: str) -> bool:
        """Tell whether all words of ``text`` are said of the model."""
        from meddl.models.catalog_entry import says

        return says(self.words, text)


def available_models(task: str = "") -> list[ModelChoice]:
    """Return the catalog's models and the user's own, in this order; of one task, or of all that can be run."""
    from meddl.models import Catalog

    catalog = Catalog.default()
    choices = [_catalog_model(entry) for entry in catalog.entries()]
    choices += [own_model(model) for model in own_models()]
    return [choice for choice in choices if not task or choice.task in (task, "")]


def open_own(path: Path) -> ModelBundle:
    """Return the model at ``path``: a bundle's folder or zip, a TorchScript or ONNX file, a folder of nnU-Net.

    Raises:
        meddl.errors.ModelError: it is no model, broken, or made for a task that cannot be run; the message says why.
    """
    from meddl.errors import ModelError
    from meddl.models import ModelBundle
    from meddl.models.recognition import TASKS

    bundle = ModelBundle.open(path)
    bundle.check().raise_if_broken()
    if bundle.task not in TASKS:
        raise ModelError(_refusal(bundle))
    return bundle


def own_model(model: str) -> ModelChoice:
    """Return the user's own model at a place; one that cannot be used says why."""
    from meddl.errors import MedDLError
    from meddl.models import ModelBundle
    from meddl.models.metadata_values import as_text, own_value
    from meddl.models.recognition import TASKS

    try:
        bundle = ModelBundle.open(Path(model))
        if bundle.task in TASKS:
            facts = _facts(bundle)
            words = _words(bundle.name, bundle.task, facts, as_text(own_value(bundle.metadata, "organ")))
            return ModelChoice(model, _shown(bundle.name), facts, task=bundle.task, bundle=bundle, words=words)
        problem = _refusal(bundle)
    except MedDLError as error:
        problem = error.message
    name = Path(model).name
    return ModelChoice(
        model, _("{name} (cannot be used)").format(name=name), {}, problem=problem, words=name.casefold()
    )


def task_title(task: str) -> str:
    """Return what a task is called in the panel."""
    titles = {
        "segmentation": _("Segmentation"),
        "classification": _("Classification"),
        "detection": _("Detection"),
        "landmarks": _("Landmarks"),
        "reconstruction": _("Reconstruction"),
    }
    return titles.get(task, task.capitalize() or _("Other"))


def description_html(choice: ModelChoice) -> str:
    """Return what a user should know of a model before running it."""
    if choice.problem:
        return html.escape(choice.problem)
    facts = {name: html.escape(text) for name, text in choice.facts.items() if text}
    state = [task_title(choice.task)] if choice.task else []
    state += [_("License: {license}").format(license=facts.get("license") or _("not stated"))]
    if "version" in facts:
        state.append(_("version {version}").format(version=facts["version"]))
    if not choice.installed:
        state.append(_("not downloaded yet ({size})").format(size=choice.sizeText))
    if Path(choice.id).is_absolute():
        # Said because any folder may bear the name of a model that MedDL knows.
        state.append(_('added by you, from the folder "{name}"').format(name=html.escape(Path(choice.id).name)))
    lines = [facts.get("description", ""), " \N{MIDDLE DOT} ".join(state)]
    if "intended_use" in facts:
        lines.append(_("<b>Intended use:</b> {text}").format(text=facts["intended_use"]))
    if "limits" in facts:
        lines.append(_("<b>Limits:</b> {text}").format(text=facts["limits"]))
    return "".join(f'<p style="margin: 0 0 4px 0">{line}</p>' for line in lines if line)


def tool_tip(text: str) -> str:
    """Return a text for a tool tip, which Qt would otherwise take for HTML where it looks like it."""
    return f"<p>{html.escape(text)}</p>" if text else ""


def own_models() -> list[str]:
    """Return where the models are that the user has added."""
    # As JSON: a settings file gives a list of one text back as a text.
    stored = qt.QSettings().value(_SETTING, "[]")
    try:
        return [path for path in json.loads(stored) if isinstance(path, str)]
    except (TypeError, ValueError):
        return []


def forget_own_model(model: str) -> None:
    """Offer a model no more; its files stay."""
    qt.QSettings().setValue(_SETTING, json.dumps([path for path in own_models() if path != model]))


def remember_own_model(model: str) -> None:
    """Offer a model from now on, in later sessions, too."""
    qt.QSettings().setValue(_SETTING, json.dumps([*own_models(), model]))


def _refusal(bundle: Any) -> str:
    task = bundle.task or _("an unnamed task")
    return _("The model '{name}' is made for {task}, which cannot be run here.").format(name=bundle.name, task=task)


def _catalog_model(entry: Any) -> ModelChoice:
    from meddl.errors import MedDLError
    from meddl.models import ModelBundle

    # Before it is downloaded, the definition tells what the model takes; a whole bundle has none until then.
    place = entry.path or entry.definition
    bundle, problem = None, ""
    if place is not None:
        try:
            bundle = ModelBundle.open(place)
        except MedDLError as error:
            problem = error.message
    facts = _facts(bundle) if bundle is not None else {}
    for name in ("description", "license", "version"):
        facts[name] = facts.get(name) or _shown(getattr(entry, name))
    words = _words(entry.name, entry.task, facts, entry.organ, entry.modality, *entry.keywords)
    return ModelChoice(
        entry.id,
        _shown(entry.name),
        facts,
        entry.installed,
        f"{entry.size_mb:.0f} MB",
        problem,
        entry.task,
        bundle,
        words,
    )


def _words(name: str, task: str, facts: dict[str, str], *more: str) -> str:
    return " ".join([name, task, facts.get("description", ""), *more]).casefold()


def _facts(bundle: Any) -> dict[str, str]:
    metadata = bundle.metadata
    facts = {name: metadata.get(name) for name in ("intended_use", "limits")}
    facts = {name: text for name, text in facts.items() if isinstance(text, str)}
    facts |= {"description": bundle.description, "license": bundle.license, "version": bundle.version}
    return {name: _shown(text) for name, text in facts.items()}


def _shown(text: str) -> str:
    """Return a text out of a catalog or bundle of others without what would not be seen or would reorder it."""
    from meddl.models.segments import printable

    return "\n".join(printable(line) for line in text.splitlines())
