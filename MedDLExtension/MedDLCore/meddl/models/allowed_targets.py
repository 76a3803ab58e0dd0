"""The classes a bundle's config may make without the user's consent.

Only what computes on arrays in memory is listed: nothing that reads or writes files, downloads, calls a function given
by name, or runs a string. To add a class, read its constructor first: an argument that names a file, an address or a
piece of code goes into ``REFUSED_ARGUMENTS``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

_NETWORKS = {
    "monai.networks.nets.ahnet": "AHNet",
    "monai.networks.nets.attentionunet": "AttentionUnet",
    "monai.networks.nets.autoencoder": "AutoEncoder",
    "monai.networks.nets.autoencoderkl": "AutoencoderKL",
    "monai.networks.nets.basic_unet": "BasicUNet BasicUnet",
    "monai.networks.nets.basic_unetplusplus": "BasicUNetPlusPlus BasicUnetPlusPlus",
    "monai.networks.nets.classifier": "Classifier Critic Discriminator",
    "monai.networks.nets.controlnet": "ControlNet",
    "monai.networks.nets.densenet": (
        "DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 densenet121 densenet169 densenet201 densenet264"
    ),
    "monai.networks.nets.diffusion_model_unet": "DiffusionModelUNet",
    "monai.networks.nets.dynunet": "DynUNet DynUnet",
    "monai.networks.nets.efficientnet": "EfficientNet EfficientNetBN",
    "monai.networks.nets.flexible_unet": "FlexibleUNet FlexUNet",
    "monai.networks.nets.fullyconnectednet": "FullyConnectedNet VarFullyConnectedNet",
    "monai.networks.nets.generator": "Generator",
    "monai.networks.nets.highresnet": "HighResNet",
    "monai.networks.nets.mednext": "MedNeXt MedNeXtS MedNeXtB MedNeXtM MedNeXtL",
    "monai.networks.nets.patchgan_discriminator": "MultiScalePatchDiscriminator PatchDiscriminator",
    "monai.networks.nets.regressor": "Regressor",
    "monai.networks.nets.regunet": "GlobalNet LocalNet RegUNet",
    "monai.networks.nets.resnet": "ResNet resnet10 resnet18 resnet34 resnet50 resnet101 resnet152 resnet200",
    "monai.networks.nets.segresnet": "SegResNet SegResNetVAE",
    "monai.networks.nets.segresnet_ds": "SegResNetDS SegResNetDS2",
    "monai.networks.nets.senet": (
        "SENet SENet154 SEResNet50 SEResNet101 SEResNet152 SEResNext50 SEResNext101 "
        "senet154 seresnet50 seresnet101 seresnet152 seresnext50 seresnext101"
    ),
    "monai.networks.nets.spade_autoencoderkl": "SPADEAutoencoderKL",
    "monai.networks.nets.spade_diffusion_model_unet": "SPADEDiffusionModelUNet",
    "monai.networks.nets.spade_network": "SPADENet",
    "monai.networks.nets.swin_unetr": "SwinUNETR",
    "monai.networks.nets.unet": "UNet Unet",
    "monai.networks.nets.unetr": "UNETR",
    "monai.networks.nets.varautoencoder": "VarAutoEncoder",
    "monai.networks.nets.vit": "ViT",
    "monai.networks.nets.vitautoenc": "ViTAutoEnc",
    "monai.networks.nets.vnet": "VNet",
    "monai.networks.nets.voxelmorph": "VoxelMorphUNet",
    "monai.networks.nets.vqvae": "VQVAE",
}

_GENERATIVE = {
    "monai.apps.generation.maisi.networks.autoencoderkl_maisi": "AutoencoderKlMaisi",
    "monai.apps.generation.maisi.networks.controlnet_maisi": "ControlNetMaisi",
    "monai.apps.generation.maisi.networks.diffusion_model_unet_maisi": "DiffusionModelUNetMaisi",
}
"""Of MONAI's applications: known by their full names only, as MONAI's own parser knows them."""

_OWN_NETWORKS = {
    "meddl.networks.denoising": "DenoisingCNN",
    "meddl.networks.folded": "Folded",
    "meddl.networks.image_from_noise": "ImageFromNoise",
    "meddl.networks.labels_to_image": "LabelsToImage",
    "meddl.networks.recurrent": "RecurrentClassifier",
    "meddl.networks.vector_to_image": "VectorToImage",
}

_TRANSFORMS = {
    "monai.transforms.compose": "Compose",
    "monai.transforms.croppad.array": (
        "BorderPad CenterScaleCrop CenterSpatialCrop CropForeground DivisiblePad ResizeWithPadOrCrop SpatialCrop "
        "SpatialPad"
    ),
    "monai.transforms.croppad.dictionary": (
        "BorderPadd CenterScaleCropd CenterSpatialCropd CropForegroundd DivisiblePadd ResizeWithPadOrCropd "
        "SpatialCropd SpatialPadd"
    ),
    "monai.transforms.intensity.array": (
        "AdjustContrast ClipIntensityPercentiles ForegroundMask GaussianSharpen GaussianSmooth GibbsNoise "
        "HistogramNormalize KSpaceSpikeNoise MaskIntensity MedianSmooth NormalizeIntensity SavitzkyGolaySmooth "
        "ScaleIntensity ScaleIntensityFixedMean ScaleIntensityRange "
        "ScaleIntensityRangePercentiles ShiftIntensity StdShiftIntensity ThresholdIntensity"
    ),
    "monai.transforms.intensity.dictionary": (
        "AdjustContrastd ClipIntensityPercentilesd ForegroundMaskd GaussianSharpend GaussianSmoothd GibbsNoised "
        "HistogramNormalized KSpaceSpikeNoised MaskIntensityd MedianSmoothd NormalizeIntensityd SavitzkyGolaySmoothd "
        "ScaleIntensityRangePercentilesd ScaleIntensityRanged ScaleIntensityd ShiftIntensityd StdShiftIntensityd "
        "ThresholdIntensityd"
    ),
    "monai.transforms.meta_utility.dictionary": "FromMetaTensord ToMetaTensord",
    "monai.transforms.post.array": (
        "Activations AsDiscrete DistanceTransformEDT FillHoles KeepLargestConnectedComponent LabelFilter "
        "LabelToContour MeanEnsemble RemoveSmallObjects VoteEnsemble"
    ),
    "monai.transforms.post.dictionary": (
        "Activationsd AsDiscreted DistanceTransformEDTd FillHolesd Invertd KeepLargestConnectedComponentd LabelFilterd "
        "LabelToContourd MeanEnsembled RemoveSmallObjectsd VoteEnsembled"
    ),
    "monai.transforms.signal.array": "SignalFillEmpty",
    "monai.transforms.signal.dictionary": "SignalFillEmptyd",
    "monai.transforms.spatial.array": (
        "Flip Orientation ResampleToMatch Resize Rotate Rotate90 Spacing SpatialResample Zoom"
    ),
    "monai.transforms.spatial.dictionary": (
        "Affined Flipd Orientationd ResampleToMatchd Resized Rotate90d Rotated Spacingd SpatialResampled Zoomd"
    ),
    "monai.transforms.utility.array": (
        "AddCoordinateChannels AsChannelLast CastToType ConvertToMultiChannelBasedOnBratsClasses EnsureChannelFirst "
        "EnsureType Identity LabelToMask MapLabelValue RemoveRepeatedChannel RepeatChannel SplitDim SqueezeDim "
        "ToDevice ToNumpy ToTensor Transpose"
    ),
    "monai.transforms.utility.dictionary": (
        "AddCoordinateChannelsd AsChannelLastd CastToTyped ConcatItemsd ConvertToMultiChannelBasedOnBratsClassesd "
        "CopyItemsd DeleteItemsd EnsureChannelFirstd EnsureTyped FlattenSubKeysd Identityd LabelToMaskd MapLabelValued "
        "RemoveRepeatedChanneld RepeatChanneld SelectItemsd SplitDimd SqueezeDimd ToDeviced ToNumpyd ToTensord "
        "Transposed"
    ),
}

_DETECTION = {
    "monai.apps.detection.networks.retinanet_detector": "RetinaNetDetector",
    "monai.apps.detection.networks.retinanet_network": "RetinaNet",
    "monai.apps.detection.utils.anchor_utils": "AnchorGenerator AnchorGeneratorWithAnchorShape",
}

SUBSTITUTES = {
    "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor": (
        "meddl.networks.feature_pyramid",
        "resnet_fpn_feature_extractor",
    ),
}
"""Names of MONAI that stand for something of our own: the same tensors, without torchvision."""

POSITIONAL_ARGUMENTS = {
    "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor": (
        "backbone",
        "spatial_dims",
        "pretrained_backbone",
        "returned_layers",
        "trainable_backbone_layers",
    ),
}
"""What unnamed arguments in an expression are called. Others must be named, so that they can be looked over."""

_INFERERS = {
    "monai.inferers.inferer": "SimpleInferer SliceInferer SlidingWindowInferer SlidingWindowInfererAdapt",
}

_LAYERS = (
    "AdaptiveAvgPool2d AdaptiveAvgPool3d AvgPool2d AvgPool3d BatchNorm2d BatchNorm3d Conv2d Conv3d ConvTranspose2d "
    "ConvTranspose3d Dropout Dropout2d Dropout3d ELU Flatten GELU GroupNorm Hardswish Identity InstanceNorm2d "
    "InstanceNorm3d LayerNorm LeakyReLU Linear LogSoftmax MaxPool2d MaxPool3d Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid "
    "Softmax Softplus Softsign Tanh Upsample"
)

REFUSED_ARGUMENTS = frozenset(
    {
        # fetch or read weights
        "pretrained", "pretrained_url", "pretrained_state_dict_key", "adapt_standard_resnet", "model_path", "url",
        "path", "filename", "file", "ckpt_path", "pretrained_backbone",
        # call what they are given
        "func", "inv_func", "post_func", "select_fn", "other", "collate_fn", "norm_layer", "act_layer", "merger_cls",
        "splitter", "preprocess", "network_wrapper", "box_overlap_metric",
        # write, print or look a logger up
        "output_dir", "output_path", "writer", "reader", "log_stats", "logger", "logger_handler", "progress_logger",
        # a pattern may take forever to match
        "use_re",
    }
)  # fmt: skip
"""Arguments that may only be absent or switched off (None, False, "", 0)."""

FORCED_ARGUMENTS: dict[str, dict[str, Any]] = {"EfficientNetBN": {"pretrained": False}}
"""Set where the default would download something. The bundle's own weights are loaded afterwards anyway."""

OBSOLETE_ARGUMENTS: dict[str, frozenset[str]] = {
    "SwinUNETR": frozenset({"img_size"}),
    "SlidingWindowInferer": frozenset({"cache_roi_weight_map"}),
    "SlidingWindowInfererAdapt": frozenset({"cache_roi_weight_map"}),
}
"""Arguments that never changed what is computed: they are left out. Newer versions of MONAI know the first no more; the
others would fill the memory with a map as large as the window before there is anything to run."""

TORCHSCRIPT_TARGET = "torch.jit.load"
DEVICE_TARGET = "torch.device"
ONNX_TARGET = "meddl.networks.OnnxNetwork"

LOADING_TRANSFORMS = frozenset({"LoadImage", "LoadImaged"})
SAVING_TRANSFORMS = frozenset({"SaveImage", "SaveImaged", "SaveClassification", "SaveClassificationd"})
WATCHING_TRANSFORMS = frozenset({"DataStats", "DataStatsd", "SimulateDelay", "SimulateDelayd"})
"""Steps that print, log or wait and change nothing: left out."""
IO_TRANSFORMS = LOADING_TRANSFORMS | SAVING_TRANSFORMS
"""Steps that go from and to files. Never made from an untrusted config; meant to be dropped from a list of steps."""


@dataclass(frozen=True)
class AllowedTarget:
    """A class or function that may be called: where it is defined, its name there, and whether it is a network."""

    module: str
    name: str
    is_network: bool = False

    def load(self) -> Any:
        """Import it."""
        return getattr(importlib.import_module(self.module), self.name)


def canonical_name(target: str) -> str:
    """Return the short name MONAI knows a transform by, one for its aliases: ``SpacingD`` -> ``Spacingd``.

    Dotted names outside ``monai.transforms`` are returned as they are.
    """
    prefix, _, name = target.rpartition(".")
    if prefix and prefix != "monai.transforms" and not prefix.startswith("monai.transforms."):
        return target
    for suffix in ("Dict", "D"):
        if name.endswith(suffix) and f"{name.removesuffix(suffix)}d" in _DICTIONARY_TRANSFORMS:
            return f"{name.removesuffix(suffix)}d"
    return name


def short_name(target: str) -> str:
    """Return the last part of a dotted name: what a class is called wherever it lives."""
    return target.rpartition(".")[2]


def find_target(target: str) -> AllowedTarget | None:
    """Return what ``target`` (``UNet``, ``monai.networks.nets.UNet``, ``torch.nn.ReLU``, ...) names, if it is allowed.

    The text is only looked up, never imported or split into attributes.
    """
    return _TABLE.get(target)


def _dictionary_aliases(name: str) -> list[str]:
    return [name, f"{name[:-1]}D", f"{name[:-1]}Dict"]


def _build_table() -> dict[str, AllowedTarget]:
    table: dict[str, AllowedTarget] = {}
    for package, modules in (
        ("monai.networks.nets", _NETWORKS),
        ("meddl.networks", _OWN_NETWORKS),
        ("monai.transforms", _TRANSFORMS),
        ("monai.inferers", _INFERERS),
    ):
        for module, names in modules.items():
            for name in names.split():
                allowed = AllowedTarget(module, name, is_network=package in ("monai.networks.nets", "meddl.networks"))
                spellings = _dictionary_aliases(name) if module.endswith(".dictionary") else [name]
                for spelling in spellings:
                    # Short names are MONAI's: its own parser knows no others.
                    prefixes = [""] if package.startswith("monai.") else []
                    for prefix in (*prefixes, f"{package}.", f"{module}."):
                        table[prefix + spelling] = allowed
    for module, names in _DETECTION.items():
        for name in names.split():
            for spelling in (name, f"{module}.{name}"):
                table[spelling] = AllowedTarget(module, name, is_network=name == "RetinaNet")
    for module, names in _GENERATIVE.items():
        for name in names.split():
            table[f"{module}.{name}"] = AllowedTarget(module, name, is_network=True)
    for spelling, (module, name) in SUBSTITUTES.items():
        table[spelling] = AllowedTarget(module, name, is_network=True)
    for name in _LAYERS.split():
        table[f"torch.nn.{name}"] = AllowedTarget("torch.nn", name, is_network=True)
    return table


_DICTIONARY_TRANSFORMS = frozenset(
    name for module, names in _TRANSFORMS.items() if module.endswith(".dictionary") for name in names.split()
) | {"DataStatsd", "Lambdad", "LoadImaged", "SaveClassificationd", "SaveImaged", "SimulateDelayd"}
_TABLE = _build_table()
