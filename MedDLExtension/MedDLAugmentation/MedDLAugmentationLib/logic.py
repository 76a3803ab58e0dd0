"""Making variants of images of the scene, without a panel."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDLAugmentationLib.parameters import MedDLAugmentationParameterNode, ScannerParameterNode


class MedDLAugmentationLogic(ScriptedLoadableModuleLogic):
    """Makes variants; needs no panel.

    Example::

        logic = MedDLAugmentationLogic()
        made = logic.process(volumeNode, segmentationNode, plan="mr", count=3, seed=7)
        for images, segmentation in made:
            print(images[0].GetName(), segmentation.GetName())

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

    def getScannerParameterNode(self):
        """Return the parameter node of the tab "Scanner"."""
        return ScannerParameterNode(super().getParameterNode())

    def process(self, images, segmentation=None, plan="mr", count=1, seed=0, onProgress=None):
        """Make variants, and return their nodes: for each, a list of volumes and the segmentation or None.

        Waits, without processing events. The panel's preview shows the same with the same plan and seed.

        Args:
            images: volume node, or a list of those that move together.
            segmentation: what is labeled in them.
            plan: name of a preset, file of a plan, or a meddl.augmentation.AugmentationPlan.
            count: how many variants.
            seed: of what is left to chance.
            onProgress: called with the fraction of the work done and one line of text.

        Raises:
            meddl.errors.MedDLError: with a sentence for the user; what was finished before is in the scene.
        """
        from meddl.augmentation import AugmentationPlan, load_plan
        from meddl_slicer.augmentation_case import SceneCase
        from meddl_slicer.augmentation_run import VariantRun

        plan = plan if isinstance(plan, AugmentationPlan) else load_plan(plan)
        case = SceneCase(images if isinstance(images, list | tuple) else [images], segmentation)
        made = []
        for number in range(count):
            what = {"plan": plan.to_dict(), "seed": seed, "number": number}
            run = VariantRun(case, what, f"variant {number + 1}")
            result = {"missing": True}
            for withVoxels in (number == 0, True):
                if result["missing"]:
                    params = run.params(withVoxels)
                    result = self.runner.submit(run.task, params, on_progress=onProgress).wait()
            run.apply(result)
            made.append((run.images, run.segmentation))
        return made

    def warmUp(self):
        """Start the worker process, so that the first preview does not wait for it to load PyTorch."""
        prestart = getattr(self.runner, "prestart", None)  # a runner in this process has nothing to start
        if prestart is not None:
            prestart(["torch", "scipy.fft"])
