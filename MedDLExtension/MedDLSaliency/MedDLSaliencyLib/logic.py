"""Explaining a model's answers to images of the scene, without a panel."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDLSaliencyLib.parameters import MedDLSaliencyParameterNode


class MedDLSaliencyLogic(ScriptedLoadableModuleLogic):
    """Explains answers; needs no panel.

    Example::

        logic = MedDLSaliencyLogic()
        maps = logic.process(volumeNode, "brain_extraction", ["integrated_gradients", "occlusion"])
        target = logic.target("brain_extraction", "Brain", "crosshair", inputVolume=volumeNode)
        maps = logic.process(volumeNode, "brain_extraction", ["occlusion"], target, measures=["deletion"])

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
        return MedDLSaliencyParameterNode(super().getParameterNode())

    def target(self, model, name="", place="found", region=None, inputVolume=None):
        """Return what is to be explained of a model's answer.

        Args:
            model: catalog name, or where the model is.
            name: of a class, structure, kind of box or landmark; "" for what the model is surest of.
            place: "found", "crosshair" or "region" (with ``region``, a ROI or a segmentation, and the image).

        Raises:
            meddl.errors.MedDLError: there is no such model, or the region cannot be used.
        """
        from meddl.models import resolve_model
        from meddl_slicer.explanation_target import kind_of, target_of

        return target_of(kind_of(resolve_model(str(model)).task), name, place, region, inputVolume)

    def makeRun(self, inputs, model, methods, target=None, options=None, **more):
        """Return a :class:`meddl_slicer.explanation_run.ExplanationRun`; see there for the arguments.

        Raises:
            meddl.errors.VolumeError: an image cannot be used; the message says why.
        """
        from meddl_slicer.explanation_run import ExplanationRun

        return ExplanationRun(inputs, model, methods, target, options, **more)

    def process(self, inputs, model, methods, target=None, options=None, onProgress=None, **more):
        """Explain, and return the volume nodes of the maps, one per method. Waits, without processing events.

        Methods that turn out not to work on the image are left out, as long as one does.

        Args:
            inputs: volume node, or a list of them for models that take several images.
            model: catalog name, or where the model is.
            methods: ids, for instance ["integrated_gradients"].
            target: as :meth:`target` returns it; what the model is surest of when None.
            options: dictionary of meddl.saliency.options.ExplainOptions, for instance {"steps": 50}.
            onProgress: called with the fraction of the work done and one line of text.
            more: see :class:`meddl_slicer.explanation_run.ExplanationRun`.

        Raises:
            meddl.errors.MedDLError: with a sentence for the user; the scene is unchanged.
        """
        run = self.makeRun(inputs, model, methods, target, options, **more)
        return run.apply(self.runner.submit(run.task, run.params, on_progress=onProgress).wait())

    def warmUp(self):
        """Start the worker process, so that the first explanation does not wait for it to load PyTorch."""
        from meddl_slicer.pump import warm_up

        warm_up(self.runner, ["torch", "monai.transforms"])

    def download(self, model):
        """Return task and params of the job that fetches a catalog model."""
        from meddl_slicer.download_task import ADD_MODEL

        return ADD_MODEL, {"model": model}

    def trust(self, model):
        """Store the user's consent to a model as it is now."""
        from meddl_slicer import consent

        consent.record(model, origin="MedDL Saliency panel")

    def install(self, names):
        """Install optional packages that a model takes; the worker starts afresh with them."""
        from meddl_slicer import packages

        packages.install_afresh(packages.plan_for(names))

    def removeCompanions(self, node):
        """Remove what belongs to a map that is leaving: its colors, tables and plots."""
        from meddl_slicer import explanation_maps
        from meddl_slicer.scene_guard import remove_soon

        remove_soon(explanation_maps.companions(node))
