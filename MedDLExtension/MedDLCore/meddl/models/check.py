"""Looking a bundle over before it is used: is it whole, is it understood, and what of it would run code.

Nothing is executed, imported or unpickled, and neither PyTorch nor MONAI is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from meddl.errors import ModelError, UntrustedModelError
from meddl.models import content
from meddl.models.allowed_targets import ONNX_TARGET, TORCHSCRIPT_TARGET
from meddl.models.bundle import is_config_file
from meddl.models.config_tree import is_component
from meddl.models.inference_parts import find_parts
from meddl.models.metadata_schema import metadata_problems, metadata_warnings
from meddl.models.requirements import large_files, missing_packages
from meddl.models.weights import WEIGHTS_SUFFIXES, WeightsKind, inspect_weights

if TYPE_CHECKING:
    from meddl.models.bundle import ModelBundle
    from meddl.models.restricted_config import RestrictedConfig

_CODE_SUFFIXES = frozenset(
    {".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".pth", ".egg", ".whl", ".sh", ".bat", ".exe"}
)


@dataclass(frozen=True)
class CheckReport:
    """What was found in a bundle.

    Attributes:
        problems: why it cannot be run at all, one sentence each.
        warnings: what a user should know.
        needs_trust: why running it takes the user's consent, one line per place; empty: it runs without.
        code: everything in the bundle that could run once it is trusted, also what running the model does not need.
        refusal: why it is not for running here, "" when it is.
        packages: optional Python packages that running it takes and that are not installed, by the names to install.
        downloads: files that are to be downloaded before it is whole.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    needs_trust: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    refusal: str = ""
    packages: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()

    def raise_if_broken(self) -> None:
        """Raise a :class:`ModelError` with the reason for refusing it, or the first problem, if there is one."""
        if self.refusal:
            raise ModelError(self.refusal, "\n".join(self.problems))
        if self.problems:
            raise ModelError(self.problems[0], "\n".join(self.problems))


def check_bundle(bundle: ModelBundle) -> CheckReport:
    """Return what is wrong with a bundle, and what of it needs the user's consent."""
    try:
        files = bundle.files
    except ModelError as error:
        return CheckReport(problems=(error.message,))
    checker = _Checker(bundle, files)
    for step in (checker.check_metadata, checker.check_sums, checker.check_configs, checker.check_code):
        try:
            step()
        except UntrustedModelError:  # already among the reasons of the scan
            pass
        except ModelError as error:
            checker.problems.append(error.message)
    missing = missing_packages(bundle.required_packages)
    if missing:
        checker.warnings.append(
            f"Running this model takes Python packages that are not installed: {', '.join(missing)}."
        )
    return CheckReport(
        problems=_once(checker.problems),
        warnings=_once(checker.warnings),
        needs_trust=_once(checker.needs_trust),
        code=_once(checker.code),
        refusal=bundle.refusal or "",
        packages=missing,
        downloads=tuple(file.path for file in large_files(bundle) if not file.present),
    )


def _once(lines: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))


class _Checker:
    def __init__(self, bundle: ModelBundle, files: tuple[str, ...]) -> None:
        self._bundle = bundle
        self._files = files
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.needs_trust: list[str] = []
        self.code: list[str] = []

    def check_metadata(self) -> None:
        metadata = self._bundle.metadata
        self.problems += metadata_problems(metadata)
        self.warnings += metadata_warnings(metadata)
        if not self._bundle.license:
            self.warnings.append("The model does not tell its license.")
        if self._bundle.task == "segmentation" and not self._bundle.segments:
            self.warnings.append("metadata.json does not tell what the labels mean ('channel_def').")

    def check_sums(self) -> None:
        """Hold files to the checksums that the metadata lists (``meddl.sha256``)."""
        listed = self._bundle.metadata.get("meddl", {}).get("sha256", {})
        for name, sha256 in listed.items() if isinstance(listed, dict) else ():
            if content.file_sha256(content.inside(self._bundle.path, str(name))) != sha256:
                self.problems.append(
                    f"The model's file '{ascii(str(name))[1:-1]}' is damaged: its SHA-256 is not the listed one."
                )

    def check_configs(self) -> None:
        self._check_stage("inference")
        cascade = self._bundle.cascade
        if cascade is not None:
            self._check_stage(cascade.localizer)

    def check_code(self) -> None:
        """List what is or holds code anywhere in the bundle."""
        for name in self._files:
            path = PurePosixPath(name)
            if is_config_file(name):
                self._list_config_reasons(path.stem)
            elif path.suffix.lower() in WEIGHTS_SUFFIXES:
                self._list_weights(name)
            if path.suffix.lower() in _CODE_SUFFIXES - WEIGHTS_SUFFIXES:
                self.code.append(f"'{ascii(name)[1:-1]}' is program code")
            elif path.name == "logging.conf":
                self.warnings.append("The model's logging.conf is not used: such files can run code.")

    def _check_stage(self, config_name: str) -> None:
        config = self._bundle.restricted_config(config_name)
        parts = find_parts(config, self._bundle.metadata)
        self.needs_trust += config.reasons(parts.ids, drop=parts.drop)
        self.warnings += [f"The step '{id}' is left out: it makes the numbers of a file." for id in parts.file_steps]
        where = self._bundle.config_source(config_name)
        if not parts.network_id:
            told = "is not the description of a network" if "network_def" in config else ""
            self.problems.append(
                f"In {where} 'network_def' {told}." if told else f"{where} does not tell the network ('network_def')."
            )
            return
        network = config.get(parts.network_id, raw=True)
        target = network["_target_"] if is_component(network) else ""
        if target == TORCHSCRIPT_TARGET:
            self._check_program(config, f"{parts.network_id}::f", where)
        elif target == ONNX_TARGET:
            self._check_onnx(config, f"{parts.network_id}::f", where)
        elif config_name == "inference":
            self._check_weights()

    def _check_program(self, config: RestrictedConfig, id: str, where: str) -> None:
        file = config.text(id)
        if file is None:
            self.problems.append(f"In {where} 'network_def' does not name its TorchScript file ('f').")
            return
        path = content.inside(self._bundle.path, file)
        facts = inspect_weights(path)
        if facts.kind is not WeightsKind.TORCHSCRIPT:
            self.problems.append(f"The file '{path.name}' that {where} loads is not a TorchScript program.")

    def _check_onnx(self, config: RestrictedConfig, id: str, where: str) -> None:
        from meddl.networks.onnx_graph import inspect_onnx

        file = config.text(id)
        if file is None:
            self.problems.append(f"In {where} 'network_def' does not name its ONNX file ('f').")
            return
        path = content.inside(self._bundle.path, file)
        for name in inspect_onnx(path).external_files:
            content.inside(self._bundle.path, path.parent / name)

    def _check_weights(self) -> None:
        path = self._bundle.weights_path
        if path is None:
            hint = ""
            if any(PurePosixPath(name).stem == "large_files" for name in self._files):
                hint = " Its large files have not been downloaded yet."
            self.problems.append(f"The network's weights (models/model.pt or model.safetensors) are missing.{hint}")
            return
        facts = inspect_weights(path)
        if facts.kind is WeightsKind.TORCHSCRIPT:
            self.needs_trust.append(f"'{path.name}' is a TorchScript program")
        elif facts.problem:
            self.problems.append(f"The weights file '{path.name}' {facts.problem}.")
        elif facts.kind is WeightsKind.UNKNOWN:
            self.problems.append(f"'{path.name}' is not a weights file: neither PyTorch nor safetensors wrote it.")

    def _list_config_reasons(self, name: str) -> None:
        try:
            self.code += self._bundle.restricted_config(name).reasons()
        except ModelError as error:
            self.warnings.append(error.message)

    def _list_weights(self, name: str) -> None:
        shown = ascii(name)[1:-1]
        try:
            facts = inspect_weights(self._bundle.path / name)
        except ModelError as error:
            self.warnings.append(error.message)
            return
        if facts.kind is WeightsKind.TORCHSCRIPT:
            self.code.append(f"'{shown}' is a TorchScript program")
        elif facts.kind is WeightsKind.FOREIGN_PICKLE:
            # Never loaded, trusted or not. Where it is the network's own weights, that is a problem told elsewhere.
            self.code.append(f"'{shown}' is a pickle that asks for more than tensors")
