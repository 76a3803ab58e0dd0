"""A model that is a single file, TorchScript or ONNX, with a sidecar beside it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError
from meddl.models import content
from meddl.models.bundle import ModelBundle
from meddl.models.formats.sidecar import EXAMPLE, read_sidecar
from meddl.models.formats.sidecar_config import config_of, metadata_of
from meddl.models.weights import WeightsKind, inspect_weights

if TYPE_CHECKING:
    from meddl.models.check import CheckReport


class FileBundle(ModelBundle):
    """A network file with its sidecar, behind the face of a bundle; made by :meth:`open_file`.

    The digest covers the two of them, and the files that an ONNX file keeps its weights in, and nothing else in the
    folder.
    """

    def __init__(self, file: Path, format: str, sidecar: dict[str, Any], names: tuple[str, ...], fallback: str) -> None:
        super().__init__(
            file.parent,
            metadata_of(sidecar, fallback or file.stem),
            fallback or file.stem,
            configs={"inference": config_of(sidecar, file.name, format)},
            names=names,
        )
        self.format = format
        self._file = file
        self._sidecar_name = file.with_suffix(".json").name

    @classmethod
    def open_file(cls, file: Path, format: str, fallback_name: str = "") -> FileBundle:
        """Return the model in ``file``.

        Args:
            file: the network.
            format: ``torchscript`` or ``onnx``.
            fallback_name: for a sidecar that gives no name; that of the file by default.

        Raises:
            ModelError: there is no sidecar, or it cannot be understood.
        """
        sidecar = file.with_suffix(".json")
        if not sidecar.is_file():
            raise ModelError(
                f"'{file.name}' holds a network and nothing that tells how to use it. Write a file '{sidecar.name}' "
                'beside it, for instance {"task": "segmentation", "channels": ["CT"], "orientation": "RAS", '
                '"spacing_mm": [1.5, 1.5, 1.5], "intensity": {"clip": [-1000, 1000], "scale": "0..1"}, '
                '"window": [96, 96, 96], '
                '"activation": "softmax", "labels": ["liver"]}; Docs/OtherModels.md explains the fields.',
                details=EXAMPLE,
            )
        for each in (file, sidecar):
            # A link would take the digest's word for a file that lies elsewhere.
            content.inside(file.parent, each.name)
        return cls(file, format, read_sidecar(sidecar), (file.name, sidecar.name), fallback_name)

    @property
    def location(self) -> Path:
        return self._file

    @property
    def license(self) -> str:
        # A LICENSE file in the same folder may be that of anything.
        return str(self._metadata.get("license", ""))

    @property
    def required_packages(self) -> tuple[str, ...]:
        return ("onnxruntime",) if self.format == "onnx" else ()

    @property
    def weights_path(self) -> Path | None:
        """None: the weights are in the network's file."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        return content.list_files(self._path, self._names_now())

    @property
    def digest(self) -> str:
        self._names = self._names_now()
        return super().digest

    def config_path(self, name: str = "inference") -> Path:
        """Return the path of the sidecar, out of which the config is made."""
        return content.inside(self._path, self._sidecar_name)

    def config_source(self, name: str = "inference") -> str:
        return self._sidecar_name

    def check(self) -> CheckReport:
        """Look for everything that would keep the model from running, without running any of it."""
        from meddl.models.check import CheckReport
        from meddl.models.inference_parts import find_parts
        from meddl.models.metadata_schema import metadata_problems

        problems: list[str] = []
        warnings: list[str] = []
        needs_trust: list[str] = []
        code: list[str] = []
        # The sidecar's fields keep their names in the metadata, but for the place.
        for sentence in metadata_problems(self._metadata):
            problems.append(sentence.replace("metadata.json", self._sidecar_name).replace("'meddl.", "'"))
        try:
            self._names_now()
            if self.format == "torchscript":
                facts = inspect_weights(self._file)
                if facts.kind is not WeightsKind.TORCHSCRIPT:
                    problems.append(f"The file '{self._file.name}' is not a TorchScript program.")
                config = self.restricted_config()
                needs_trust += config.reasons(find_parts(config, self._metadata).ids)
                code.append(f"'{ascii(self._file.name)[1:-1]}' is a TorchScript program")
            _ = self.files
        except ModelError as error:
            problems.append(error.message)
        if not self.license:
            warnings.append("The model does not tell its license.")
        for field in ("description", "intended_use"):
            if not self._metadata.get(field):
                warnings.append(f"{self._sidecar_name} does not tell its '{field}'.")
        if self.required_packages and importlib.util.find_spec("onnxruntime") is None:
            warnings.append("Running this model takes the Python package onnxruntime.")
            if importlib.util.find_spec("openvino") is not None:
                needs_trust.append(
                    f"'{ascii(self._file.name)[1:-1]}' would be opened by OpenVINO, which crashes on malformed files; "
                    "with the package onnxruntime no consent is needed"
                )
        return CheckReport(tuple(problems), tuple(warnings), tuple(needs_trust), tuple(code))

    def _names_now(self) -> tuple[str, ...]:
        """Return the files that are the model, as its network's file names them now."""
        names = [self._file.name, self._sidecar_name]
        if self.format == "onnx":
            from meddl.networks.onnx_graph import inspect_onnx

            names += inspect_onnx(self._file).external_files
        return tuple(dict.fromkeys(names))
