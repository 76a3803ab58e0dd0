"""The panel's part for where the result goes, and what it is compared with."""

from MedDLInferenceLib.parameters import OUTPUTS

_ROWS = {
    "output": ("segmentation",),
    "outputTable": ("classification", "detection"),
    "outputPoints": ("landmarks",),
    "outputVolume": ("reconstruction",),
    "referenceSegmentation": ("segmentation",),
    "referenceVolume": ("reconstruction",),
}
"""Selector of the panel (without "Selector") -> the tasks it means something for."""


class OutputSection:
    """The selectors for nodes of results and references. They are connected to the parameter node.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
        ensemble: the EnsembleSection.
        apply: the ApplySection.
    """

    def __init__(self, ui, models, ensemble, apply):
        self.ui = ui
        self._models, self._ensemble, self._apply = models, ensemble, apply
        self._parameters = None
        self._choice = None

    def setParameters(self, parameters):
        """Follow this parameter node from now on; None for none."""
        self._parameters = parameters
        self._choice = None

    def node(self):
        """Return the main node that the model's result goes to, or None for a new one."""
        name = OUTPUTS.get(self._task())
        return getattr(self._parameters, name) if self._parameters and name else None

    def remember(self, task, node):
        """Keep the main node of a result."""
        setattr(self._parameters, OUTPUTS[task], node)

    def update(self, running):
        """Show only the rows that mean something for the task."""
        task = self._task()
        for name, tasks in _ROWS.items():
            selector, label = getattr(self.ui, f"{name}Selector"), getattr(self.ui, f"{name}SelectorLabel")
            selector.visible = label.visible = task in tasks or (not task and name == "output")
            selector.enabled = not running

    def followChoice(self):
        """When another model or image is chosen, show its result; the next run must not replace one of others."""
        from meddl_slicer import provenance, runs

        task = self._task()
        if not self._parameters or task not in OUTPUTS or self._apply.run is not None:
            return
        source = self._parameters.inputVolume
        chosen = (self._models.currentModel().id, *self._ensemble.others())
        former, self._choice = self._choice, (chosen, source.GetID() if source else "")
        if former in (None, self._choice):
            return
        title = provenance.title_of([choice.bundle for choice in self._ensemble.choices()])
        now = self.node()
        if now is not None and (provenance.read(now) is None or runs.is_result_of(now, task, title, source)):
            return
        wanted = runs.latest_result(task, title, source)
        if wanted is not now:
            self.remember(task, wanted)

    def _task(self):
        model = self._models.currentModel()
        return model.task if model is not None else ""
