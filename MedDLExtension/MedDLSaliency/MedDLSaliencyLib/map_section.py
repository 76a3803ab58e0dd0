"""The panel's part for how maps are shown: over the slices, beside one another, in 3D, and the value at the cursor."""

import qt
import slicer
from slicer.i18n import tr as _

_RENDER_MS = 200


class MapSection:
    """Chooses maps of the scene and shows them in the views.

    Args:
        ui: the panel's widgets.
        onChosen: called when the user has chosen another map.
    """

    def __init__(self, ui, onChosen):
        from meddl_slicer.explanation_views import SideBySide

        self.ui = ui
        self._onChosen = onChosen
        self._parameters = None
        self._sides = SideBySide()
        self._shown = None
        self._rendered = None
        ui.mapComboBox.connect("activated(int)", self._onMap)
        ui.otherMapComboBox.connect("activated(int)", self._onOtherMap)
        ui.showMapButton.connect("toggled(bool)", self._onShow)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThreshold)
        ui.show3DButton.connect("toggled(bool)", self._onShow3D)
        self._renderTimer = qt.QTimer()
        self._renderTimer.setSingleShot(True)
        self._renderTimer.connect("timeout()", self._render)

    def cleanup(self):
        """Give the views back."""
        self._renderTimer.stop()
        self.hide()
        self._parameters = None

    def setParameters(self, parameters):
        """Show what is in this parameter node from now on; None for nothing."""
        self._parameters = parameters
        self._shown = self._rendered = None

    def view(self):
        """Return what is known of the map that is chosen, or None."""
        from meddl_slicer.explanation_maps import map_of

        return map_of(self._parameters.map) if self._parameters else None

    def otherView(self):
        """Return what is known of the map beside it, or None."""
        from meddl_slicer.explanation_maps import map_of

        other = map_of(self._parameters.otherMap) if self._parameters else None
        return other if other is not None and other.node is not self._parameters.map else None

    def show(self):
        """Lay the chosen map over its image."""
        self.ui.showMapButton.checked = True
        self._showMaps()

    def renderAgain(self):
        """Have a rendering show the values that the chosen map has now."""
        from meddl_slicer.explanation_views import is_shown_in_3d

        view = self.view()
        if view is not None and is_shown_in_3d(view.node):
            self._render()

    def hide(self):
        """Take maps off the slices."""
        from meddl_slicer.explanation_views import show_over_image

        self._sides.hide()
        if self._shown is not None:
            show_over_image(None, 0.0)
        self._shown = None

    def update(self):
        """Bring the widgets and views in line with the maps of the scene and the choices."""
        from meddl_slicer.explanation_maps import maps_of, threshold_of
        from meddl_slicer.explanation_views import is_over_image

        if not self._parameters:
            return
        maps = maps_of(None)
        self._fill(self.ui.mapComboBox, maps, self._parameters.map, None)
        others = [view for view in maps if view.node is not self._parameters.map]
        self._fill(self.ui.otherMapComboBox, others, self._parameters.otherMap, _("Nothing"))
        for widget in (self.ui.otherMapLabel, self.ui.otherMapComboBox):
            widget.visible = bool(others)
        view = self.view()
        for widget in (
            self.ui.showMapButton,
            self.ui.thresholdSlider,
            self.ui.opacitySlider,
            self.ui.topSlider,
            self.ui.show3DButton,
        ):
            widget.enabled = view is not None
        if view is not None:
            self._set(self.ui.thresholdSlider, round(100 * threshold_of(view.node)))
        if view is not None and not self.ui.showMapButton.checked and is_over_image(view):  # it came with a scene
            self._setChecked(self.ui.showMapButton, True)
        if self.ui.showMapButton.checked:
            self._showMaps()
        self._update3D(view)
        self.showValue(None)

    def showValue(self, place):
        """Tell the value at a place in the world, or what to do to see it."""
        from meddl_slicer.explanation_views import value_at

        view = self.view()
        if view is None:
            self.ui.valueLabel.text = ""
            return
        value = value_at(view.node, place) if place is not None else None
        if value is None:
            end = f"{view.greatest:.3g}"
            said = _("Scale: {low} to {high}. Point to the image for values.")
            self.ui.valueLabel.text = said.format(low=f"-{end}" if view.signed else "0", high=end)
            return
        share = 100 * value / view.greatest
        if abs(share) > 100:
            said = _("Here: {value}, beyond the end of the scale").format(value=f"{value:.3g}")
        else:
            percent = f"{share:+.0f}" if view.signed else f"{share:.0f}"
            said = _("Here: {value} ({percent} % of the scale)").format(value=f"{value:.3g}", percent=percent)
        self.ui.valueLabel.text = said

    def _showMaps(self):
        from meddl_slicer.explanation_views import show_over_image

        view, other = self.view(), self.otherView()
        if view is None:
            self.hide()
            return
        wanted = (view.node.GetID(), other.node.GetID() if other else "", self._parameters.opacity)
        if wanted == self._shown:
            return
        self._shown = wanted
        if other is None:
            self._sides.hide()
            show_over_image(view, self._parameters.opacity)
        else:
            self._sides.show(view, other, self._parameters.opacity)

    def _update3D(self, view):
        from meddl_slicer.explanation_views import hide_in_3d, is_shown_in_3d

        button = self.ui.show3DButton
        if self._rendered is None and view is not None and is_shown_in_3d(view.node):  # it came with a scene
            self._rendered = (view.node.GetID(), self._parameters.topPercent)
            self._setChecked(button, True)
        elif self._rendered is not None and (view is None or self._rendered[0] != view.node.GetID()):
            former = slicer.mrmlScene.GetNodeByID(self._rendered[0])
            if former is not None:
                hide_in_3d(former)
            self._rendered = None
            if button.checked and view is not None:
                self._renderTimer.start(_RENDER_MS)
        elif self._rendered is not None and self._rendered[1] != self._parameters.topPercent:
            self._renderTimer.start(_RENDER_MS)

    def _render(self):
        from meddl_slicer.explanation_views import show_in_3d

        view = self.view()
        if view is None or not self.ui.show3DButton.checked:
            return
        self._rendered = (view.node.GetID(), self._parameters.topPercent)
        with slicer.util.tryWithErrorDisplay(_("The map could not be rendered."), waitCursor=True):
            show_in_3d(view, self._parameters.topPercent)

    def _fill(self, combo, views, chosen, none):
        wanted = [(self._title(view), view.node.GetID()) for view in views]
        if none is not None:
            wanted.insert(0, (none, ""))
        if wanted != [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)]:
            combo.clear()
            for text, value in wanted:
                combo.addItem(text, value)
        found = combo.findData(chosen.GetID()) if chosen is not None else -1
        combo.setCurrentIndex(found if found >= 0 else (0 if none is not None else -1))

    def _title(self, view):
        from meddl_slicer.explanation_maps import SOURCE_ROLE

        source = view.node.GetNodeReference(SOURCE_ROLE)
        parts = [f"{view.title}: {view.target}", source.GetName() if source is not None else ""]
        return ", ".join(part for part in parts if part)

    def _onMap(self, index):
        self._parameters.map = slicer.mrmlScene.GetNodeByID(self.ui.mapComboBox.itemData(index))
        self._onChosen()

    def _onOtherMap(self, index):
        identifier = self.ui.otherMapComboBox.itemData(index)
        self._parameters.otherMap = slicer.mrmlScene.GetNodeByID(identifier) if identifier else None
        if identifier:
            self.ui.showMapButton.checked = True

    def _onShow(self, checked):
        if checked:
            self._showMaps()
        else:
            self.hide()

    def _onThreshold(self, percent):
        from meddl_slicer.explanation_maps import set_threshold

        for view in (self.view(), self.otherView()):
            if view is not None:
                set_threshold(view.node, percent / 100)

    def _onShow3D(self, checked):
        from meddl_slicer.explanation_views import hide_in_3d

        view = self.view()
        if view is None:
            return
        if checked:
            self._render()
        else:
            hide_in_3d(view.node)
            self._rendered = None

    def _set(self, slider, value):
        wasBlocked = slider.blockSignals(True)
        slider.value = value
        slider.blockSignals(wasBlocked)

    def _setChecked(self, button, checked):
        wasBlocked = button.blockSignals(True)
        button.checked = checked
        button.blockSignals(wasBlocked)
