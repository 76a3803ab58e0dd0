"""The part of the tab that judges a generator: how near to real images, how private, how useful."""

import html
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MedDLAugmentationLib.generate_pictures import FittedPicture

_LOOK_MS = 500
_WARNING = "#e53935"  # readable on light and on dark
_PAIRS = "pairs.png"


class JudgeSection:
    """Judges in the worker of trainings, and shows the answer as tables and pictures.

    Args:
        tab: the tab.
    """

    def __init__(self, tab):
        self._tab = tab
        self.ui = tab.ui
        self._judgement = None
        self._report = None
        self._picture = FittedPicture(self.ui.pairsLabel)
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_MS)
        self._timer.connect("timeout()", self._fit)
        line = self.ui.reportPathLineEdit
        line.retrieveHistory()
        line.connect("currentPathChanged(QString)", lambda path: tab.update())
        line.connect("validInputChanged(bool)", lambda valid: tab.update())
        self.ui.featuresComboBox.connect("activated(int)", self._onFeatures)
        self.ui.judgeButton.connect("clicked(bool)", self.start)
        self.ui.openReportButton.connect("clicked(bool)", self._onOpen)
        self.show(None, [])

    def cleanup(self):
        """Look no more."""
        self._timer.stop()

    def missing(self):
        """Return what keeps a generator from being judged, each as a few words."""
        found = self._tab.dataset.missing() + self._tab.generator.missing()
        if not self.ui.reportPathLineEdit.currentPath.strip():
            found.append(_("a folder for the report"))
        return found + self._tab.needs()

    def start(self, *_args):
        """Judge the generator by the dataset."""
        self._tab.attempt(self._start)

    def update(self):
        """Bring the widgets in line with the choices."""
        parameters, busy = self._tab.parameters, self._tab.isBusy
        for name in ("judgeCountSpinBox", "judgeSeedSpinBox", "featuresComboBox", "usefulnessCheckBox"):
            getattr(self.ui, name).enabled = not busy
        for name in ("seedsSpinBox", "segmenterStepsSpinBox"):
            getattr(self.ui, name).enabled = parameters.judging.usefulness and not busy
        self._showFeatures(parameters)
        tip = _("Judge the generator by the images of the dataset's training part, and of the people held out.")
        self._tab.tip(self.ui.judgeButton, self.missing(), tip, busy or self._tab.train.isRunning)

    def show(self, judgement, files):
        """Show a judgement, as :meth:`meddl.synthesis.judgement.Judgement.to_dict` tells it, and its files."""
        from meddl_slicer import synthesis_judgement, table_widget

        self._judgement = judgement
        self._report = next((Path(each) for each in files), None)
        ui, isThere = self.ui, judgement is not None
        warnings = judgement["warnings"] if isThere else []
        summary = [each for each in judgement["summary"] if each not in warnings] if isThere else []
        lines = [f'<b style="color: {_WARNING}">{html.escape(each)}</b>' for each in warnings]
        lines += [html.escape(each) for each in summary]
        ui.judgeSummaryLabel.text = "".join(f'<p style="margin: 0 0 4px 0">{line}</p>' for line in lines)
        ui.judgeSummaryLabel.visible = bool(lines)
        tables = (
            (ui.distancesTable, synthesis_judgement.distance_rows),
            (ui.usefulnessTable, synthesis_judgement.usefulness_rows),
        )
        for table, rows in tables:
            headings, cells = rows(judgement) if isThere else ([], [])
            table_widget.fill(table, headings if cells else [], cells)
            table.visible = bool(cells)
        self._picture.show(None)
        self._picture.show(next((Path(each) for each in files if Path(each).name == _PAIRS), None))
        ui.pairsLabel.visible = self._picture.isShown
        _tell(ui.pairsTextLabel, synthesis_judgement.pairs_sentence(judgement) if isThere else "")
        _tell(ui.usefulnessTextLabel, "\n".join(judgement["notes"]) if isThere else "")
        ui.openReportButton.visible = self._report is not None
        if isThere:
            self._timer.start()
        else:
            self._timer.stop()

    def open(self, path):
        """Show a file with whatever the user opens such files with. Tests leave it closed."""
        if not slicer.app.testingEnabled():
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _start(self):
        from meddl.synthesis.judgement import JudgeOptions
        from meddl.synthesis.task import JUDGE_SYNTHESIZER

        judging = self._tab.parameters.judging
        options = JudgeOptions(
            count=judging.count,
            seed=judging.seed,
            features=judging.features,
            seeds=judging.seeds if judging.usefulness else 0,
            segmenter_steps=judging.segmenterSteps,
        )
        params = {
            "dataset": self._tab.dataset.folder,
            "model": self._tab.generator.current().id,
            "options": options.to_dict(),
            "output": Path(self.ui.reportPathLineEdit.currentPath.strip()),
        }
        self.show(None, [])
        self._tab.dataset.remember()
        self.ui.reportPathLineEdit.addCurrentPathToHistory()
        self._tab.jobPanel.addLog(_("Judging {name}").format(name=self._tab.generator.current().name))
        self._tab.runJob(JUDGE_SYNTHESIZER, params, self._onFinished, isLong=True)

    def _onFinished(self, job):
        seconds = self._tab.jobPanel.elapsed
        if job.error is not None:
            self._tab.handled(job.error, self.start)
        else:
            self.show(job.result["judgement"], job.result["files"])
            said = _("Judged in {seconds} s.").format(seconds=f"{seconds:.0f}")
            self._tab.jobPanel.showIdle(said, 1.0)
            self._tab.jobPanel.addLog("\n".join([said, *job.result["judgement"]["summary"]]))
        self._tab.update()

    def _showFeatures(self, parameters):
        """Offer the models that are here; the list is made when the section is first opened."""
        from meddl_slicer.model_choices import available_models

        combo, chosen = self.ui.featuresComboBox, parameters.judging.features
        if self.ui.judgeCollapsibleButton.collapsed:
            return
        if not combo.count:
            combo.addItem(_("A segmenter trained for it"), "")
            for choice in available_models():
                if choice.installed and not choice.problem and choice.task in ("segmentation", "classification"):
                    combo.addItem(choice.name, choice.id)
        if chosen and combo.findData(chosen) < 0:
            combo.addItem(chosen, chosen)
        combo.setCurrentIndex(max(combo.findData(chosen), 0))

    def _fit(self):
        from meddl_slicer import table_widget

        self._picture.fit()
        for table in (self.ui.distancesTable, self.ui.usefulnessTable):
            if not table.isHidden():
                table_widget.fit(table)

    def _onFeatures(self, index):
        if self._tab.parameters:
            self._tab.parameters.judging.features = self.ui.featuresComboBox.itemData(index)

    def _onOpen(self):
        self.open(self._report)


def _tell(label, text):
    label.text = text
    label.visible = bool(text)
