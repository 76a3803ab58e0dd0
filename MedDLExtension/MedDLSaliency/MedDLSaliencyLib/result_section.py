"""The panel's part for what is said of a map: where the evidence lies, how far to believe it, how it was made."""

import html

import qt
import slicer
from slicer.i18n import tr as _

_LAYOUT_MS = 50
_MARGIN = 8
_VERDICTS = {"good": "#1b7837", "doubtful": "#8a6d00", "bad": "#b00020", "": "gray"}
_ON_DARK = {"good": "#6fcf86", "doubtful": "#e3b341", "bad": "#ff8a80", "": "#a0a0a0"}
_WORDS = {"good": _("good"), "doubtful": _("doubtful"), "bad": _("bad")}


class ResultSection:
    """Shows one map's texts and tables, read from its nodes.

    Args:
        ui: the panel's widgets.
        getSegmentation: returns the segmentation whose structures the table may name, or None.
    """

    def __init__(self, ui, getSegmentation):
        self.ui = ui
        self._getSegmentation = getSegmentation
        self.view = None
        ui.anatomyTable.connect("cellClicked(int,int)", self._onRow)
        ui.curvesButton.connect("clicked(bool)", self._onCurves)
        self._layoutTimer = _timer(self.fit)
        self._scrollTimer = _timer(self._scroll)

    def cleanup(self):
        """Await nothing any more."""
        self._layoutTimer.stop()
        self._scrollTimer.stop()
        self.view = None

    def bringIntoView(self):
        """Scroll the module panel to the result, as soon as this is laid out: on a small screen it lies below."""
        self._scrollTimer.start(2 * _LAYOUT_MS)

    def fit(self):
        """Give the tables the room they need, now that they know their width."""
        from meddl_slicer import table_widget

        for table in (self.ui.anatomyTable, self.ui.measuresTable):
            table_widget.fit(table)

    def show(self, view, hasMaps):
        """Show what is known of a map; None for nothing.

        Args:
            hasMaps: there are maps that can be chosen.
        """
        from meddl_slicer import explanation_tables, provenance

        self.view = view
        self.ui.resultsCollapsibleButton.visible = view is not None or hasMaps
        facts = provenance.read(view.node) or {} if view is not None else {}
        self.ui.resultModelLabel.text = provenance.model_title(facts) if facts else ""
        self.ui.resultSentenceLabel.text = _sentence(view) if view is not None else ""
        notes = list(view.notes) if view is not None else []
        self.ui.notesLabel.text = "\n".join(notes)
        self.ui.notesFrame.visible = bool(notes)
        self._showTable(self.ui.anatomyTable, explanation_tables.ANATOMY_ROLE, self.ui.anatomyLabel)
        said = self._table(explanation_tables.ANATOMY_ROLE)
        sentences = [said.GetAttribute("MedDL.Sentence") or ""] if said is not None else []
        sentences += [each["sentence"] for each in view.counterfactuals] if view is not None else []
        self.ui.anatomySentenceLabel.text = "\n".join(each for each in sentences if each)
        self.ui.anatomySentenceLabel.visible = bool(self.ui.anatomySentenceLabel.text)
        self._showTable(self.ui.measuresTable, explanation_tables.MEASURES_ROLE, self.ui.believeLabel, words=True)
        palette = self.ui.measuresTextLabel.palette
        isDark = palette.color(qt.QPalette.WindowText).lightness() > palette.color(qt.QPalette.Window).lightness()
        self.ui.measuresTextLabel.text = _verdicts(view, _ON_DARK if isDark else _VERDICTS) if view is not None else ""
        self.ui.measuresTextLabel.visible = bool(self.ui.measuresTextLabel.text)
        chart = explanation_tables.chart_of(view.node) if view is not None else None
        self.ui.curvesButton.visible = chart is not None
        self._layoutTimer.start(_LAYOUT_MS)

    def _showTable(self, widget, role, label, words=False):
        from meddl_slicer import results, table, table_widget

        node = self._table(role)
        headings, rows = table.values(node) if node is not None else ([], [])
        cells = [[results.text_of(value) for value in row] for row in rows]
        if words:  # what stands in words is shown below, where there is room for it
            headings, cells = headings[:-1], [row[:-1] for row in cells]
        table_widget.fill(widget, headings, cells)
        label.visible = node is not None

    def _table(self, role):
        return self.view.node.GetNodeReference(role) if self.view is not None else None

    def _scroll(self):
        area = self.ui.resultsCollapsibleButton
        while area is not None and not isinstance(area, qt.QScrollArea):
            area = area.parentWidget()
        if area is not None and self.view is not None:
            area.ensureWidgetVisible(self.ui.resultsCollapsibleButton, 0, _MARGIN)

    def _onRow(self, row, column):
        from meddl_slicer import results

        node, name = self._getSegmentation(), self.ui.anatomyTable.item(row, 0).text()
        identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name) if node is not None else ""
        center = node.GetSegmentCenterRAS(identifier) if identifier else None
        if center is not None:
            results.jump_to(tuple(center))

    def _onCurves(self, checked=False):
        from meddl_slicer import explanation_tables, results

        chart = explanation_tables.chart_of(self.view.node) if self.view is not None else None
        if chart is not None and slicer.app.layoutManager() is not None:
            results.show_chart(chart)


def _sentence(view):
    """Return what was explained and how, in a few lines."""
    said = [_("{method} explains {target}: the network says {score}.").format(
        method=view.title, target=view.target, score=f"{view.score:.4g}")]  # fmt: skip
    if view.signed:
        said.append(_("Red speaks for it, blue against it."))
    else:
        said.append(_("The lighter, the more it had to do with it; this method tells no signs."))
    facts = []
    if view.facts.get("layer"):
        grid = " x ".join(str(size) for size in view.facts.get("grid") or ())
        facts.append(_("layer {name}").format(name=view.facts["layer"]) + (f" ({grid})" if grid else ""))
    if view.facts.get("baseline"):
        facts.append(_("baseline {name}").format(name=view.facts["baseline"]))
    if isinstance(view.facts.get("completeness_gap"), int | float):
        facts.append(_("{percent} % of the score unexplained").format(
            percent=f"{100 * abs(view.facts['completeness_gap']):.1f}"))  # fmt: skip
    if isinstance(view.facts.get("seconds"), int | float):
        facts.append(_("{seconds} s").format(seconds=f"{view.facts['seconds']:.1f}"))
    text = "; ".join(facts)
    return " ".join(said) + (f"\n{text[0].upper()}{text[1:]}." if text else "")


def _verdicts(view, colors):
    """Return what the measures say, in words, with colors for the verdicts."""
    from meddl.saliency.faithfulness.known import ABOUT

    said = [(ABOUT[one["name"]].title if one["name"] in ABOUT else one["name"], one) for one in view.measures]
    said += _agreements(view)
    lines = []
    for name, one in said:
        if one["sentence"]:
            color, word = colors.get(one["verdict"], colors[""]), _WORDS.get(one["verdict"], "")
            heading = html.escape(f"{name}, {word}" if word else name)
            lines.append(_line(f'<b style="color: {color}">{heading}:</b> {html.escape(one["sentence"])}'))
    if not view.measures:
        note = _("Nobody has checked this map. Choose measures above to learn how far it can be believed.")
        lines.append(_line(html.escape(note)))
    elif not any(one["name"] == "randomization" and one["verdict"] for one in view.measures):
        note = _("Whether the map depends on the network at all is not known: that is what Randomization tells.")
        lines.append(_line(html.escape(note)))
    return "".join(lines)


def _agreements(view):
    """Return how far the map agrees with the others of its run: what to call it, and the measure."""
    from meddl_slicer.explanation_maps import title_of

    found = []
    for one in view.agreement:
        methods = one["name"].removeprefix("agreement of ").split(" and ")
        if view.method in methods:
            others = [title_of(method) for method in methods if method != view.method]
            found.append((_("Agreement with {method}").format(method=", ".join(others)), one))
    return found


def _line(text):
    return f'<p style="margin: 2px 0">{text}</p>'


def _timer(onTimeout):
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", onTimeout)
    return timer
