"""A result folder of nnU-Net v2, behind the face of a bundle.

Such a folder is named ``TRAINER__PLANS__CONFIGURATION`` and holds ``dataset.json``, ``plans.json`` and one folder for
each fold with its checkpoint.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models import content
from meddl.models.bundle import ModelBundle
from meddl.models.config_files import ConfigTree, read_config
from meddl.models.formats.nnunet_checkpoint import checkpoint_problem
from meddl.models.formats.nnunet_plans import Labels, check_plans, read_channels, read_labels
from meddl.models.metadata_values import as_text

if TYPE_CHECKING:
    from meddl.models.check import CheckReport

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
PACKAGE = "nnunetv2"

_FOLD = re.compile(r"fold_(\d{1,3})")


def find_result_folder(folder: Path) -> Path | None:
    """Return the result folder that ``folder`` is, or the only one in it; None when there is none.

    Raises:
        ModelError: there are several to choose from.
    """
    if _is_result(folder):
        return folder
    inner = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    found = [each for each in inner if _is_result(each)]
    if not found and len(inner) == 1:
        # As nnU-Net's own zip files have it: the data set's folder round the result folders.
        inner = sorted(each for each in inner[0].iterdir() if each.is_dir())
        found = [each for each in inner if _is_result(each)]
    if len(found) > 1:
        names = ", ".join(ascii(each.name)[1:-1] for each in found[:6])
        raise ModelError(f"'{folder.name}' holds several nnU-Net models ({names}). Choose one of the folders.")
    return found[0] if found else None


def _is_result(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and (folder / "plans.json").is_file()


class NnUNetBundle(ModelBundle):
    """An nnU-Net v2 result folder; made by :meth:`open_folder`.

    Its files are ``dataset.json``, ``plans.json`` and the folds' checkpoints; what else training left there (logs,
    validation images) is none of the model.

    Attributes:
        dataset: content of ``dataset.json``.
        plans: content of ``plans.json``.
        folds: the checkpoints, by their names in the folder.
        configuration: as the folder's name has it, or the only one in the plans; "" when neither tells.
        labels: what the network's channels mean.
        flip_axes: along which axes of the network's grid training allowed mirroring; known once checkpoints are loaded.
    """

    format = "nnunet"
    flip_axes: tuple[int, ...] | None = None

    def __init__(self, folder: Path, dataset: ConfigTree, plans: ConfigTree, fallback: str) -> None:
        self.dataset = dataset
        self.plans = plans
        self.folds = _folds(folder)
        self.configuration = _configuration(folder.name, plans)
        self.labels: Labels = read_labels(dataset)
        self.channel_names = read_channels(dataset)
        super().__init__(
            folder,
            _metadata(dataset, plans, self.labels, self.channel_names, self.configuration),
            fallback or folder.name,
            configs={"inference": {}},
            names=("dataset.json", "plans.json", *self.folds),
        )

    @classmethod
    def open_folder(cls, folder: Path, fallback_name: str = "") -> NnUNetBundle:
        """Return the model in a result folder.

        Raises:
            ModelError: its files cannot be read or understood.
        """
        files = (content.inside(folder, name) for name in ("dataset.json", "plans.json"))
        dataset, plans = (read_config(path, path.name) for path in files)
        return cls(folder, dataset, plans, fallback_name)

    @property
    def metadata(self) -> ConfigTree:
        """What would stand in a bundle's ``metadata.json``."""
        metadata = super().metadata
        if self.flip_axes is not None:
            metadata["meddl"]["uncertainty"] = {"flip_axes": list(self.flip_axes)}
        return metadata

    @property
    def required_packages(self) -> tuple[str, ...]:
        return (PACKAGE,)

    @property
    def weights_path(self) -> Path | None:
        """The first fold's checkpoint."""
        return content.inside(self._path, self.folds[0]) if self.folds else None

    def config_path(self, name: str = "inference") -> Path:
        """Return the path of ``plans.json``."""
        return content.inside(self._path, "plans.json")

    def config_source(self, name: str = "inference") -> str:
        return "plans.json"

    def check(self) -> CheckReport:
        """Look for everything that would keep the model from running, without running any of it."""
        from meddl.models.check import CheckReport

        problems, warnings = [], []
        try:
            _ = self.files
            if self.configuration:
                check_plans(self.plans, self.configuration, len(self.channel_names))
        except ModelError as error:
            problems.append(error.message)
        if not self.folds:
            problems.append("The folder has no checkpoint (fold_0/checkpoint_final.pth or another fold).")
        for name in self.folds:
            try:
                problem = checkpoint_problem(content.inside(self._path, name))
            except ModelError as error:
                problem = error.message
            if problem:
                problems.append(problem.replace(f"'{Path(name).name}'", f"'{name}'"))
        if not self.license:
            warnings.append("The model does not tell its license.")
        if importlib.util.find_spec(PACKAGE) is None:
            warnings.append(f"Running this model takes the Python package {PACKAGE}.")
        return CheckReport(tuple(dict.fromkeys(problems)), tuple(warnings))


def _folds(folder: Path) -> tuple[str, ...]:
    """Return the folds' checkpoints as nnU-Net chooses them: the numbered ones, else the one of all data."""
    for checkpoint in CHECKPOINTS:
        numbered = sorted(
            (int(match[1]), each.name)
            for each in folder.iterdir()
            if (match := _FOLD.fullmatch(each.name)) and (each / checkpoint).is_file()
        )
        names = [name for _, name in numbered]
        if not names and (folder / "fold_all" / checkpoint).is_file():
            names = ["fold_all"]
        if names:
            return tuple(f"{name}/{checkpoint}" for name in names)
    return ()


def _configuration(folder_name: str, plans: ConfigTree) -> str:
    table = plans.get("configurations")
    if not isinstance(table, dict) or not table:
        raise ModelError("plans.json has no 'configurations'.")
    parts = folder_name.split("__")
    if len(parts) == 3 and parts[2] in table:
        return parts[2]
    return next(iter(table)) if len(table) == 1 else ""


def _metadata(
    dataset: ConfigTree, plans: ConfigTree, labels: Labels, channels: tuple[str, ...], configuration: str
) -> ConfigTree:
    """Return what would stand in a bundle's ``metadata.json``."""
    name = _text(dataset.get("name")) or re.sub(r"^Dataset\d+_", "", _text(plans.get("dataset_name")))
    names = [structure.name for structure in labels.structures]
    channel_names = names if labels.overlapping else ["background", *names]
    images = {str(index): channel for index, channel in enumerate(channels)}
    meddl: dict[str, Any] = {
        "task": "segmentation",
        "segments": {str(index): {"name": name} for index, name in enumerate(names, start=1)},
    }
    if labels.overlapping:
        meddl["multilabel"] = True
    if len(channels) > 1:
        meddl["channels"] = [{"name": channel} for channel in channels]
    kind = f"nnU-Net {configuration}".strip()
    description = _text(dataset.get("description")) or f"Segments {', '.join(names[:20])}. Trained with nnU-Net v2."
    return {
        **({"name": f"{name} ({kind})"} if name else {}),
        "version": _text(dataset.get("release")) or "0",
        "monai_version": "1.6.1",
        "pytorch_version": "2.10.0",
        "numpy_version": "2.0.0",
        "task": "segmentation",
        "description": description,
        "license": _text(dataset.get("license")) or _text(dataset.get("licence")),
        "references": [_text(dataset.get("reference"))] if _text(dataset.get("reference")) else [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "CT" if channels[0].upper() == "CT" else "MR" if channels[0].upper() == "MRI" else "",
                    "num_channels": len(channels),
                    "spatial_shape": ["*", "*", "*"],
                    "channel_def": images,
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": labels.heads,
                    "channel_def": {str(index): name for index, name in enumerate(channel_names)},
                }
            },
        },
        "meddl": meddl,
    }


def _text(value: object) -> str:
    return as_text(value)[:2000]
