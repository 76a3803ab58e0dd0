"""Making variants of images of the scene, without a panel."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDLAugmentationLib.parameters import MedDLAugmentationParameterNode


class MedDLAugmentationLogic(ScriptedLoadableModuleLogic):
    """Makes variants; needs no panel.

    Args:
        runner: who runs the jobs; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    @property
    def runner(self):
        """Who runs the jobs."""
        if self._runner is None:
            from meddl_slicer.pump import runner_for_slicer

            return runner_for_slicer()
        return self._runner

    def getParameterNode(self):
        return MedDLAugmentationParameterNode(super().getParameterNode())

    def warmUp(self):
        """Start the worker process, so that the first preview does not wait for it to load PyTorch."""
        prestart = getattr(self.runner, "prestart", None)  # a runner in this process has nothing to start
        if prestart is not None:
            prestart(["torch", "scipy.fft"])
