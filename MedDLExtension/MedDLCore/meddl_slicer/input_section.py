"""The panel's part for images and what is said of them before a run: overlap, domain, what a run takes."""

import html

import qt
import slicer

from meddl_slicer.i18n import tr as _

# Readable on light and on dark.
_YELLOW = "color: #9a7a00"
_RED = "color: #e53935"
_ADVICE_MS = 150


class InputSection:
    """The image selectors, one per channel of the model, and the lines below them.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
        options: returns the options of a run as plain data; None to say nothing of what a run takes.
        chosen: returns the models of a run.
        onChanged: called when what can be run may have changed, from the event loop.
    """

    def __init__(self, ui, models, options, chosen, onChanged):
        self.ui = ui
        self._models = models
        self._options, self._chosen = options, chosen
        self._onChanged = onChanged
        self._parameters = None
        self._channels = ()
        self._selectors = []
        self._overlapLabels = []
        self.refusal = ""
        self._advisedOn = None
        self._adviceTimer = qt.QTimer()
        self._adviceTimer.setSingleShot(True)
        self._adviceTimer.connect("timeout()", self._advise)
        for text, value in (
            (_("The frame that is shown"), "one"),
            (_("Each frame"), "each"),
            (_("All frames as one input"), "whole"),
        ):
            ui.framesComboBox.addItem(text, value)
        ui.framesComboBox.connect("currentIndexChanged(int)", self._onFrames)
        self._showButton = getattr(ui, "showInputButton", None)
        if self._showButton is not None:
            self._showButton.connect("clicked(bool)", lambda checked: self._showInput())
        ui.channelsFrame.visible = False
        ui.domainFrame.visible = False

    def cleanup(self):
        """Let go of the scene."""
        self._adviceTimer.stop()
        self._parameters = None
        for selector in self._selectors:
            selector.setMRMLScene(None)

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters
        self._advisedOn = None

    @property
    def frames(self):
        """What is done with a sequence: "one", "each" or "whole"."""
        from meddl_slicer import sequences

        wanted = self._parameters.frames
        model = self._models.currentModel()
        if not sequences.is_volume_sequence(self._parameters.inputVolume):
            return "one"
        return "one" if wanted == "whole" and not (model and model.readsFrames) else wanted

    def inputs(self):
        """Return the nodes in the order of the model's channels; None where none is chosen."""
        others = list(self._parameters.otherInputs)[: max(len(self._channels) - 1, 0)]
        others += [None] * (len(self._channels) - 1 - len(others))
        return [self._parameters.inputVolume, *others]

    def missing(self):
        """Return what keeps the images from being used, each as a few words."""
        if not self._parameters:
            return [_("an input volume")]
        inputs = self.inputs()
        if len(inputs) == 1:
            return [] if inputs[0] else [_("an input volume")]
        found = [
            _("an image for {channel}").format(channel=channel.name)
            for channel, node in zip(self._channels, inputs, strict=True)
            if node is None
        ]
        chosen = [node for node in inputs if node is not None]
        if not found and len({node.GetID() for node in chosen}) < len(chosen):
            found.append(_("a different image for each channel"))
        return found + ([self.refusal] if self.refusal else [])

    def update(self, running):
        """Bring the widgets in line with the model, the parameters and the scene."""
        from meddl_slicer import sequences

        model = self._models.currentModel()
        self._followModel()
        several = len(self._channels) > 1
        self.ui.inputSelectorLabel.text = f"{self._channels[0].name}:" if several else _("Input volume:")
        self.ui.channelsFrame.visible = several
        isSequence = bool(self._parameters) and sequences.is_volume_sequence(self._parameters.inputVolume)
        self.ui.framesLabel.visible = isSequence
        self.ui.framesComboBox.visible = isSequence
        if self._parameters:
            self._showFrames(model)
            self._showOthers()
        self._showOverlap()
        if self._showButton is not None:
            self._showButton.enabled = bool(self._parameters) and self._parameters.inputVolume is not None
        for widget in (self.ui.inputSelector, self.ui.framesComboBox, *self._selectors):
            widget.enabled = not running
        if not running:
            self._adviceTimer.start(_ADVICE_MS)

    def suggestImages(self):
        """Choose images for channels that have none, by their names."""
        from meddl_slicer import input_channels

        self._followModel()
        if not self._parameters or len(self._channels) < 2:
            return
        first = self._parameters.inputVolume
        suggested = input_channels.suggest(self._channels, first)
        inputs = self.inputs()
        wanted = [now or found for now, found in zip(inputs[1:], suggested[1:], strict=True)]
        if suggested[0] is not None and not any(inputs[1:]):
            self._parameters.inputVolume = suggested[0]
        if wanted != inputs[1:]:
            self._setOthers(wanted)

    def adviseAgain(self):
        """Say anew what a run takes: the last one has taught it."""
        self._advisedOn = None

    # Channels

    def _followModel(self):
        """Have a selector for each channel of the model."""
        model = self._models.currentModel()
        channels = model.channels if model is not None else ()
        if channels != self._channels:
            self._makeSelectors(channels)

    def _makeSelectors(self, channels):
        self._channels = channels
        layout = self.ui.channelsFrame.layout()
        while layout.rowCount():
            layout.removeRow(0)
        self._selectors, self._overlapLabels = [], []
        for index, channel in enumerate(channels[1:]):
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.showChildNodeTypes = False
            selector.addEnabled = selector.removeEnabled = False
            selector.noneEnabled = True
            selector.noneDisplay = _("Select a volume")
            selector.toolTip = _("The image for {channel}.").format(channel=channel.name)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, at=index: self._onOther(at, node))
            label = qt.QLabel()
            label.wordWrap = True
            layout.addRow(f"{channel.name}:", selector)
            layout.addRow("", label)
            self._selectors.append(selector)
            self._overlapLabels.append(label)

    def _onOther(self, index, node):
        if not self._parameters:
            return
        others = self.inputs()[1:]
        if index < len(others) and others[index] is not node:
            others[index] = node
            self._setOthers(others)

    def _setOthers(self, nodes):
        self._parameters.otherInputs = nodes

    def _showOthers(self):
        for selector, node in zip(self._selectors, self.inputs()[1:], strict=True):
            wasBlocked = selector.blockSignals(True)
            selector.setCurrentNode(node)
            selector.blockSignals(wasBlocked)

    def _showOverlap(self):
        from meddl.errors import MedDLError

        from meddl_slicer import input_channels

        self.refusal = ""
        if not self._parameters or len(self._channels) < 2:
            return
        first, *others = self.inputs()
        for label, node, channel in zip(self._overlapLabels, others, self._channels[1:], strict=True):
            label.visible = first is not None and node is not None
            if not label.visible:
                continue
            try:
                found = input_channels.overlap(first, node, self._channels[0].name)
            except MedDLError as error:
                label.text, label.styleSheet = error.message, _RED
                self.refusal = self.refusal or _("images that can be used")
                continue
            label.text = found.text
            label.styleSheet = _RED if found.fraction == 0 else _YELLOW if found.isLittle else "color: gray"
            if found.fraction == 0:
                self.refusal = _("images of the same place ({channel} does not overlap with {first})").format(
                    channel=channel.name, first=self._channels[0].name
                )

    # Sequences

    def _showFrames(self, model):
        combo = self.ui.framesComboBox
        wasBlocked = combo.blockSignals(True)
        combo.setCurrentIndex(max(combo.findData(self.frames), 0))
        combo.blockSignals(wasBlocked)
        whole = combo.findData("whole")
        combo.setItemData(whole, None if model and model.readsFrames else 0, qt.Qt.UserRole - 1)

    def _onFrames(self, index):
        if self._parameters:
            self._parameters.frames = self.ui.framesComboBox.itemData(index)

    def _showInput(self):
        """Bring the input into the slice views; of a sequence that nothing shows yet, its first frame."""
        from meddl_slicer import results, sequences

        node = self._parameters.inputVolume if self._parameters else None
        if sequences.is_volume_sequence(node):
            sequences.show(sequences.sequence_of(node))
        shown = sequences.shown_volume(node)
        if shown is None:
            return
        results.show_map(None)  # that of another image would mislead
        if slicer.app.layoutManager() is not None:
            slicer.util.setSliceViewerLayers(background=shown, fit=True)
            return
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetBackgroundVolumeID(shown.GetID())

    # Advice

    def _advise(self):
        """Say what a run would take, and whether the image is of the kind that the model was made for."""
        from meddl_slicer import advice
        from meddl_slicer.sequences import shown_volume

        if not self._parameters:
            return
        models = self._chosen()
        chosen = [shown_volume(node) for node in self.inputs()] if not self.missing() else []
        volumes = [node for node in chosen if node is not None]
        options = self._options() if self._options is not None else None
        key = (
            tuple(model.id for model in models),
            tuple((node.GetID(), _dataTime(node), node.GetTransformNodeID()) for node in volumes),
            tuple(options.items()) if options is not None else None,
        )
        if key == self._advisedOn:
            return
        self._advisedOn = key
        known = bool(models) and all(model.bundle is not None and not model.problem for model in models)
        if not known or not volumes or len(volumes) < len(chosen):
            self._showAdvice("", [])
            return
        with slicer.util.WaitCursor():
            self._showAdvice(*advice.before_run([model.bundle for model in models], volumes, options))
        self._onChanged()

    def _showAdvice(self, estimate, warnings):
        self._models.setNote(estimate)
        self.ui.domainLabel.text = "<br>".join(html.escape(text) for text in warnings)
        self.ui.domainFrame.visible = bool(warnings)


def _dataTime(node):
    """Return when the voxels of a volume were changed last."""
    image = node.GetImageData()
    return image.GetMTime() if image is not None else 0
