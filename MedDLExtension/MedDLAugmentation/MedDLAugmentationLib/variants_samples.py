"""The six pictures of the preview, and what is said of each."""

from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

_LEAST, _MOST = 80, 280  # pixels of a picture
_BETWEEN = 10  # pixels from one picture to the next
_MOST_NAMED, _MOST_TOLD = 1, 5
_WARNING = "\N{WARNING SIGN} "


@dataclass(frozen=True)
class Asked:
    """What samples were asked for.

    Attributes:
        choice: the slice, a meddl_slicer.augmentation_slices.SliceChoice.
        numbers: of the samples.
        greatest: voxels along an edge.
        since: when their turn came.
        isNew: whether the worker was sent the voxels with it.
    """

    choice: object
    numbers: tuple
    greatest: int
    since: float
    isNew: bool = False


@dataclass(frozen=True)
class Shown:
    """A sample that is shown.

    Attributes:
        sample, source: as meddl.augmentation.task.preview_variants tells them.
        asked: what they were asked for with.
    """

    sample: dict
    source: dict
    asked: Asked


class SampleCells:
    """Buttons with a picture each, and a line of warnings below.

    Args:
        ui: the tab's widgets.
        count: how many there are.
        onClicked: called with the number of the one that was clicked on.
    """

    def __init__(self, ui, count, onClicked):
        self.ui = ui
        self._cells = [(getattr(ui, f"sample{n}Button"), getattr(ui, f"sample{n}Label")) for n in range(1, count + 1)]
        for number, (button, _label) in enumerate(self._cells):
            button.connect("clicked(bool)", lambda checked, number=number: onClicked(number))

    def hide(self):
        """Show nothing."""
        for button, label in self._cells:
            button.visible = label.visible = False

    def select(self, number):
        """Mark one."""
        self._cells[number][0].checked = True

    def show(self, number, shown, segments, parameters, case):
        """Draw one.

        Args:
            shown: the sample.
            segments: what the labels mean, as plain data.
            parameters: say how it looks.
            case: a meddl_slicer.augmentation_case.SceneCase, whose window is used.
        """
        button, label = self._cells[number]
        pixmap = self._pixmap(shown, segments, parameters, case)
        button.setIconSize(pixmap.size())
        button.setIcon(qt.QIcon(pixmap))
        button.toolTip = at_length(shown.sample)
        button.visible = True
        label.text = in_short(shown.sample)
        label.visible = bool(label.text)

    def _pixmap(self, shown, segments, parameters, case):
        from meddl_slicer import augmentation_pictures as pictures

        sample, choice = shown.sample, shown.asked.choice
        channel = _channel(shown, parameters)
        source, made = shown.source["images"][channel], sample["images"][channel]
        image = choice.laid_out(made.array)
        window = _window(case, channel, source.array)
        if parameters.difference:
            picture = pictures.difference_picture(image, choice.laid_out(source.array), window)
        else:
            picture = pictures.gray_picture(image, window)
        width, height = self._size(made, choice)
        if parameters.outlines and sample["labels"] is not None:
            labels = choice.laid_out(sample["labels"].array)
            times = pictures.times(picture, max(width, height))
            picture = pictures.repeated(picture, times)
            colors = [(each["layer"], each["label"], each["color"]) for each in segments]
            pictures.draw_outlines(picture, pictures.repeated(labels, times, first=1), colors)
        pixmap = qt.QPixmap()
        pixmap.loadFromData(qt.QByteArray(pictures.ppm(picture)))
        return pixmap.scaled(width, height, qt.Qt.IgnoreAspectRatio, qt.Qt.SmoothTransformation)

    def _size(self, volume, choice):
        """Return width and height of a picture, as large as the panel has room for."""
        room = self.ui.previewCollapsibleButton.width // 3 - _BETWEEN
        room = max(_LEAST, min(_MOST, room))
        extent = [count * size for count, size in zip(volume.shape, volume.spacing, strict=True)]
        width, height = extent[choice.across], extent[choice.down]
        scale = room / max(width, height)
        return max(1, round(width * scale)), max(1, round(height * scale))


def in_short(sample):
    """Return the warnings of a sample in a few words; "" for a good one."""
    from meddl.augmentation import GuardLimits

    told, realism = [], sample["realism"]
    gone = realism["vanished"]
    cut = [name for name, share in realism["volumes"].items() if 0 < share < GuardLimits().visible]
    if gone:
        names = ", ".join(gone) if len(gone) <= _MOST_NAMED else _("{count} structures").format(count=len(gone))
        told.append(_("{names} gone").format(names=names))
    if cut:
        names = ", ".join(cut) if len(cut) <= _MOST_NAMED else _("{count} structures").format(count=len(cut))
        told.append(_("{names} cut off").format(names=names))
    if any(distance > GuardLimits().histogram for distance in realism["histogram"].values()):
        told.append(_("values far off"))
    return _WARNING + "; ".join(told) if told else ""


def at_length(sample):
    """Return what happened to a sample, and what is to be said of it."""
    from meddl_slicer.augmentation_run import said_of

    lines = [said_of(sample["happened"]), *sample["realism"]["warnings"], *sample["draw"]["notes"]]
    if len(lines) > _MOST_TOLD:
        left = len(lines) - _MOST_TOLD + 1
        lines = [*lines[: _MOST_TOLD - 1], _("… and {count} more of this kind.").format(count=left)]
    return "\n".join(lines)


def _channel(shown, parameters):
    names = list(shown.source["images"])
    return parameters.channel if parameters.channel in names else names[0]


def _window(case, channel, array):
    from meddl_slicer import augmentation_pictures as pictures
    from meddl_slicer.augmentation_run import window_of

    node = case.images.get(channel) if case is not None else None
    shown = window_of(node) if node is not None and array.shape[0] == 1 else None
    return shown or pictures.usual_window(array)
