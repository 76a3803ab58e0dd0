"""The part of the tab that makes images, or lesions in an image, in the scene."""

from slicer.i18n import tr as _

from MedDLAugmentationLib.generate_parameters import What


class MakeSection:
    """Makes runs of what is chosen, and shows what comes of them.

    Attributes:
        run: what is under way, or None.

    Args:
        tab: the tab.
    """

    def __init__(self, tab):
        self._tab = tab
        self.ui = tab.ui
        self.run = None
        self._made = ""
        self.ui.makeButton.connect("clicked(bool)", self.start)
        self.ui.insideComboBox.connect("activated(int)", self._onInside)
        self.ui.exampleComboBox.connect("activated(int)", self._onExample)

    def forget(self):
        """Say nothing more of what was made."""
        self._made = ""

    def missing(self):
        """Return what keeps anything from being made, each as a few words."""
        parameters = self._tab.parameters
        found = []
        if self._isLesion():
            if parameters.image is None:
                found.append(_("an image"))
            if parameters.example is not None and not self.ui.exampleComboBox.currentText:
                found.append(_("an example with a segment"))
            if not self.ui.lesionNameLineEdit.text.strip():
                found.append(_("a name for the lesion"))
            if parameters.making.byGenerator:
                found += self._tab.generator.missing()
                if parameters.segmentation is None:
                    found.append(_("a segmentation"))
        else:
            found += self._tab.generator.missing()
            choice = self._tab.generator.current()
            if choice is not None and choice.isConditioned:
                if parameters.segmentation is None:
                    found.append(_("a segmentation"))
                elif not self._names()[0] and not choice.problem:
                    found.append(_("a segmentation of what the generator knows"))
        return found + self._tab.needs()

    def start(self, *_args):
        """Make what is chosen."""
        self._tab.attempt(self._start)

    def update(self):
        """Bring the widgets in line with the choices."""
        parameters, ui = self._tab.parameters, self.ui
        isLesion, busy = self._isLesion(), self._tab.isBusy
        choice = self._tab.generator.current()
        takesLabels = isLesion or (choice is not None and choice.isConditioned)
        ui.makeCollapsibleButton.enabled = not busy
        _visible(takesLabels, ui.imageLabel, ui.imageSelector, ui.segmentationLabel, ui.segmentationSelector)
        ui.imageLabel.text = _("Image:") if isLesion else _("Grid of:")
        none = _("Select an image") if isLesion else _("The segmentation's own")
        if ui.imageSelector.noneDisplay != none:
            ui.imageSelector.noneDisplay = none
        _visible(isLesion, ui.insideLabel, ui.insideComboBox, ui.lesionNameLabel, ui.lesionNameLineEdit)
        _visible(isLesion, ui.volumeLabel, ui.volumeSpinBox, ui.volumeMostSpinBox, ui.lesionTextureCheckBox)
        _visible(isLesion, ui.exampleLabel, ui.exampleSelector, ui.exampleComboBox)
        byStatistics = not parameters.making.byGenerator and parameters.example is None
        _visible(isLesion and byStatistics, ui.contrastLabel, ui.contrastSlider)
        self._showInside(parameters)
        self._showExample(parameters)
        text = "" if isLesion else self._match()
        ui.matchLabel.text = text
        ui.matchLabel.visible = bool(text)
        ui.makeButton.text = _("Insert") if isLesion else _("Make images")
        tip = (
            _("Make a copy of the image with the lesion in it, and its segmentation. The image itself stays.")
            if isLesion
            else _("Make images and bring them into the scene, marked as synthetic.")
        )
        self._tab.tip(ui.makeButton, self.missing(), tip, busy)
        ui.madeLabel.text = self._made
        ui.madeLabel.visible = bool(self._made)

    def _start(self):
        from meddl_slicer.synthesis_run import ImagesRun, LesionRun

        parameters, making = self._tab.parameters, self._tab.parameters.making
        choice = self._tab.generator.current()
        self._made = ""
        if self._isLesion():
            options = {
                "name": making.lesionName.strip(),
                "inside": making.inside if making.inside in self._structures() else "",
                "volume_ml": [making.volume, max(making.volume, making.volumeMost)],
                "contrast": making.contrast,
                "texture": "generator" if making.byGenerator else "auto",
                "count": making.count,
                "seed": making.seed,
            }
            model = choice.id if making.byGenerator else ""
            example = None
            if parameters.example is not None:
                example = (parameters.example, self.ui.exampleComboBox.currentText)
            self.run = LesionRun(parameters.image, parameters.segmentation, options, model, example)
        else:
            chosen = (parameters.segmentation, parameters.image) if choice.isConditioned else (None, None)
            self.run = ImagesRun(choice.id, choice.name, making.count, making.seed, *chosen)
        self._tab.jobPanel.addLog(self.run.title)
        self._tab.runJob(self.run.task, self.run.params, self._onFinished)

    def _onFinished(self, job):
        if job.error is not None:
            self.run = None
            self._tab.handled(job.error, self.start)
            self._tab.update()
            return
        self._tab.jobPanel.applyInSteps(self.run.steps(job.result), self._onApplied)

    def _onApplied(self, error):
        run, self.run = self.run, None
        if error is not None:
            self._tab.showError(error)
        else:
            self._show(run)
            self._tab.jobPanel.showIdle(_("Done."), 1.0)
            self._tab.jobPanel.addLog("\n".join([self._made, *run.notes]))
            self._made = "\n".join([self._made, *run.notes])
        self._tab.update()

    def _show(self, run):
        from meddl_slicer import provenance, synthesis_run

        image, labels = run.pairs[0]
        synthesis_run.show(image, fit=not run.sources)
        if labels is not None:
            synthesis_run.show_labels(labels)
        seconds = f"{self._tab.jobPanel.elapsed:.1f}"
        if run.kind == "lesion":
            found = provenance.read(image)["lesions"]
            volumes = ", ".join(f"{each['volume_ml']:.2f} ml" for each in found)
            self._made = _("{name}: {volumes}, made in {seconds} s.").format(
                name=image.GetName(), volumes=volumes, seconds=seconds
            )
        else:
            self._made = _("Images made: {count}, in {seconds} s. They are in a folder of the Data module.").format(
                count=len(run.pairs), seconds=seconds
            )

    def _isLesion(self):
        return self._tab.parameters.making.what is What.LESION

    def _structures(self):
        from meddl_slicer.synthesis_run import structure_names

        return structure_names(self._tab.parameters.segmentation)

    def _names(self):
        """Return the structures of the segmentation that the generator knows, and those that it does not know."""
        from meddl_slicer.synthesis_models import known_structures

        choice = self._tab.generator.current()
        if choice is None or not choice.isConditioned or self._tab.parameters.segmentation is None:
            return [], []
        return known_structures(choice, self._tab.parameters.segmentation)

    def _match(self):
        """Return which structures of the segmentation the generator knows, in a sentence."""
        known, unknown = self._names()
        if not known and not unknown:
            return ""
        if not known:
            return _("The generator knows none of its structures.")
        said = _("The generator knows: {names}.").format(names=", ".join(known))
        return said + (" " + _("It takes for background: {names}.").format(names=", ".join(unknown)) if unknown else "")

    def _showInside(self, parameters):
        combo = self.ui.insideComboBox
        wanted = [(_("Anywhere in the body"), ""), *((name, name) for name in self._structures())]
        if wanted != [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)]:
            combo.clear()
            for text, name in wanted:
                combo.addItem(text, name)
        combo.setCurrentIndex(max(combo.findData(parameters.making.inside), 0))

    def _showExample(self, parameters):
        from meddl_slicer.synthesis_run import structure_names

        combo, names = self.ui.exampleComboBox, structure_names(parameters.example)
        if names != [combo.itemText(index) for index in range(combo.count)]:
            combo.clear()
            combo.addItems(names)
        chosen = combo.findText(parameters.making.exampleSegment)
        combo.setCurrentIndex(max(chosen, 0) if names else -1)
        combo.enabled = len(names) > 1

    def _onExample(self, index):
        if self._tab.parameters:
            self._tab.parameters.making.exampleSegment = self.ui.exampleComboBox.itemText(index)

    def _onInside(self, index):
        if self._tab.parameters:
            self._tab.parameters.making.inside = self.ui.insideComboBox.itemData(index)


def _visible(visible, *widgets):
    for widget in widgets:
        widget.visible = visible
