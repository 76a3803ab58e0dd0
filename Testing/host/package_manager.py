"""`slicer.packaging`: which Python packages are there. The host checks as Slicer does and never installs."""

from __future__ import annotations

import logging
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import slicer
from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement

Requirements = str | Requirement | list[str | Requirement]


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a requirements file; comments and pip's options are left out."""
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """`[project] dependencies` of a pyproject.toml."""
    data = tomllib.loads(Path(path).read_text())
    if "project" not in data:
        raise KeyError(f"pyproject.toml has no [project] table: {path}")
    return [Requirement(text) for text in data["project"].get("dependencies", [])]


def pip_check(req: Requirements) -> bool:
    """Whether all requirements are installed, with the extras they ask for."""
    return all(_satisfied(requirement, set()) for requirement in _as_list(req))


def pip_ensure(
    requirements: Requirements,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """In testing mode logs what is missing and returns; else it would have to install, and raises."""
    missing = [requirement for requirement in _as_list(requirements) if not pip_check(requirement)]
    if not missing:
        return None
    text = ", ".join(str(requirement) for requirement in missing)
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info(f"Testing mode is enabled: skipping pip_ensure for [{text}]")
        return None
    raise RuntimeError(f"pip_ensure was asked to install [{text}]: the host installs nothing")


def pip_install(requirements: str | list[str], *args: object, **options: object) -> None:
    raise RuntimeError(f"pip_install was called with {requirements!r}: the host installs nothing")


def pip_uninstall(requirements: str | list[str], *args: object, **options: object) -> None:
    raise RuntimeError(f"pip_uninstall was called with {requirements!r}: the host uninstalls nothing")


def isPipInstallInProgress() -> bool:
    return False


def _as_list(reqs: Requirements) -> list[Requirement]:
    if isinstance(reqs, str):
        try:
            return [Requirement(reqs)]
        except InvalidRequirement:
            return [Requirement(text) for text in reqs.split()]
    if isinstance(reqs, Requirement):
        return [reqs]
    if isinstance(reqs, list):
        return [Requirement(r) if isinstance(r, str) else r for r in reqs]
    raise TypeError(f"Expected str, Requirement, or list, got {type(reqs).__name__}")


def _satisfied(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate(default_environment()):
        return True
    key = (requirement.name.lower(), frozenset(requirement.extras))
    if key in seen:
        return True
    seen.add(key)
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return False
    return installed in requirement.specifier and all(_satisfied(r, seen) for r in _of_extras(requirement))


def _of_extras(requirement: Requirement) -> list[Requirement]:
    """What the requested extras of an installed package need in addition."""
    found = []
    for text in requires(requirement.name) or [] if requirement.extras else []:
        dependency = Requirement(text)
        marker = dependency.marker
        if marker and any(marker.evaluate({**default_environment(), "extra": e}) for e in requirement.extras):
            dependency.marker = None
            found.append(dependency)
    return found
