"""The part of a panel that lets the user choose a model, and says what it is for and under which license."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt

from meddl_slicer.i18n import tr as _

#: Where the folders of the user's own models are kept between sessions.
_SETTING = "MedDL/OwnModels"


@dataclass(frozen=True)
class ModelChoice:
    """A model one can choose.

    Attributes:
        id: its name in the catalog, or the folder of its bundle.
        facts: what :func:`description_html` shows, by metadata's own names.
        installed: whether it can be run at once.
        sizeText: what would be downloaded, "16 MB".
        problem: why it cannot be used on this computer, or "".
    """

    id: str
    name: str
    facts: dict[str, str]
    installed: bool = True
    sizeText: str = ""
    problem: str = ""


class ModelSelector:
    """Keeps a combo box filled with the catalog's models and the user's own.

    Args:
        comboBox: shows the names; an item's data is the model's id.
        descriptionLabel: shows what the selected one is for.
        task: which models to offer.
    """

    def __init__(self, comboBox: Any, descriptionLabel: Any, task: str = "segmentation") -> None:
        self._comboBox = comboBox
        self._label = descriptionLabel
        self._task = task
        self._choices: dict[str, ModelChoice] = {}
        comboBox.connect("currentIndexChanged(int)", self._showDescription)
        self.refresh()

    def currentModel(self) -> ModelChoice | None:
        """Return the selected model, or None."""
        return self._choices.get(self._comboBox.currentData)

    def firstModel(self) -> str:
        """Return the id of the first model, or "" when there is none."""
        return next(iter(self._choices), "")

    def refresh(self) -> None:
        """Look again at what is there; the selection stays."""
        selected = self._comboBox.currentData
        self._choices = {choice.id: choice for choice in available_models(self._task)}
        wasBlocked = self._comboBox.blockSignals(True)
        self._comboBox.clear()
        for choice in self._choices.values():
            self._comboBox.addItem(choice.name, choice.id)
        self._comboBox.blockSignals(wasBlocked)
        self.select(selected or self.firstModel())
        self._showDescription()

    def select(self, model: str) -> None:
        """Select a model by its id; one that is not on this computer is shown as such."""
        if not model or self._comboBox.currentData == model:
            return
        if model not in self._choices:
            self._choices[model] = _own_model(model, self._task)
            self._comboBox.addItem(self._choices[model].name, model)
        self._comboBox.setCurrentIndex(self._comboBox.findData(model))

    def addOwn(self, path: Path) -> str:
        """Offer the MONAI Bundle at ``path`` from now on; returns its id.

        Raises:
            meddl.errors.ModelError: it is not a bundle, or one of another task.
        """
        from meddl.errors import ModelError
        from meddl.models import ModelBundle

        bundle = ModelBundle.open(path)
        bundle.check().raise_if_broken()
        if bundle.task != self._task:
            raise ModelError(f"The model '{bundle.name}' is made for {bundle.task}, not for {self._task}.")
        model = str(bundle.path)
        if model not in self._choices:
            _remember_own_model(model)
            self.refresh()
        self.select(model)
        return model

    def _showDescription(self, index: int = -1) -> None:
        choice = self.currentModel()
        self._label.text = description_html(choice) if choice is not None else ""


def available_models(task: str) -> list[ModelChoice]:
    """Return the catalog's models for ``task`` and the user's own, in this order."""
    from meddl.models import Catalog

    choices = [_catalog_model(entry) for entry in Catalog.default().entries() if entry.task == task]
    return choices + [_own_model(model, task) for model in own_models()]


def description_html(choice: ModelChoice) -> str:
    """Return what a user should know of a model before running it."""
    if choice.problem:
        return html.escape(choice.problem)
    facts = {name: html.escape(text) for name, text in choice.facts.items() if text}
    state = [_("License: {license}").format(license=facts.get("license") or _("not stated"))]
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


def own_models() -> list[str]:
    """Return the folders of the models the user has added."""
    # As JSON: a settings file gives a list of one text back as a text.
    stored = qt.QSettings().value(_SETTING, "[]")
    try:
        return [path for path in json.loads(stored) if isinstance(path, str)]
    except (TypeError, ValueError):
        return []


def forget_own_model(model: str) -> None:
    """Offer a model no more; its files stay."""
    qt.QSettings().setValue(_SETTING, json.dumps([path for path in own_models() if path != model]))


def _remember_own_model(model: str) -> None:
    qt.QSettings().setValue(_SETTING, json.dumps([*own_models(), model]))


def _catalog_model(entry: Any) -> ModelChoice:
    from meddl.models import ModelBundle, definitions_dir

    bundle = ModelBundle.open(definitions_dir() / entry.id)
    return ModelChoice(entry.id, entry.name, _facts(bundle), entry.installed, f"{entry.size_mb:.0f} MB")


def _own_model(model: str, task: str) -> ModelChoice:
    from meddl.errors import MedDLError
    from meddl.models import ModelBundle

    try:
        bundle = ModelBundle.open(Path(model))
        if bundle.task == task:
            return ModelChoice(model, bundle.name, _facts(bundle))
        problem = _("This model is made for another task: {task}.").format(task=bundle.task)
    except MedDLError as error:
        problem = error.message
    return ModelChoice(model, _("{name} (cannot be used)").format(name=Path(model).name), {}, problem=problem)


def _facts(bundle: Any) -> dict[str, str]:
    metadata = bundle.metadata
    facts = {name: metadata.get(name) for name in ("intended_use", "limits")}
    facts = {name: text for name, text in facts.items() if isinstance(text, str)}
    return {**facts, "description": bundle.description, "license": bundle.license, "version": bundle.version}
