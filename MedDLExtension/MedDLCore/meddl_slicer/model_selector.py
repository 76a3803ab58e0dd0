"""The part of a panel that lets the user find and choose a model, and says what it is for and under which license."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meddl_slicer.i18n import tr as _
from meddl_slicer.model_choices import (
    ModelChoice,
    available_models,
    description_html,
    forget_own_model,
    open_own,
    own_model,
    own_models,
    remember_own_model,
)

__all__ = ["ModelChoice", "ModelSelector", "available_models", "description_html", "forget_own_model", "own_models"]


class ModelSelector:
    """Keeps a combo box filled with the catalog's models and the user's own, grouped by task.

    Args:
        comboBox: shows the names; an item's data is the model's id.
        descriptionLabel: shows what the selected one is for.
        searchLine: a line edit whose words all offered models have in common, or None.
        task: which models to offer; "" for all.
    """

    def __init__(self, comboBox: Any, descriptionLabel: Any, searchLine: Any = None, task: str = "") -> None:
        self._comboBox = comboBox
        self._label = descriptionLabel
        self._searchLine = searchLine
        self._task = task
        self._note = ""
        self._choices: dict[str, ModelChoice] = {}
        self._followers: list[Callable[[], None]] = []
        comboBox.connect("currentIndexChanged(int)", self._showDescription)
        if searchLine is not None:
            searchLine.connect("textChanged(QString)", lambda text: self._fill())
        self.refresh()

    def currentModel(self) -> ModelChoice | None:
        """Return the selected model, or None."""
        return self._choices.get(self._comboBox.currentData)

    def choices(self) -> list[ModelChoice]:
        """Return all models, also those that the words searched for leave out."""
        return list(self._choices.values())

    def firstModel(self) -> str:
        """Return the id of the first model, or "" when there is none."""
        return next(iter(self._choices), "")

    def refresh(self) -> None:
        """Look again at what is there; the selection stays."""
        self._choices = {choice.id: choice for choice in available_models(self._task)}
        self._fill()
        for follower in self._followers:
            follower()

    def onRefresh(self, follower: Callable[[], None]) -> None:
        """Have ``follower`` called whenever it was looked again at what is there."""
        self._followers.append(follower)

    def select(self, model: str) -> None:
        """Select a model by its id; one that is not on this computer is shown as such."""
        if not model or self._comboBox.currentData == model:
            return
        if model not in self._choices:
            self._choices[model] = own_model(model)
        if self._comboBox.findData(model) < 0:  # new, or hidden by the words searched for
            self._comboBox.addItem(self._choices[model].name, model)
        self._comboBox.setCurrentIndex(self._comboBox.findData(model))

    def addOwn(self, path: Path) -> str:
        """Offer the model at ``path`` from now on, a folder, zip or model file; returns its id.

        Raises:
            meddl.errors.ModelError: it is not a model, or one of another task.
        """
        from meddl.errors import ModelError

        bundle = open_own(path)
        if self._task and bundle.task != self._task:
            raise ModelError(
                _("The model '{name}' is made for {task}, not for {wanted}.").format(
                    name=bundle.name, task=bundle.task, wanted=self._task
                )
            )
        model = str(bundle.location)
        if model not in self._choices:
            remember_own_model(model)
            self.refresh()
        self.select(model)
        return model

    def setNote(self, text: str) -> None:
        """Add a line to what is said of the selected model; "" for none."""
        if text != self._note:
            self._note = text
            self._showDescription()

    def _fill(self) -> None:
        selected = self._comboBox.currentData
        words = self._searchLine.text if self._searchLine is not None else ""
        shown = [choice for choice in self._choices.values() if choice.matches(words)]
        if selected and selected not in [choice.id for choice in shown] and selected in self._choices:
            shown.append(self._choices[selected])  # what is chosen stays chosen while the user searches
        order = list(dict.fromkeys(choice.task for choice in shown))
        shown.sort(key=lambda choice: order.index(choice.task))
        wasBlocked = self._comboBox.blockSignals(True)
        self._comboBox.clear()
        former = None
        for choice in shown:
            if former is not None and choice.task != former:
                self._comboBox.insertSeparator(self._comboBox.count)
            former = choice.task
            self._comboBox.addItem(choice.name, choice.id)
        self.select(selected or (shown[0].id if shown else ""))  # the same as before: nobody need be told
        self._comboBox.blockSignals(wasBlocked)
        self._showDescription()

    def _showDescription(self, index: int = -1) -> None:
        choice = self.currentModel()
        note = f'<p style="margin: 0; color: gray">{html.escape(self._note)}</p>' if self._note else ""
        self._label.text = description_html(choice) + note if choice is not None else ""
