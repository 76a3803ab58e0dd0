"""What a bundle is for, told by the facts in its metadata and config; and which bundles are not for this program.

Facts, not names: a model of the same kind under another name is told apart in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meddl.models.allowed_targets import short_name
from meddl.models.config_tree import children, is_component
from meddl.models.metadata_values import as_mapping, as_text, image_format, image_formats, own_value

TASKS = ("segmentation", "classification", "detection", "landmarks", "reconstruction")
"""What can be run."""
OTHER_TASKS = ("registration", "generation", "regression")
"""What is told apart but not run."""

_ALIASES = {"denoising": "reconstruction", "super_resolution": "reconstruction", "synthesis": "generation"}
_NO_IMAGE = re.compile(r"\b(noise|latent|timesteps?)\b", re.IGNORECASE)
_TEXTUAL = re.compile(r"\b(text|prompt|caption|tokens?|report)\b", re.IGNORECASE)
_GENERATES = re.compile(r"\b(synthesis|synthesi[sz]\w*|generat\w+|from gaussian noise)\b", re.IGNORECASE)
_FORMATS = (
    ("landmarks", re.compile(r"point|landmark", re.IGNORECASE)),
    ("detection", re.compile(r"\bbox|dict|detection", re.IGNORECASE)),
    ("segmentation", re.compile(r"segmentation", re.IGNORECASE)),
    ("classification", re.compile(r"class|probabilit", re.IGNORECASE)),
    ("regression", re.compile(r"regression", re.IGNORECASE)),
)
_WORDS = (
    ("registration", re.compile(r"registration|registering", re.IGNORECASE)),
    ("landmarks", re.compile(r"landmark|insertion point|key ?point", re.IGNORECASE)),
    ("segmentation", re.compile(r"segment", re.IGNORECASE)),
    ("classification", re.compile(r"classif", re.IGNORECASE)),
    ("detection", re.compile(r"detect", re.IGNORECASE)),
    ("reconstruction", re.compile(r"denois|super.?resolution|reconstruct|artifact|undersampl|translat", re.IGNORECASE)),
    ("regression", re.compile(r"regress", re.IGNORECASE)),
)
_SLIDE_CLASS = re.compile(r"WSI|HoVerNet|^CellSam")
_SLIDE_WORDS = re.compile(
    r"(histolog|histopatholog|patholog)\w* (image|slide|section|tile|patch|nucle)|digital patholog|whole.slide|"
    r"microscop|\bnuclei\b|h(a)?ematoxylin|H&E|\bcells? (image|segmentation|detection|count|instance)",
    re.IGNORECASE,
)
_RADIOLOGY = re.compile(r"\b(CT|MR|MRI|CR|DX|XR|X.?RAY|US|ULTRASOUND|MG|MAMMO\w*|PT|PET)\b", re.IGNORECASE)
_PROMPT_CLASS = re.compile(
    r"Guidance|Click|Scribble|Prompt|DeepEdit|Deepgrow|Interaction|VistaPreTransform", re.IGNORECASE
)
_PROMPT_KEY = re.compile(r"\b(label_prompt|point_prompt|points_?coords?|user_prompt)\b")
_PROMPT_CHANNEL = re.compile(r"\bclick|scribble|guidance", re.IGNORECASE)

MAX_VISITED = 20_000


def recognize_task(metadata: Mapping[str, Any], tree: Mapping[str, Any] | None = None) -> str:
    """Return what a model does: one of ``TASKS`` or ``OTHER_TASKS``, or its own words where that is not clear.

    Args:
        metadata: of the bundle. ``meddl.task`` decides where it is given.
        tree: its inference config, if it has one that can be read.
    """
    own = as_text(own_value(metadata, "task")).lower()
    if own:
        return _ALIASES.get(own.replace("-", "_"), own)
    text = as_text(metadata.get("task"))
    if _takes_no_image(metadata):
        return "generation"
    if _is_pair(metadata) or _WORDS[0][1].search(text):
        return "registration"
    if uses_retinanet(tree):
        return "detection"
    output = image_format(metadata, "outputs")
    for said in (output.get("format"), output.get("type")):
        for task, pattern in _FORMATS:
            # "labels" of an image of probabilities says too little; the task's own words tell.
            if pattern.search(as_text(said)):
                return task
    for task, pattern in _WORDS:
        if pattern.search(text):
            return task
    if _GENERATES.search(text):
        # An image goes in (else it had been told above) and an image comes out.
        return "reconstruction"
    return text


def refusal(name: str, metadata: Mapping[str, Any], tree: Mapping[str, Any] | None = None) -> str | None:
    """Return why a model is not run here, one or two sentences that name it, or None when it may be.

    Args:
        name: the model's name.
        metadata: of the bundle.
        tree: its inference config, if it has one that can be read.
    """
    task = recognize_task(metadata, tree)
    reasons = []
    inputs = image_formats(metadata, "inputs")
    if any(_TEXTUAL.search(as_text(each.get(key))) for each in inputs for key in ("type", "format")):
        reasons.append("is told in words what to do, and here a model is given images only")
    if task == "generation":
        reasons.append(
            "makes images out of noise and takes none to run on; that is the work of MedDL Augmentation, not of "
            "MedDL Inference"
        )
    if task == "registration":
        reasons.append(
            "lays one image onto another (registration), which Slicer has modules of its own for; only models that "
            "tell something about an image are run here"
        )
    slide = _slide_reason(metadata, tree)
    if slide:
        reasons.append(slide)
    prompt = _prompt_reason(metadata, tree)
    if prompt:
        reasons.append(prompt)
    if not reasons:
        return None
    return f"The model '{name}' {'. It also '.join(reasons)}."


def uses_retinanet(tree: Mapping[str, Any] | None) -> bool:
    """Tell whether a config describes MONAI's RetinaNet, whose steps round the network are replaced by our own."""
    return any(name in ("RetinaNet", "RetinaNetDetector") for name in _class_names(tree))


def _takes_no_image(metadata: Mapping[str, Any]) -> bool:
    inputs = image_formats(metadata, "inputs")
    for each in inputs:
        if _NO_IMAGE.search(f"{as_text(each.get('type'))} {as_text(each.get('format'))}"):
            return True
    said = f"{as_text(metadata.get('task'))} {as_text(metadata.get('description'))}"
    return not inputs and bool(_GENERATES.search(said))


def _is_pair(metadata: Mapping[str, Any]) -> bool:
    """Tell whether the channels of the input are two images that are to be laid onto one another."""
    for each in image_formats(metadata, "inputs"):
        names = " ".join(as_text(value) for value in as_mapping(each.get("channel_def")).values()).lower()
        if "moving" in names and "fixed" in names:
            return True
    return False


def _slide_reason(metadata: Mapping[str, Any], tree: Mapping[str, Any] | None) -> str:
    image = image_format(metadata, "inputs")
    shape, channels = image.get("spatial_shape"), image.get("num_channels")
    colored = isinstance(shape, list) and len(shape) == 2 and type(channels) is int and channels >= 3
    found = next((name for name in _class_names(tree) if _SLIDE_CLASS.search(name)), "")
    said = " ".join(as_text(metadata.get(key)) for key in ("task", "name", "description"))
    microscope = colored and not _RADIOLOGY.search(as_text(image.get("modality"))) and _SLIDE_WORDS.search(said)
    if not found and not microscope:
        return ""
    if "WSI" in found:
        return "reads whole slides of a microscope tile by tile (pathology), which Slicer's scene does not hold"
    return "is made for colored microscope images of tissue or cells (pathology), which are no images of a patient"


def _prompt_reason(metadata: Mapping[str, Any], tree: Mapping[str, Any] | None) -> str:
    found = next((name for name in _class_names(tree) if _PROMPT_CLASS.search(name)), "")
    if not found:
        texts = (text for text in _texts(tree) if _PROMPT_KEY.search(text))
        key = next(texts, "")
        found = _PROMPT_KEY.search(key).group(0) if key else ""  # type: ignore[union-attr]
    if not found:
        for each in image_formats(metadata, "inputs"):
            names = (as_text(value) for value in as_mapping(each.get("channel_def")).values())
            found = next((name for name in names if _PROMPT_CHANNEL.search(name)), "")
            if found:
                break
    if not found:
        return ""
    shown = ascii(found[:60])[1:-1]
    return f"waits for clicks, marks or other prompts with each image ('{shown}'), and here a model runs by itself"


def _class_names(tree: Mapping[str, Any] | None) -> Iterator[str]:
    for node in _nodes(tree):
        if is_component(node) and isinstance(node["_target_"], str):
            yield short_name(node["_target_"])


def _texts(tree: Mapping[str, Any] | None) -> Iterator[str]:
    for node in _nodes(tree):
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            yield from (key for key in node if isinstance(key, str))


def _nodes(tree: Mapping[str, Any] | None) -> Iterator[Any]:
    stack: list[Any] = [tree or {}]
    for _ in range(MAX_VISITED):
        if not stack:
            return
        node = stack.pop()
        yield node
        if isinstance(node, dict | list):
            stack.extend(reversed([value for _, _, value in children("", node)]))
