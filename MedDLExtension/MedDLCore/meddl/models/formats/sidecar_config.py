"""What a sidecar says, as the metadata and the config of a MONAI Bundle: everything after that is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meddl.models.allowed_targets import ONNX_TARGET, TORCHSCRIPT_TARGET
from meddl.models.config_files import ConfigTree
from meddl.models.formats.sidecar import names_of

_PASSED_ON = ("calibration", "detection", "reconstruction", "sequence", "expected", "reference", "air", "windows")
_ACTIVATIONS = {"segmentation": "softmax", "classification": "softmax"}
_TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~{code}~^^~"
    "Anatomic codes - DICOM master list~^^~^^"
)
_WORDS = ("license", "authors", "intended_use", "limits", "references")
_BOX_CHANNELS = 6
"""Of a detection network, beside one for each class: three offsets and three sizes."""


def metadata_of(sidecar: Mapping[str, Any], fallback_name: str) -> ConfigTree:
    """Return what would stand in a bundle's ``metadata.json``."""
    task = sidecar["task"]
    channels = names_of(sidecar["channels"])
    outputs = _outputs(sidecar)
    meddl: dict[str, Any] = {"task": task, **{key: sidecar[key] for key in _PASSED_ON if key in sidecar}}
    if len(channels) > 1:
        meddl["channels"] = channels
    if task == "segmentation":
        meddl["segments"] = {
            str(index): _segment(entry) for index, entry in enumerate(names_of(sidecar["labels"]), start=1)
        }
        if _overlaps(sidecar):
            meddl["multilabel"] = True
    if "classes" in sidecar:
        meddl["classes"] = names_of(sidecar["classes"])
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": sidecar.get("modality") or channels[0].get("modality") or channels[0]["name"],
        "num_channels": len(channels),
        "spatial_shape": sidecar.get("size") or ["*"] * sidecar.get("dimensions", 3),
        "channel_def": {str(index): entry["name"] for index, entry in enumerate(channels)},
    }
    return {
        "name": sidecar.get("name", fallback_name),
        "version": sidecar.get("version", "0"),
        "monai_version": "1.6.1",
        "pytorch_version": "2.10.0",
        "numpy_version": "2.0.0",
        "task": task,
        "description": sidecar.get("description", ""),
        **{key: sidecar[key] for key in _WORDS if key in sidecar},
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": outputs}},
        "meddl": meddl,
    }


def config_of(sidecar: Mapping[str, Any], file_name: str, format: str) -> ConfigTree:
    """Return what would stand in a bundle's ``configs/inference.json``."""
    return {
        # "./": a name is text, whatever character it begins with.
        "network_def": {
            "_target_": ONNX_TARGET if format == "onnx" else TORCHSCRIPT_TARGET,
            "f": f"./{file_name}",
        },
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(sidecar)},
        "inferer": _inferer(sidecar),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(sidecar)},
    }


def _overlaps(sidecar: Mapping[str, Any]) -> bool:
    """Tell whether the channels are questions of their own: sigmoid of several labels, unless it says otherwise."""
    several = len(sidecar.get("labels", ())) > 1
    return bool(sidecar.get("overlapping", several and sidecar.get("activation") == "sigmoid")) and several


def _outputs(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    task = sidecar["task"]
    if task == "reconstruction":
        return {"type": "image", "format": "magnitude", "num_channels": 1}
    if task == "segmentation":
        names = [entry["name"] for entry in names_of(sidecar["labels"])]
        if _overlaps(sidecar) or (len(names) == 1 and sidecar.get("activation") == "sigmoid"):
            return _format("segmentation", names)
        return _format("segmentation", ["background", *names])
    if task == "landmarks":
        return _format("heatmap", [entry["name"] for entry in names_of(sidecar["points"])])
    names = [entry["name"] for entry in names_of(sidecar["classes"])]
    if task == "detection":
        return {**_format("detection", names), "num_channels": len(names) + _BOX_CHANNELS}
    return _format("classification", names)


def _format(kind: str, names: list[str]) -> dict[str, Any]:
    return {
        "type": "probabilities" if kind == "classification" else "image",
        "format": kind,
        "num_channels": len(names),
        "channel_def": {str(index): name for index, name in enumerate(names)},
    }


def _segment(entry: Mapping[str, Any]) -> dict[str, Any]:
    segment = {key: entry[key] for key in ("name", "color", "terminology") if key in entry}
    if "code" in entry and "terminology" not in entry:
        segment["terminology"] = _TERMINOLOGY.format(code=entry["code"])
    return segment


def _step(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, "keys": "image", **arguments}


def _preprocessing(sidecar: Mapping[str, Any]) -> list[dict[str, Any]]:
    flat = sidecar.get("dimensions", 3) == 2
    steps = [_step("LoadImaged"), _step("EnsureChannelFirstd")]
    if "orientation" in sidecar:
        steps.append(_step("Orientationd", axcodes=sidecar["orientation"], labels=None))
    if "spacing_mm" in sidecar:
        steps.append(_step("Spacingd", pixdim=list(sidecar["spacing_mm"]), mode="bilinear"))
    if "size" in sidecar:
        steps.append(_step("Resized", spatial_size=list(sidecar["size"]), mode="bilinear" if flat else "trilinear"))
    steps += _intensity(sidecar.get("intensity", {}))
    if "divisible_by" in sidecar:
        steps.append(_step("DivisiblePadd", k=sidecar["divisible_by"]))
    return [*steps, _step("EnsureTyped")]


def _intensity(intensity: Mapping[str, Any]) -> list[dict[str, Any]]:
    scale = intensity.get("scale", "none")
    low, high = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}.get(scale, (None, None))
    per_channel = intensity.get("per_channel", True)
    steps = []
    if "clip" in intensity:
        start, end = intensity["clip"]
        # To the same range it is the clipping alone.
        goal = {"b_min": start, "b_max": end} if low is None else {"b_min": low, "b_max": high}
        steps.append(_step("ScaleIntensityRanged", a_min=start, a_max=end, **goal, clip=True))
    elif "clip_percentiles" in intensity:
        lower, upper = intensity["clip_percentiles"]
        ends = {"lower": lower, "upper": upper, "channel_wise": per_channel}
        if low is None:
            steps.append(_step("ClipIntensityPercentilesd", **ends))
        else:
            steps.append(_step("ScaleIntensityRangePercentilesd", **ends, b_min=low, b_max=high, clip=True))
    elif low is not None:
        steps.append(_step("ScaleIntensityd", minv=low, maxv=high, channel_wise=per_channel))
    if scale == "zscore":
        fixed = {"subtrahend": intensity["mean"], "divisor": intensity["std"]} if "mean" in intensity else {}
        nonzero = intensity.get("nonzero", False)
        # The numbers of the whole training set hold for all channels; MONAI wants one for each otherwise.
        channel_wise = per_channel and not fixed
        steps.append(_step("NormalizeIntensityd", nonzero=nonzero, channel_wise=channel_wise, **fixed))
    return steps


def _inferer(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    if "window" not in sidecar:
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(sidecar["window"]),
        "sw_batch_size": 1,
        "overlap": sidecar.get("overlap", 0.25),
        "mode": "gaussian",
    }


def _postprocessing(sidecar: Mapping[str, Any]) -> list[dict[str, Any]]:
    task = sidecar["task"]
    activation = sidecar.get("activation", _ACTIVATIONS.get(task, "none"))
    steps: list[dict[str, Any]] = []
    if activation != "none":
        steps.append({"_target_": "Activationsd", "keys": "pred", activation: True})
    if task != "segmentation":
        return steps
    steps.append(
        {
            "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
            "nearest_interp": False,
        }
    )  # fmt: skip
    one_channel = len(_outputs(sidecar)["channel_def"]) == len(sidecar["labels"])
    decision = {"threshold": sidecar.get("threshold", 0.5)} if one_channel else {"argmax": True}
    steps.append({"_target_": "AsDiscreted", "keys": "pred", **decision})
    if sidecar.get("largest_component"):
        labels = list(range(1, len(sidecar["labels"]) + 1))
        steps.append({"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": labels})
    return steps
