"""Running models on images of the scene, without a panel."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MedDLInferenceLib.parameters import MedDLInferenceParameterNode


class MedDLInferenceLogic(ScriptedLoadableModuleLogic):
    """Runs models on images of the scene; needs no panel.

    Example::

        logic = MedDLInferenceLogic()
        segmentation = logic.process(volumeNode, "brain_extraction")
        table = logic.process([t1, t2], "/models/lesions", options={"uncertainty": "flips", "device": "cpu"})

    Args:
        runner: who runs the jobs; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner
        self._pump = None
        self._applying = None

    @property
    def runner(self):
        """Who runs the jobs."""
        from meddl_slicer.pump import runner_for_slicer

        return self._runner or runner_for_slicer()

    def getParameterNode(self):
        return MedDLInferenceParameterNode(super().getParameterNode())

    def makeRun(self, inputs, model, output=None, options=None, reference=None, frames="one"):
        """Return a :class:`meddl_slicer.runs.InferenceRun`, ready to be submitted; see there for the arguments.

        Raises:
            meddl.errors.VolumeError: an image cannot be used; the message says why.
        """
        from meddl_slicer.runs import make_run

        return make_run(inputs, model, output, options, reference=reference, frames=frames)

    def makeEvaluation(self, result, run, reference):
        """Return the :class:`meddl_slicer.evaluation_run.EvaluationRun` of a segmentation that was applied."""
        from meddl_slicer.evaluation_run import EvaluationRun

        return EvaluationRun(result, run.output, reference, run.inputVolume)

    def taskOf(self, result):
        """Return the task of a job's result: "segmentation", ..."""
        return str(result["frames"][0]["task"] if "frames" in result else result["task"])

    def process(self, inputs, model, output=None, options=None, reference=None, frames="one", onProgress=None):
        """Run a model and return the result's main node. Waits for the result, without processing events.

        Args:
            inputs: volume node, or a list of them for models that take several images.
            model: catalog name, or where the model is; a list of models for an ensemble.
            output: main node of a former result, replaced on success; a new node when None.
            options: dictionary of meddl.inference.RunOptions, for instance {"device": "cpu"}.
            reference: volume that a reconstruction is compared with, or segmentation to compare a segmentation with.
            frames: for sequences: "one" (the frame that is shown), "each" or "whole".
            onProgress: called with the fraction of the work done and one line of text.

        Raises:
            meddl.errors.MedDLError: with a sentence for the user; the scene is unchanged.
        """
        isSegmentation = isinstance(reference, slicer.vtkMRMLSegmentationNode)
        run = self.makeRun(inputs, model, output, options, None if isSegmentation else reference, frames)
        result = self.runner.submit(run.task, run.params, on_progress=onProgress).wait()
        node = run.apply(result)
        if isSegmentation and "labels" in result:
            evaluation = self.makeEvaluation(result, run, reference)
            evaluation.apply(self.runner.submit(evaluation.task, evaluation.params).wait())
        return node

    def start(self, inputs, model, output=None, options=None, reference=None, frames="one", onProgress=None,
              onFinished=None):  # fmt: skip
        """Do as :meth:`process` but return at once, with the :class:`meddl.jobs.Job`; events must be processed.

        Args:
            reference: a volume; comparing segmentations takes a second job, see :meth:`makeEvaluation`.
            onFinished: called with (main node, None) or (None, error).
        """
        from meddl_slicer.pump import JobPump
        from meddl_slicer.stepwise import Stepwise

        run = self.makeRun(inputs, model, output, options, reference, frames)

        def tell(error):
            self._applying = None
            if onFinished is not None:
                onFinished(run.output if error is None else None, error)

        def finish(job):
            if job.error is not None:
                tell(job.error)
            else:
                self._applying = Stepwise(run.steps(job.result), tell)

        job = self.runner.submit(run.task, run.params, on_progress=onProgress, on_done=finish)
        if self._pump is None or self._pump.runner is not self.runner:
            self._pump = JobPump(self.runner)
        self._pump.start()
        return job

    def warmUp(self):
        """Start the worker process, so that the first run does not wait for it to load PyTorch."""
        from meddl_slicer.pump import warm_up

        warm_up(self.runner, ["torch", "monai.transforms"])

    def download(self, model):
        """Return task and params of the job that fetches a catalog model."""
        from meddl_slicer.download_task import ADD_MODEL

        return ADD_MODEL, {"model": model}

    def trust(self, model):
        """Store the user's consent to a model, or to the next one of several, as it is now."""
        from meddl_slicer import consent

        consent.record(model, origin="MedDL Inference panel")

    def install(self, names):
        """Install optional packages that a model takes; the worker starts afresh with them."""
        from meddl_slicer import packages

        packages.install_afresh(packages.plan_for(names))

    def removeCompanions(self, node):
        """Remove what belongs to a result whose main node is leaving: tables, boxes, plots."""
        from meddl_slicer import runs
        from meddl_slicer.scene_guard import remove_soon

        remove_soon(runs.companions(node))
