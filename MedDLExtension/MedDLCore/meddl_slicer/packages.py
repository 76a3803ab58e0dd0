"""The Python packages MedDL needs: which are there, which are missing, and installing them with consent.

PyTorch is looked up without importing it and installed only through Slicer's PyTorch extension; the other packages
come through ``slicer.packaging`` under constraints that keep pip from touching PyTorch and what Slicer brought along.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meddl.errors import MedDLError

from meddl_slicer.i18n import tr as _

logger = logging.getLogger(__name__)

TORCH_NEEDED = ">=2.10"
"""Before, loading tensors alone (``weights_only``) could corrupt memory (CVE-2026-24747)."""
REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"

#: Packages of Slicer and PyTorch that an installation of ours must leave as they are.
_KEPT = ("torch", "torchvision", "torchaudio", "numpy", "SimpleITK", "vtk", "itk")


@dataclass(frozen=True)
class Package:
    """A needed package: its version range and what is installed ("" when nothing is)."""

    name: str
    needed: str
    installed: str
    usable: bool

    @property
    def requirement(self) -> str:
        return f"{self.name}{self.needed}"


@dataclass(frozen=True)
class InstallPlan:
    """What an installation would do.

    Attributes:
        torch: the requirement that PyTorch does not meet, or "".
        requirements: what pip would be asked for.
        has_pytorch_extension: whether Slicer's PyTorch extension is there to install PyTorch.
    """

    torch: str
    requirements: tuple[str, ...]
    has_pytorch_extension: bool

    @property
    def is_empty(self) -> bool:
        return not self.torch and not self.requirements


def torch_package() -> Package:
    """Return the state of PyTorch, found out without importing it."""
    version = _installed_version("torch")
    # An interrupted installation leaves metadata or an empty folder behind: torch is usable when it has its file.
    spec = importlib.util.find_spec("torch") if version else None
    whole = spec is not None and spec.origin is not None
    return Package("torch", TORCH_NEEDED, version, whole and _satisfies(version, TORCH_NEEDED))


def packages(requirements: Path = REQUIREMENTS) -> list[Package]:
    """Return the state of each package in a requirements file, in its order."""
    importlib.invalidate_caches()
    found = []
    for requirement in _read_requirements(requirements):
        version = _installed_version(requirement.name)
        needed = str(requirement.specifier)
        found.append(Package(requirement.name, needed, version, bool(version) and _satisfies(version, needed)))
    return found


def missing(requirements: Path = REQUIREMENTS) -> list[Package]:
    """Return what has to be installed before a model can run, PyTorch first."""
    return [package for package in [torch_package(), *packages(requirements)] if not package.usable]


def missing_of(requirements: Sequence[str]) -> tuple[str, ...]:
    """Return those of some requirements (``name`` or ``name>=version``) that are not met."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        requirement = Requirement(text)
        version = _installed_version(requirement.name)
        if not version or not _satisfies(version, str(requirement.specifier)):
            found.append(text)
    return tuple(found)


def plan_for(requirements: Sequence[str]) -> InstallPlan:
    """Return the plan to install optional packages that a model takes."""
    return InstallPlan("", missing_of(requirements), importlib.util.find_spec("PyTorchUtils") is not None)


def plan_installation(requirements: Path = REQUIREMENTS) -> InstallPlan:
    """Return what has to be installed; changes nothing."""
    torch = torch_package()
    return InstallPlan(
        torch="" if torch.usable else torch.requirement,
        requirements=tuple(package.requirement for package in packages(requirements) if not package.usable),
        has_pytorch_extension=importlib.util.find_spec("PyTorchUtils") is not None,
    )


def install(plan: InstallPlan) -> None:
    """Install what ``plan`` names; the caller has the user's consent to all of it. Blocks, with Slicer's own dialogs.

    Raises:
        MedDLError: PyTorch cannot be installed, since its extension is missing or the user stopped it, or pip failed.
    """
    if plan.torch:
        _install_torch(plan)
    if plan.requirements:
        _install_requirements(plan)
    importlib.invalidate_caches()


def install_afresh(plan: InstallPlan) -> None:
    """Do as :func:`install`, and end the shared worker before, so that the next one finds the new packages.

    A worker that has loaded a package keeps its files open, and would go on with the old ones.
    """
    from meddl_slicer import pump

    pump.close_shared_runner()
    install(plan)


def how_to_get_pytorch() -> str:
    """Return the sentence that tells how to get PyTorch when its extension is missing."""
    return _(
        "PyTorch is installed by Slicer's PyTorch extension, which is not there. Open View > Extensions Manager, "
        'install "PyTorch", restart Slicer and open this panel again.'
    )


def _install_torch(plan: InstallPlan) -> None:
    if not plan.has_pytorch_extension:
        raise MedDLError(how_to_get_pytorch())
    import PyTorchUtils

    torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=TORCH_NEEDED)
    if torch is None:
        raise MedDLError(_("PyTorch was not installed, so models cannot run yet."))


def _install_requirements(plan: InstallPlan) -> None:
    if not torch_package().usable:
        # monai depends on torch: pip would fetch a build that may not fit this computer.
        raise MedDLError(_("PyTorch has to be installed before the other packages."))
    import slicer.packaging

    upgraded = {requirement.split(">")[0].lower() for requirement in plan.requirements}
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(_constraints(upgraded)), encoding="utf-8")
        try:
            slicer.packaging.pip_ensure(
                list(plan.requirements), constraints=constraints, prompt_install=False, requester="MedDL"
            )
        except Exception as error:
            raise MedDLError(
                _("The packages could not be installed. Check the network connection and the log, then try again."),
                details=str(error),
            ) from error


def _constraints(upgraded: set[str]) -> list[str]:
    """Pin what must stay as it is, unless it is itself to be upgraded."""
    installed = [(name, _installed_version(name)) for name in _KEPT if name.lower() not in upgraded]
    return [f"{name}=={version}" for name, version in installed if version]


def _installed_version(name: str) -> str:
    try:
        return importlib.metadata.version(name) or ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _satisfies(version: str, needed: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(needed, prereleases=True).contains(version)


def _read_requirements(path: Path) -> list:
    from packaging.requirements import Requirement

    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return [requirement for requirement in found if requirement.marker is None or requirement.marker.evaluate()]
