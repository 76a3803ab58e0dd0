"""A model on disk: a MONAI Bundle, as a folder or a zip archive. Nothing of it is run here."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models import content
from meddl.models.archive import extract_zip
from meddl.models.channels import Channel, channels_from_metadata
from meddl.models.config_files import ConfigTree, read_config
from meddl.models.inference_parts import find_parts
from meddl.models.metadata_values import as_mapping, as_text, image_format, own_part, own_value
from meddl.models.places import cache_dir
from meddl.models.recognition import recognize_task, refusal, uses_retinanet
from meddl.models.restricted_config import RestrictedConfig
from meddl.models.segments import segments_from_metadata
from meddl.volume import Segment

if TYPE_CHECKING:
    from meddl.models.check import CheckReport

logger = logging.getLogger(__name__)

CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
WEIGHTS_NAMES = ("model.safetensors", "model.pt", "model.pth", "model.ckpt")

_CONFIG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Cascade:
    """A coarse model that finds the region a fine one then works on.

    Attributes:
        localizer: name of the coarse model's config.
        margin: what is added around the found box on each side, as a fraction of its size.
        min_fraction: slices with no more than this fraction of foreground do not widen the box.
    """

    localizer: str
    margin: float = 0.1
    min_fraction: float = 0.0


class ModelBundle:
    """A model's files and what they say about it. Made by :meth:`open`.

    Example::

        bundle = ModelBundle.open(Path("spleen_ct_segmentation.zip"))
        print(bundle.name, bundle.version, bundle.digest)
        report = bundle.check()
    """

    format = "monai"
    """``monai``; the other formats of :mod:`meddl.models.formats` are ``torchscript``, ``onnx`` and ``nnunet``."""

    def __init__(
        self,
        path: Path,
        metadata: ConfigTree,
        fallback_name: str = "",
        *,
        configs: Mapping[str, ConfigTree] | None = None,
        names: tuple[str, ...] | None = None,
    ) -> None:
        """Made by :meth:`open`.

        Args:
            path: the folder that the files' names are relative to.
            metadata: as of ``metadata.json``.
            fallback_name: for a model that gives no name.
            configs: configs by name for a model that has none on disk.
            names: the files that are the model; all in the folder by default.
        """
        self._path = path
        self._fallback_name = fallback_name or path.name
        self._metadata = metadata
        self._configs = configs
        self._names = names
        self._digest: tuple[content.Signature, str] | None = None

    @classmethod
    def open(cls, path: Path | str) -> ModelBundle:
        """Return the model in a folder, in a zip archive, which is unpacked into the cache first, or in a single file.

        Beside MONAI Bundles these are TorchScript and ONNX files with a sidecar and result folders of nnU-Net v2.

        Raises:
            ModelError: no such file, not a model, or one whose metadata cannot be read.
        """
        from meddl.models.formats import open_other

        path = Path(path)
        try:
            other = open_other(path)
            if other is not None:
                return other
            if path.is_dir():
                root = path.absolute()
            elif path.is_file():
                root = _unpacked(path)
                other = open_other(root, path.stem)
                if other is not None:
                    return other
            else:
                raise ModelError(f"There is no model at '{path.name}'.")
        except OSError as error:
            raise ModelError(f"The model '{path.name}' cannot be read: {error.strerror}.") from error
        root = _bundle_root(root, path.name)
        metadata_path = content.inside(root, "configs/metadata.json")
        # An archive's own folder in the cache has its SHA-256 for a name.
        fallback = path.stem if path.is_file() and root.parent.name == "bundles" else root.name
        return cls(root, read_config(metadata_path, "configs/metadata.json"), fallback)

    @property
    def path(self) -> Path:
        """The folder of the model's files: for a MONAI Bundle the one that holds ``configs/`` and ``models/``."""
        return self._path

    @property
    def location(self) -> Path:
        """What :meth:`open` finds the model by: its folder, or its file where it is a single one."""
        return self._path

    @property
    def required_packages(self) -> tuple[str, ...]:
        """Optional Python packages that running the model takes, whether they are installed or not."""
        from meddl.models.requirements import required_packages

        return required_packages(self)

    @property
    def metadata(self) -> ConfigTree:
        """A copy of ``metadata.json``."""
        return copy.deepcopy(self._metadata)

    @property
    def name(self) -> str:
        """The model's name; that of its folder or archive when it gives none."""
        return as_text(self._metadata.get("name")) or self._fallback_name

    @property
    def version(self) -> str:
        """The bundle's version, or "" when it gives none."""
        return as_text(self._metadata.get("version"))

    @property
    def description(self) -> str:
        """What the model does, in its author's words."""
        return as_text(self._metadata.get("description"))

    @property
    def license(self) -> str:
        """The license named in the metadata, or the first line of the bundle's LICENSE file, or ""."""
        named = as_text(self._metadata.get("license"))
        if named:
            return named
        for name in ("LICENSE", "LICENSE.txt", "docs/LICENSE"):
            with contextlib.suppress(OSError, ModelError):
                with content.inside(self._path, name).open("rb") as file:
                    head = file.read(4000).decode("utf-8", "replace")
                return next((as_text(line) for line in head.splitlines() if as_text(line)), "")
        return ""

    @property
    def task(self) -> str:
        """``segmentation``, ``classification``, ``detection``, ``landmarks``, ``reconstruction``, ``registration``,
        ``generation``, ...: from ``meddl.task``, else as :mod:`meddl.models.recognition` tells."""
        return self._recognition[0]

    @property
    def refusal(self) -> str | None:
        """Why this model is not for running here (it wants clicks, makes images out of noise, ...), or None."""
        return self._recognition[1]

    @property
    def uses_retinanet(self) -> bool:
        """Whether the network is MONAI's RetinaNet."""
        return self._recognition[2]

    @property
    def input_channels(self) -> int | None:
        """How many channels the network's image has, or None when the bundle does not tell."""
        image = image_format(self._metadata, "inputs")
        channels = image.get("num_channels")
        return channels if type(channels) is int and channels > 0 else None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The images the model takes, in order; most models take one. A color image counts as one."""
        return channels_from_metadata(self._metadata)

    @property
    def sequence_axis(self) -> str:
        """What a recurrent network reads one after the other: ``slices``, ``frames``, or "" for other networks."""
        return as_text(own_part(self._metadata, "sequence").get("axis"))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What the labels 1, 2, ... of a segmentation mean."""
        return segments_from_metadata(self._metadata, self.multilabel)

    @property
    def multilabel(self) -> bool:
        """Whether the structures of a segmentation may overlap: one channel each, decided on one by one."""
        told = own_value(self._metadata, "multilabel")
        if isinstance(told, bool):
            return told
        output = image_format(self._metadata, "outputs")
        channels = output.get("num_channels")
        if type(channels) is not int or channels < 2:
            return False
        with contextlib.suppress(ModelError):
            return _thresholds_channels(self.config().get("postprocessing"))
        return False

    @property
    def cascade(self) -> Cascade | None:
        """How a coarse model comes before this one, or None when none does."""
        facts = own_value(self._metadata, "cascade")
        if facts is None:
            return None
        try:
            cascade = Cascade(
                str(facts["localizer"]), float(facts.get("margin", 0.1)), float(facts.get("min_fraction", 0.0))
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError("In metadata.json 'meddl.cascade' cannot be understood.") from error
        if not _CONFIG_NAME.fullmatch(cascade.localizer):
            raise ModelError("In metadata.json 'meddl.cascade.localizer' is not the name of a config.")
        return cascade

    @property
    def files(self) -> tuple[str, ...]:
        """All files, as sorted relative paths with forward slashes."""
        return content.list_files(self._path, self._names)

    @property
    def digest(self) -> str:
        """SHA-256 over the names and bytes of all files: 64 hexadecimal digits.

        Computed anew whenever a file's size, times or identity changed since the last time.
        """
        signature = content.signature(self._path, self._names)
        if self._digest is None or self._digest[0] != signature:
            digest = content.digest(self._path, self._names)
            if content.signature(self._path, self._names) != signature:
                raise ModelError(f"The files of the model '{self.name}' are being changed. Try again in a moment.")
            self._digest = (signature, digest)
        return self._digest[1]

    def config_path(self, name: str = "inference") -> Path:
        """Return the path of ``configs/<name>.json`` (or ``.yaml``, ``.yml``).

        Raises:
            ModelError: there is none, or it lies outside the bundle.
        """
        if not _CONFIG_NAME.fullmatch(name):
            raise ModelError(f"{name[:80]!a} is not the name of a config.")
        for suffix in CONFIG_SUFFIXES:
            relative = f"configs/{name}{suffix}"
            if (self._path / relative).is_symlink() or (self._path / relative).exists():
                return content.inside(self._path, relative)
        raise ModelError(f"The model '{self.name}' has no configs/{name}.json.")

    def config(self, name: str = "inference") -> ConfigTree:
        """Return a config as plain data. Nothing in it is evaluated."""
        if self._configs is not None:
            if name not in self._configs:
                raise ModelError(f"The model '{self.name}' has no config {name[:80]!a}.")
            return copy.deepcopy(self._configs[name])
        path = self.config_path(name)
        return read_config(path, f"configs/{path.name}")

    def config_source(self, name: str = "inference") -> str:
        """Return what to call a config in messages: its path within the bundle."""
        return f"configs/{self.config_path(name).name}"

    def restricted_config(
        self, name: str = "inference", *, overrides: Mapping[str, Any] | None = None, trusted: bool = False
    ) -> RestrictedConfig:
        """Return a config whose harmless parts can be turned into objects."""
        return RestrictedConfig(
            self.config(name),
            bundle_root=self._path,
            overrides=overrides,
            trusted=trusted,
            source=self.config_source(name),
        )

    @property
    def weights_path(self) -> Path | None:
        """The file of the network's state dictionary: what the config loads, or ``models/model.*``."""
        with contextlib.suppress(ModelError):
            config = self.restricted_config()
            for id in find_parts(config, self._metadata).weights_ids:
                with contextlib.suppress(ModelError):
                    named = config.text(id)
                    if named is not None:
                        return content.inside(self._path, named)
        for name in WEIGHTS_NAMES:
            if (self._path / "models" / name).exists():
                return content.inside(self._path, f"models/{name}")
        return None

    def check(self) -> CheckReport:
        """Look for everything that would keep the model from running, without running any of it."""
        from meddl.models.check import check_bundle

        return check_bundle(self)

    @cached_property
    def _recognition(self) -> tuple[str, str | None, bool]:
        tree = None
        with contextlib.suppress(ModelError):  # told by check()
            tree = self.config()
        return (
            recognize_task(self._metadata, tree),
            refusal(self.name, self._metadata, tree),
            uses_retinanet(tree),
        )



def _bundle_root(folder: Path, shown: str) -> Path:
    """Return the folder with the configs: the given one, or the only folder in it."""
    if (folder / "configs" / "metadata.json").is_file():
        return folder
    inner = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    if len(inner) == 1 and not inner[0].is_symlink() and (inner[0] / "configs" / "metadata.json").is_file():
        return inner[0]
    raise ModelError(f"'{shown}' is not a MONAI Bundle: it has no configs/metadata.json.")


def _unpacked(archive: Path) -> Path:
    """Unpack a zip archive into the cache, by its SHA-256, or return the copy that is already there and unchanged."""
    import zipfile

    if not zipfile.is_zipfile(archive):
        raise ModelError(f"'{archive.name}' is neither a folder nor a zip archive, so it is not a MONAI Bundle.")
    home = cache_dir() / "bundles"
    sha256 = content.file_sha256(archive)
    goal, record = home / sha256, home / f"{sha256}.json"
    if goal.is_dir():
        try:
            if json.loads(record.read_text(encoding="utf-8")).get("digest") == content.digest(goal):
                return goal
        except (OSError, ValueError, AttributeError, ModelError) as error:
            logger.debug("unpacked copy not usable: %s", error)
        shutil.rmtree(goal)
    home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=home, prefix=".unpack-"))
    try:
        extract_zip(archive, scratch / "bundle")
        if content.file_sha256(archive) != sha256:
            # Else what was swapped in would lie in the cache under the name of what was there first.
            raise ModelError(f"The archive '{archive.name}' is being changed. Try again in a moment.")
        part = scratch / "record"
        part.write_text(json.dumps({"digest": content.digest(scratch / "bundle")}), encoding="utf-8")
        part.replace(record)
        try:
            (scratch / "bundle").rename(goal)
        except OSError:
            if not goal.is_dir():  # else another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return goal


def _thresholds_channels(postprocessing: object) -> bool:
    """Tell from a config as it is written whether ``AsDiscreted`` decides on each channel by itself."""
    steps = as_mapping(postprocessing).get("transforms", postprocessing)
    for step in steps if isinstance(steps, list) else ():
        target = str(as_mapping(step).get("_target_", "")).rpartition(".")[2]
        if target in ("AsDiscreted", "AsDiscreteD", "AsDiscreteDict"):
            return step.get("threshold") is not None and not step.get("argmax")
    return False


def is_config_file(relative: str) -> bool:
    """Tell whether a bundle's file is one of its configs (``metadata`` is none: it is data only)."""
    path = PurePosixPath(relative)
    return path.parent.name == "configs" and path.suffix.lower() in CONFIG_SUFFIXES and path.stem != "metadata"
