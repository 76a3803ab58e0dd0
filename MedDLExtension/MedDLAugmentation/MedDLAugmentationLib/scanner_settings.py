"""What can be set at a simulated scan, and the widgets for it."""

from dataclasses import dataclass

import qt
from slicer.i18n import tr as _


@dataclass(frozen=True)
class Setting:
    """One line of settings.

    Attributes:
        name: as meddl.simulation has it.
        title, tip: for people.
        kind: "number", "numbers" (one where a range could be), "whole", "pixels", "words", "flag" or "views".
        default: what it begins with.
        low, high, decimals, suffix: of numbers.
        scale: times what the user sees is what is kept: 0.01 of percents.
        words: value and text of choices.
    """

    name: str
    title: str
    tip: str
    kind: str
    default: object
    low: float = 0.0
    high: float = 100.0
    decimals: int = 0
    suffix: str = ""
    scale: float = 1.0
    words: tuple = ()


def settings():
    """Return the lines of each method."""
    planes = (("axial", _("axial")), ("coronal", _("coronal")), ("sagittal", _("sagittal")))
    axes = (("", _("the usual one")), ("left-right", _("left-right")), ("front-back", _("front-back")),
            ("head-foot", _("head-foot")))  # fmt: skip
    return {
        "undersampling": (
            Setting("acceleration", _("Acceleration"), _("K-space has so many times the lines that are measured."),
                    "numbers", 4.0, 1.5, 16.0, 1),
            Setting("center_fraction", _("Center"), _("Share of the lines, in the middle of k-space, that are all "
                    "measured. Less than all that are measured."), "numbers", 8.0, 1.0, 60.0, 1, " %", 0.01),
            Setting("mask", _("Other lines"), _("Which of the others are measured."), "words", "random",
                    words=(("random", _("by chance")), ("equispaced", _("every n-th")))),
            Setting("encoding", _("Encoding"), _("Lines are left out along one axis of each slice, or along both."),
                    "words", "2d", words=(("2d", _("2-D, slice by slice")), ("3d", _("3-D")))),
            Setting("plane", _("Slices"), _("How the slices lie."), "words", "axial", words=planes),
            Setting("phase_axis", _("Phase axis"), _("Along which lines are left out, of 2-D encoding."), "words", "",
                    words=axes),
            Setting("phase", _("Smooth phase"), _("An image without phase would be known from half of its k-space."),
                    "flag", True),
            Setting("coils", _("Coils"), _("Receiver coils, each of which sees what is near to it."), "whole", 1, 1,
                    32),
            Setting("snr", _("Signal to noise"), _("Of the whole measurement; 0 adds no noise."), "numbers", 0.0, 0.0,
                    100.0, 1),
        ),
        "rician": (
            Setting("snr", _("Signal to noise"), _("Mean of what is bright over the noise's standard deviation."),
                    "numbers", 10.0, 1.0, 100.0, 1),
        ),
        "low_dose": (
            Setting("dose", _("Dose"), _("Share of the full dose."), "numbers", 25.0, 1.0, 99.0, 1, " %", 0.01),
            Setting("image", _("Image"), _("Noise alone is added, and what is sharp stays sharp; or the image is made "
                    "anew of its projections, which takes longer."), "words", "difference",
                    words=(("difference", _("with added noise")), ("fbp", _("back projected")))),
            Setting("filter", _("Filter"), _("Of the back projection."), "words", "hann",
                    words=tuple((each, each) for each in ("ramp", "shepp-logan", "cosine", "hamming", "hann"))),
            Setting("views", _("Views"), _("Projections over half a turn."), "whole", 720, 8, 5000),
            Setting("photons", _("Photons"), _("Of the full dose, by detector bin and view with nothing in the way."),
                    "whole", 200000, 1000, 10000000),
            Setting("electronic_noise", _("Electronic noise"), _("Of the detector, in photons."), "number", 3.0, 0.0,
                    100.0, 1),
            Setting("noisy_original", _("The original has the noise of full dose"),
                    _("Only what is lacking is added."), "flag", True),
        ),
        "projection": (
            Setting("views", _("Views"), _("AP: from the front, detector behind. Others as angles in degrees, as DICOM "
                    "has them: 30 or 30/-10, several separated by commas."), "views", ("AP",),
                    words=(("AP", "AP"), ("PA", "PA"), ("LL", _("left lateral")), ("RL", _("right lateral")))),
            Setting("jitter_degrees", _("Jitter"), _("Angles are moved by chance, by so much at most."), "number", 0.0,
                    0.0, 45.0, 1, " °"),
            Setting("beam", _("Beam"), _("From a point, as in an X-ray room, or parallel."), "words", "cone",
                    words=(("cone", _("cone")), ("parallel", _("parallel")))),
            Setting("source_mm", _("Source at"), _("From the source to the middle of the image."), "number", 1000.0,
                    100.0, 10000.0, 0, " mm"),
            Setting("size", _("Pixels"), _("Across and down."), "pixels", 256, 8, 2048),
            Setting("field_mm", _("Field"), _("How wide the picture is in the middle of the image; 0 for all of it."),
                    "number", 0.0, 0.0, 5000.0, 0, " mm"),
            Setting("energy_kev", _("Energy"), _("Of the X-rays."), "number", 70.0, 30.0, 150.0, 0, " keV"),
            Setting("value", _("Values"), _("As a film, bright where much is in the way; or the attenuation along each "
                    "ray."), "words", "film", words=(("film", _("film")), ("line_integral", _("attenuation")))),
            Setting("contrast", _("Contrast"), _("Of the film."), "number", 1.0, 0.1, 5.0, 2),
            Setting("min_path_mm", _("Labels from"), _("A structure is where rays run through so much of it."),
                    "number", 1.0, 0.0, 100.0, 1, " mm"),
        ),
    }  # fmt: skip


class ScannerPage:
    """The widgets of one method.

    Args:
        lines: its settings.
        onChanged: called when the user has changed one.
    """

    def __init__(self, lines, onChanged):
        self._lines, self._onChanged = lines, onChanged
        self._filling = False
        self.widget = qt.QWidget()
        self.widgets = {}
        form = qt.QFormLayout(self.widget)
        form.setRowWrapPolicy(qt.QFormLayout.WrapLongRows)  # in a narrow panel, or with a large font
        form.setContentsMargins(0, 0, 0, 0)
        for line in lines:
            widget = getattr(self, f"_{line.kind}")(line)
            widget.toolTip = line.tip
            if line.kind == "flag":
                form.addRow("", widget)
                continue
            label = qt.QLabel(f"{line.title}:")
            label.toolTip = line.tip
            form.addRow(label, widget)

    def fill(self, values):
        """Show values by name; what is not among them has its default."""
        self._filling = True
        for line in self._lines:
            self._write(line, values.get(line.name, line.default))
        self._filling = False

    def values(self):
        """Return what is shown, as :meth:`fill` takes it."""
        return {line.name: self._read(line) for line in self._lines}

    def options(self):
        """Return what is shown, as meddl.simulation.SimulationOptions.from_dict takes it."""
        found = {}
        for line in self._lines:
            value = self._read(line)
            if line.kind == "numbers":
                value = [value * line.scale] if value or line.low > 0 else []
            elif line.kind == "number":
                value = value * line.scale
            elif line.kind == "pixels":
                value = [value, value]
            found[line.name] = value
        return found

    def _tell(self, *_args):
        if not self._filling:
            self._onChanged()

    def _number(self, line):
        import ctk

        widget = ctk.ctkSliderWidget()
        widget.decimals, widget.minimum, widget.maximum = line.decimals, line.low, line.high
        widget.singleStep, widget.suffix = 10.0**-line.decimals, line.suffix
        widget.connect("valueChanged(double)", self._tell)
        self.widgets[line.name] = widget
        return widget

    _numbers = _number

    def _whole(self, line):
        widget = qt.QSpinBox()
        widget.setRange(int(line.low), int(line.high))
        widget.setKeyboardTracking(False)
        widget.connect("valueChanged(int)", self._tell)
        self.widgets[line.name] = widget
        return widget

    _pixels = _whole

    def _words(self, line):
        widget = qt.QComboBox()
        for value, text in line.words:
            widget.addItem(text, value)
        widget.connect("activated(int)", self._tell)
        self.widgets[line.name] = widget
        return widget

    def _flag(self, line):
        widget = qt.QCheckBox(line.title)
        widget.connect("toggled(bool)", self._tell)
        self.widgets[line.name] = widget
        return widget

    def _views(self, line):
        holder = qt.QWidget()
        grid = qt.QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        boxes = {}
        for number, (value, text) in enumerate(line.words):
            boxes[value] = qt.QCheckBox(text)
            boxes[value].connect("toggled(bool)", self._tell)
            grid.addWidget(boxes[value], number // 2, number % 2)
        others = qt.QLineEdit()
        others.placeholderText = _("other angles, for instance 30, 45/-10")
        others.connect("editingFinished()", self._tell)
        grid.addWidget(others, (len(boxes) + 1) // 2, 0, 1, 2)
        self.widgets[line.name] = (boxes, others)
        return holder

    def _write(self, line, value):
        widget = self.widgets[line.name]
        if line.kind == "views":
            boxes, others = widget
            for name, box in boxes.items():
                box.checked = name in value
            others.text = ", ".join(each for each in value if each not in boxes)
        elif line.kind == "words":
            widget.setCurrentIndex(max(widget.findData(value), 0))
        elif line.kind == "flag":
            widget.checked = bool(value)
        else:
            widget.value = value

    def _read(self, line):
        widget = self.widgets[line.name]
        if line.kind == "views":
            boxes, others = widget
            return [name for name, box in boxes.items() if box.checked] + [
                each.strip() for each in others.text.split(",") if each.strip()
            ]
        if line.kind == "words":
            return widget.itemData(widget.currentIndex)
        return widget.checked if line.kind == "flag" else widget.value
