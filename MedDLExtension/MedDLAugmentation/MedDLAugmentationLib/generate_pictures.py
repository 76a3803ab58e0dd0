"""Pictures in the panel that are as wide as it is."""

import qt


class FittedPicture:
    """Shows a picture file in a label, never larger than it is and never wider than the label.

    Attributes:
        path: of the picture that is shown, or None.

    Args:
        label: a QLabel whose width does not depend on what it shows.
    """

    _MOST_TIMES = 3  # so much larger than they are, samples of few voxels are shown

    def __init__(self, label):
        self._label = label
        self._pixmap = None
        self._shown = None
        self.path = None
        label.visible = False

    @property
    def isShown(self):
        """Whether there is a picture."""
        return self._pixmap is not None

    def show(self, path):
        """Show the picture in a file; None for nothing. One that is being written is shown the next time."""
        if path is not None and path == self.path:
            return
        if path is None:
            self.path = self._pixmap = self._shown = None
            self._label.clear()
            self._label.visible = False
            return
        pixmap = qt.QPixmap(str(path))
        if pixmap.isNull():
            return
        self.path, self._pixmap, self._shown = path, pixmap, None
        self._label.visible = True
        self.fit()

    def fit(self):
        """Bring the picture to the label's width; to be called when this may have changed."""
        width = self._label.width
        if self._pixmap is None or width == self._shown or width < 16:
            return
        self._shown = width
        # As many voxels to the pixel all over: else edges look frayed.
        times = max(1, min(self._MOST_TIMES, width // self._pixmap.width()))
        scaled = self._pixmap.scaledToWidth(min(width, times * self._pixmap.width()), qt.Qt.SmoothTransformation)
        self._label.setPixmap(scaled)
        self._label.setFixedHeight(scaled.height())
