"""Which parts of a config are the network, the preprocessing, the inferer and the postprocessing.

Bundles are written for MONAI's runner, which starts at an ``evaluator`` and goes from files to files. What is needed to
run one in memory is found by the usual ids, else by what the evaluator takes, else by class. Nothing is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import MedDLError
from meddl.models.allowed_targets import (
    LOADING_TRANSFORMS,
    SAVING_TRANSFORMS,
    WATCHING_TRANSFORMS,
    canonical_name,
    find_target,
    short_name,
)
from meddl.models.config_tree import MISSING, child_id, children, find, is_component, is_expression, reference_of
from meddl.models.expressions import MAX_TEXT
from meddl.models.metadata_values import image_format

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle
    from meddl.models.config_files import ConfigTree
    from meddl.models.restricted_config import RestrictedConfig

NETWORK_IDS = ("network_def", "network", "net", "model", "model_def")
PREPROCESSING_IDS = (
    "preprocessing", "pre_transforms", "preprocess", "test_transforms", "inference_transforms", "val_transforms",
    "transforms", "transform",
)  # fmt: skip
INFERER_IDS = ("inferer", "inference_inferer")
POSTPROCESSING_IDS = ("postprocessing", "post_transforms", "post_transform", "postprocess", "postprocessings")
DETECTOR_IDS = ("detector",)
LABEL_KEYS = frozenset({"label", "labels", "gt", "seg", "mask"})
"""Keys of answers that are known beforehand: a runner loads them to compare with, a prediction has none."""

MAX_VISITED = 20_000
_MOVED = re.compile(r"\$\s*@(\w+(?:(?:::|#)\w+)*)(?:\s*\.\s*to\(.*\))?", re.DOTALL)
_RETINANET = ("RetinaNetDetector", "RetinaNet")
_SAVER = re.compile(r"Save|Saver|Writer")
_SLICEWISE = re.compile(r"slice|landmark", re.IGNORECASE)


@dataclass(frozen=True)
class InferenceParts:
    """Where in a config the parts are that running its model takes.

    Attributes:
        network_id: id of the network's description; "" where there is none, as with all ids.
        preprocessing_id: of the steps from the loaded image to what the network takes.
        inferer_id: of what calls the network, window by window or slice by slice.
        postprocessing_id: of the steps from the network's answer to the file.
        detector_id: of a RetinaNet detector round the network.
        input_keys: what the preprocessing calls the images it loads, one for each image.
        image_key: what the runner calls the image when it goes into the network.
        pred_key: what it calls the network's answer.
        file_steps: ids of steps that only give the labels the form of the file that would be written.
        weights_ids: ids of texts that may name the weights file, best first.
        spatial_dims: 2 for a network that takes flat images by themselves, else 3 (slice by slice counts as 3).
    """

    network_id: str = ""
    preprocessing_id: str = ""
    inferer_id: str = ""
    postprocessing_id: str = ""
    detector_id: str = ""
    input_keys: tuple[str, ...] = ("image",)
    image_key: str = "image"
    pred_key: str = "pred"
    file_steps: tuple[str, ...] = ()
    weights_ids: tuple[str, ...] = ()
    spatial_dims: int = 3

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all that is made to run the model. The rest (data loaders, engines, training) is never looked at.

        A RetinaNet's steps round the network are replaced by our own, so it has no inferer and postprocessing here.
        """
        ids = (self.network_id, self.preprocessing_id, self.inferer_id, self.postprocessing_id, self.detector_id)
        return tuple(dict.fromkeys(id for id in ids if id))

    @property
    def drop(self) -> frozenset[str]:
        """What to leave out of lists of steps: everything that loads, watches, or shapes and writes files."""
        return LOADING_TRANSFORMS | WATCHING_TRANSFORMS | SAVING_TRANSFORMS | frozenset(self.file_steps)


def inference_parts(bundle: ModelBundle, config_name: str = "inference") -> InferenceParts:
    """Return where the parts of a bundle's config are.

    Raises:
        ModelError: there is no such config, or it cannot be read.
    """
    return find_parts(bundle.restricted_config(config_name), bundle.metadata)


def find_parts(config: RestrictedConfig, metadata: Mapping[str, Any] | None = None) -> InferenceParts:
    """Return where the parts of a config are. ``metadata`` helps where the config does not tell."""
    return _Finder(config, metadata or {}).parts()


class _Finder:
    def __init__(self, config: RestrictedConfig, metadata: Mapping[str, Any]) -> None:
        self._config = config
        self._metadata = metadata
        self._tree: ConfigTree = config.get("", raw=True)
        self._components = dict(self._all_components())
        self._steps_left = MAX_VISITED

    def parts(self) -> InferenceParts:
        evaluator = self._by_class(lambda name: name.endswith("Evaluator")) or self._top("evaluator")
        network = self._network(evaluator)
        preprocessing = self._preprocessing(evaluator)
        inferer = (
            self._first(INFERER_IDS, self._is_made)
            or self._argument(evaluator, "inferer")
            or self._by_class(lambda name: name.endswith("Inferer"))
        )
        postprocessing = (
            self._first(POSTPROCESSING_IDS, self._is_steps)
            or self._argument(evaluator, "postprocessing")
            or self._composed_of(lambda name: name in SAVING_TRANSFORMS or name in ("AsDiscreted", "Activationsd"))
        )
        detector = self._first(DETECTOR_IDS, self._is_retinanet) or self._by_class(lambda name: name in _RETINANET[:1])
        loaded = self._loaded_keys(preprocessing)
        inputs = self._input_keys(preprocessing, loaded)
        return InferenceParts(
            network,
            preprocessing,
            "" if detector else inferer,
            "" if detector else postprocessing,
            detector,
            inputs,
            self._image_key(preprocessing, inputs),
            self._pred_key(postprocessing),
            self._file_steps(postprocessing),
            self._weights_ids(),
            self._spatial_dims(network, inferer),
        )

    def _network(self, evaluator: str) -> str:
        found = (
            self._first(NETWORK_IDS, self._is_network)
            or self._argument(evaluator, "network")
            or self._by_target(lambda target: _is_known_network(target))
        )
        return self._follow(found)

    def _preprocessing(self, evaluator: str) -> str:
        by_id = self._first(PREPROCESSING_IDS, self._is_steps)
        if by_id:
            return by_id
        here = self._argument(evaluator, "val_data_loader")
        for key in ("dataset", "transform"):
            here = self._argument(here, key)
        return here or self._composed_of(lambda name: name in LOADING_TRANSFORMS)

    def _all_components(self) -> Iterator[tuple[str, dict[Any, Any]]]:
        stack: list[tuple[str, Any]] = [("", self._tree)]
        visited = 0
        while stack and visited < MAX_VISITED:
            id, node = stack.pop()
            visited += 1
            if is_component(node):
                yield id, node
            if isinstance(node, dict | list):
                stack.extend((sub_id, value) for _, sub_id, value in reversed(list(children(id, node))))

    def _top(self, id: str) -> str:
        return id if isinstance(self._tree.get(id), dict) else ""

    def _first(self, ids: tuple[str, ...], fits: Any) -> str:
        return next((id for id in ids if id in self._tree and fits(self._node(id))), "")

    def _by_class(self, fits: Any) -> str:
        return self._by_target(lambda target: fits(short_name(target)))

    def _by_target(self, fits: Any) -> str:
        for id, node in self._components.items():
            target = node["_target_"]
            if isinstance(target, str) and fits(target):
                return id
        return ""

    def _composed_of(self, fits: Any) -> str:
        """Return the id of the first ``Compose`` with a step whose class fits."""
        for id, node in self._components.items():
            if short_name(str(node["_target_"])) == "Compose" and any(
                fits(canonical_name(str(step["_target_"]))) for _, step in self._steps(id)
            ):
                return id
        return ""

    def _node(self, id: str) -> Any:
        return find(self._tree, id)

    def _argument(self, id: str, name: str) -> str:
        """Return the id of a component's argument: where it is written, or where it refers to."""
        node = self._node(id) if id else MISSING
        if not is_component(node) or node.get(name) is None:
            return ""
        return self._follow(child_id(id, name))

    def _follow(self, id: str) -> str:
        """Return the id that ``id`` stands for: through references, and through moving a network to a device."""
        for _ in range(32):
            node = self._node(id) if id else MISSING
            if not isinstance(node, str):
                break
            target = reference_of(node)
            if target is None:
                moved = _MOVED.fullmatch(node.strip())
                target = moved.group(1).replace("#", "::") if moved else None
            if target is None or self._node(target) is MISSING:
                break
            id = target
        return id

    def _is_made(self, node: Any) -> bool:
        return is_component(node) or (isinstance(node, str) and (is_expression(node) or node.startswith("@")))

    def _is_network(self, node: Any) -> bool:
        return self._is_made(node)

    def _is_steps(self, node: Any) -> bool:
        return isinstance(node, list) or self._is_made(node)

    def _is_retinanet(self, node: Any) -> bool:
        return is_component(node) and short_name(str(node["_target_"])) in _RETINANET

    def _steps(self, id: str, depth: int = 0) -> Iterator[tuple[str, dict[Any, Any]]]:
        """Yield (id, node) of the steps of a ``Compose`` or list, through references and sums of lists, in order."""
        id = self._follow(id)
        node = self._node(id) if id else MISSING
        self._steps_left -= 1
        # Steps may be of the same steps, over and over.
        if depth > 8 or self._steps_left < 0:
            return
        if isinstance(node, list):
            for _, sub_id, _ in children(id, node):
                yield from self._steps(sub_id, depth + 1)
        elif is_component(node) and short_name(str(node["_target_"])) == "Compose":
            yield from self._steps(child_id(id, "transforms"), depth + 1)
        elif is_component(node):
            yield id, node
        elif isinstance(node, str) and is_expression(node) and len(node) <= MAX_TEXT:
            for name in re.findall(r"@(\w+(?:(?:::|#)\w+)*)", node):
                if self._node(name.replace("#", "::")) is not MISSING:
                    yield from self._steps(name.replace("#", "::"), depth + 1)

    def _texts(self, id: str) -> tuple[str, ...]:
        """Return the text, or list of texts, with this id."""
        if id not in self._config:
            return ()
        node = self._node(id)
        if not isinstance(node, str | list) or (isinstance(node, list) and any(isinstance(x, dict) for x in node)):
            return ()
        try:
            value = self._config.get(id)
        except MedDLError:
            return ()
        value = [value] if isinstance(value, str) else value
        return tuple(str(text) for text in value) if isinstance(value, list | tuple) else ()

    def _loaded_keys(self, preprocessing: str) -> tuple[str, ...]:
        for id, step in self._steps(preprocessing):
            if canonical_name(str(step["_target_"])) == "LoadImaged":
                keys = self._texts(child_id(id, "keys"))
                if keys:
                    return keys
        return ()

    def _input_keys(self, preprocessing: str, loaded: tuple[str, ...]) -> tuple[str, ...]:
        if not loaded:
            formats = self._metadata.get("network_data_format")
            inputs = formats.get("inputs") if isinstance(formats, Mapping) else None
            first = next(iter(inputs), "image") if isinstance(inputs, Mapping) else "image"
            used = [key for id, _ in self._steps(preprocessing) for key in self._texts(child_id(id, "keys"))]
            return (used[0] if used else str(first),)
        wanted = tuple(key for key in loaded if key not in LABEL_KEYS)
        return wanted or loaded[:1]

    def _image_key(self, preprocessing: str, inputs: tuple[str, ...]) -> str:
        if len(inputs) == 1:
            return inputs[0]
        for id, step in self._steps(preprocessing):
            if canonical_name(str(step["_target_"])) == "ConcatItemsd":
                return next(iter(self._texts(child_id(id, "name"))), "image")
        return "image"

    def _pred_key(self, postprocessing: str) -> str:
        for id, step in self._steps(postprocessing):
            if canonical_name(str(step["_target_"])) in ("Activationsd", "AsDiscreted", "Invertd"):
                keys = self._texts(child_id(id, "keys"))
                if keys:
                    return keys[0]
        return "pred"

    def _file_steps(self, postprocessing: str) -> tuple[str, ...]:
        """Return the ids of a bundle's own saving steps, and of ``Lambdad`` between choosing the labels and saving.

        What the channels mean (``channel_def``) is said of the network's answer, which is ours to show; such a function
        makes the numbers of the file out of it.
        """
        steps = [(id, canonical_name(str(step["_target_"]))) for id, step in self._steps(postprocessing)]
        savers = {id for id, name in steps if _SAVER.search(short_name(name)) and "output_dir" in self._node(id)}
        saving = SAVING_TRANSFORMS | {"Invertd", "Lambdad"}
        chosen = max((index for index, (_, name) in enumerate(steps) if name == "AsDiscreted"), default=len(steps))
        after = steps[chosen + 1 :]
        if all(name in saving or id in savers for id, name in after):
            savers.update(id for id, name in after if name == "Lambdad")
        return tuple(id for id, name in steps if id in savers and name not in SAVING_TRANSFORMS)

    def _weights_ids(self) -> tuple[str, ...]:
        """Return the ids of texts that name the weights: what a ``CheckpointLoader`` loads, and the usual names."""
        loaders = [
            child_id(id, "load_path")
            for id, node in self._components.items()
            if short_name(str(node["_target_"])) == "CheckpointLoader" and isinstance(node.get("load_path"), str)
        ]
        named = [
            id for id in ("ckpt_path", "checkpoint", "ckpt", "weights_path") if isinstance(self._tree.get(id), str)
        ]
        return tuple([*named[:1], *loaders, *named[1:]] if "ckpt_path" in named else [*loaders, *named])

    def _spatial_dims(self, network: str, inferer: str) -> int:
        node: Any = self._node(inferer) if inferer else None
        if is_component(node) and _SLICEWISE.search(short_name(str(node["_target_"]))):
            return 3
        written = None
        id = child_id(network, "spatial_dims") if network else ""
        if id and id in self._config:
            try:
                written = self._config.get(id)
            except MedDLError:
                written = None
        if written in (2, 3) and type(written) is int:
            return written
        shape = image_format(self._metadata, "inputs").get("spatial_shape")
        return 2 if isinstance(shape, list) and len(shape) == 2 else 3


def _is_known_network(target: str) -> bool:
    known = find_target(target)
    if known is not None:
        return known.is_network and not target.startswith("torch.nn.")
    return target.startswith(("monai.networks.nets.", "meddl.networks."))
