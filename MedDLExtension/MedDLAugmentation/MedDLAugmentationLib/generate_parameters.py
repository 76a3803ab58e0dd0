"""What the user has chosen in the tab "Generate"; saved with the scene, but for folders, which may name people."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper, parameterPack

PREFIX = "Generate."
"""Before the names of all parameters here: the other tabs keep theirs in the same node."""

Seed = Annotated[int, WithinRange(0, 999999), Default(0)]


class Kind(Enum):
    """How a generator makes images."""

    RECTIFIED_FLOW = "rectified_flow"
    GAN = "gan"
    DDPM = "ddpm"

    def label(self):
        return {
            "rectified_flow": _("Rectified flow"),
            "gan": _("Adversarial (GAN)"),
            "ddpm": _("Diffusion"),
        }[self.value]

    def cost(self):
        """Return what it costs, in a line."""
        return {
            "rectified_flow": _("Steady to train; slices in minutes on a processor. A dozen steps for each image."),
            "gan": _(
                "Makes an image in one step. Two networks train against each other: it may fail, try another seed."
            ),
            "ddpm": _("Steady to train, but slow: takes several times as many steps for each image as the flow."),
        }[self.value]


class Shape(Enum):
    """What a generator learns from, and makes."""

    SLICES = "slices"
    PATCHES = "patches"

    def label(self):
        return {"slices": _("Slices (2-D)"), "patches": _("Patches (3-D)")}[self.value]


class Plane(Enum):
    """Of slices."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    def label(self):
        return {"axial": _("Axial"), "coronal": _("Coronal"), "sagittal": _("Sagittal")}[self.value]


class Where(Enum):
    """Which part of the images is learned."""

    WHOLE = "whole"
    LABELS = "labels"

    def label(self):
        return {"whole": _("The whole image"), "labels": _("Around what is labeled")}[self.value]


class What(Enum):
    """What is brought into the scene."""

    IMAGES = "images"
    LESION = "lesion"

    def label(self):
        return {"images": _("New images"), "lesion": _("A lesion in an image")}[self.value]


@parameterPack
class GenerateTraining:
    """See meddl.synthesis.SynthesisConfig; ``minutes``: 0 for no limit."""

    kind: Kind = Kind.RECTIFIED_FLOW
    conditioned: bool = True
    shape: Shape = Shape.SLICES
    sliceSize: Annotated[int, WithinRange(16, 512), Default(64)]
    patchSize: Annotated[int, WithinRange(16, 256), Default(32)]
    plane: Plane = Plane.AXIAL
    where: Where = Where.WHOLE
    channel: str = ""
    spacing: Annotated[float, WithinRange(0.0, 20.0), Default(0.0)]
    steps: Annotated[int, WithinRange(1, 1000000), Default(1500)]
    minutes: Annotated[int, WithinRange(0, 10080), Default(0)]
    batchSize: Annotated[int, WithinRange(1, 256), Default(16)]
    learningRate: Annotated[float, WithinRange(0.000001, 0.1), Default(0.001)]
    samplingSteps: Annotated[int, WithinRange(1, 1000), Default(12)]
    augmented: bool = True
    seed: Seed
    sampleEvery: Annotated[int, WithinRange(1, 100000), Default(250)]
    checkpointEvery: Annotated[int, WithinRange(1, 100000), Default(100)]
    name: str = ""


@parameterPack
class GenerateMaking:
    """What is made; of lesions see meddl.synthesis.lesions.LesionOptions."""

    what: What = What.IMAGES
    count: Annotated[int, WithinRange(1, 50), Default(1)]
    seed: Seed
    inside: str = ""
    lesionName: str = "Lesion"
    volume: Annotated[float, WithinRange(0.01, 1000.0), Default(2.0)]
    volumeMost: Annotated[float, WithinRange(0.01, 1000.0), Default(5.0)]
    contrast: Annotated[float, WithinRange(-1.0, 1.0), Default(0.2)]
    exampleSegment: str = ""
    byGenerator: bool = False


@parameterPack
class GenerateAdding:
    """Synthetic cases of a dataset; ``preset`` moves the label maps, "" for none."""

    count: Annotated[int, WithinRange(1, 99), Default(1)]
    seed: Seed
    preset: str = "position"


@parameterPack
class GenerateJudging:
    """See meddl.synthesis.judgement.JudgeOptions."""

    count: Annotated[int, WithinRange(8, 20000), Default(200)]
    seed: Seed
    features: str = ""
    usefulness: bool = True
    seeds: Annotated[int, WithinRange(2, 50), Default(5)]
    segmenterSteps: Annotated[int, WithinRange(1, 100000), Default(300)]


@parameterNodeWrapper
class GenerateParameterNode:
    """What the user has chosen.

    generator - Catalog name of the generator, or where it is: a folder or a file.
    image - What gets a lesion, or whose grid synthetic images have.
    segmentation - What they shall show, or what is where in the image.
    example - A segmentation of a real lesion.
    training, making, adding, judging - See their classes.
    """

    generator: str = ""
    image: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    example: vtkMRMLSegmentationNode
    training: GenerateTraining
    making: GenerateMaking
    adding: GenerateAdding
    judging: GenerateJudging


def config_of(training):
    """Return the choices as meddl.synthesis.SynthesisConfig.

    Raises:
        meddl.errors.UsageError: they make no config.
    """
    from meddl.synthesis import SynthesisConfig

    return SynthesisConfig(
        kind=training.kind.value,
        conditioned=training.conditioned,
        size=size_of(training),
        spacing_mm=training.spacing,
        plane=training.plane.value,
        where=training.where.value,
        channel=training.channel,
        steps=training.steps,
        batch_size=training.batchSize,
        learning_rate=training.learningRate,
        sampling_steps=training.samplingSteps,
        augmented=training.augmented,
        seed=training.seed,
        sample_every=training.sampleEvery,
        checkpoint_every=training.checkpointEvery,
    )


def size_of(training):
    """Return the voxels of an example; what was typed is brought to a multiple of 8."""
    isSlices = training.shape is Shape.SLICES
    edge = max(16, round((training.sliceSize if isSlices else training.patchSize) / 8) * 8)
    return (edge,) * (2 if isSlices else 3)


def take_over(training, config):
    """Choose what a meddl.synthesis.SynthesisConfig says; steps are left as they are, if they are more."""
    training.kind = Kind(config.kind)
    training.conditioned = config.conditioned
    training.shape = Shape.SLICES if config.dimensions == 2 else Shape.PATCHES
    if config.dimensions == 2:
        training.sliceSize = config.size[0]
    else:
        training.patchSize = config.size[0]
    training.plane = Plane(config.plane)
    training.where = Where(config.where)
    training.channel = config.channel
    training.spacing = config.spacing_mm
    training.steps = max(training.steps, config.steps)
    training.batchSize = config.batch_size
    training.learningRate = config.learning_rate
    training.samplingSteps = config.sampling_steps
    training.augmented = config.augmented
    training.seed = config.seed
    training.sampleEvery = config.sample_every
    training.checkpointEvery = config.checkpoint_every
