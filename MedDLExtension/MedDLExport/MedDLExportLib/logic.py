"""Exporting cases of the scene as a training dataset, without a panel."""

from pathlib import Path

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDLExportLib.parameters import MedDLExportParameterNode


class MedDLExportLogic(ScriptedLoadableModuleLogic):
    """Exports cases of the scene; needs no panel.

    Example::

        from meddl.datasets import ExportOptions
        logic = MedDLExportLogic()
        work = logic.process(logic.suggest("segmentation"), "/data", ExportOptions(format="nnunet", name="Liver"))
        print(work.planning.root, work.done, work.failed)

    Args:
        runner: who runs the jobs; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    @property
    def runner(self):
        """Who runs the jobs."""
        from meddl_slicer.pump import runner_for_slicer

        return self._runner or runner_for_slicer()

    def getParameterNode(self):
        return MedDLExportParameterNode(super().getParameterNode())

    def suggest(self, task="segmentation", together=False):
        """Return the cases that the scene seems to hold, see :func:`meddl_slicer.export_suggestions.suggest`."""
        from meddl_slicer.export_suggestions import suggest

        rows = suggest(task, together)
        return [row.changed(key=key) for key, row in enumerate(rows, 1)]

    def process(self, rows, folder, options, scheme=None, key=None, review=None, onProgress=None):
        """Export cases, and return the :class:`meddl_slicer.export_work.ExportWork`. Waits, without events.

        Args:
            rows: as :meth:`suggest` returns them; those that are not included are left out.
            folder: where the dataset goes; some formats make a folder of their own in it.
            options: meddl.datasets.ExportOptions.
            scheme: the labels; what the cases propose when None.
            key: file outside of the dataset that keeps which case is who.
            review: folder outside of the dataset for pictures of heads before and after defacing.
            onProgress: called with the fraction of the work done and one line of text.

        Raises:
            meddl.errors.MedDLError: with a sentence for the user; a dataset that was there is whole.
        """
        from meddl_slicer.export_run import run_all
        from meddl_slicer.export_work import ExportWork, KnownCases

        known = KnownCases()
        chosen = [row for row in rows if row.included]
        run_all(self.runner, known.look_steps(chosen), onProgress)
        key, review = (Path(path) if path is not None else None for path in (key, review))
        work = ExportWork(chosen, known, options, Path(folder), scheme, key, review)
        work.plan()
        run_all(self.runner, work.write_steps(), onProgress)
        return work

    def warmUp(self):
        """Start the worker process, so that the first check does not wait for it."""
        from meddl_slicer.pump import warm_up

        warm_up(self.runner, ["SimpleITK", "scipy.ndimage"])
