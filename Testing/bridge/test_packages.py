"""What is installed is told without importing it, and installing never touches PyTorch by pip."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from meddl.errors import MedDLError
from meddl_slicer import packages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def requirements(tmp_path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# a comment\n--index-url https://example.org\nnumpy>=1.20\nnumpy>=99 ; sys_platform == 'never'\n"
        "nothing-of-that-name>=1\npytest>=9999\n"
    )
    return path


@pytest.fixture
def pip(monkeypatch):
    """A stand-in for slicer.packaging that records what it is asked for."""
    calls = []

    def pip_ensure(requirements, constraints=None, **options):
        calls.append({"requirements": requirements, "constraints": Path(constraints).read_text(), **options})

    module = types.ModuleType("slicer.packaging")
    module.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    import slicer

    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return calls


def test_states_of_packages_are_told(requirements):
    found = {package.name: package for package in packages.packages(requirements)}
    assert list(found) == ["numpy", "nothing-of-that-name", "pytest"]
    assert found["numpy"].usable
    assert found["nothing-of-that-name"].installed == ""
    assert found["pytest"].installed and not found["pytest"].usable


def test_looking_imports_nothing_heavy():
    code = (
        "import sys; from meddl import computer; from meddl_slicer import packages, health; from pathlib import Path;"
        "packages.plan_installation(); health.check(Path.home());"
        "print([name for name in ('torch', 'monai', 'SimpleITK', 'scipy') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "MedDLExtension/MedDLCore", capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_half_installed_torch_is_not_usable(monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()  # what an interrupted installation leaves: a folder without its files
    monkeypatch.setattr(packages, "_installed_version", lambda name: "2.13.0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.SimpleNamespace(origin=None))
    assert not packages.torch_package().usable


def test_too_old_torch_is_not_usable(monkeypatch):
    monkeypatch.setattr(packages, "_installed_version", lambda name: "2.2.0+cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.SimpleNamespace(origin="torch/__init__.py"))
    assert not packages.torch_package().usable


def test_pip_is_held_to_the_installed_torch(pip, monkeypatch):
    versions = {"torch": "2.13.0+cpu", "numpy": "2.4.0", "SimpleITK": "2.5.5"}
    monkeypatch.setattr(packages, "_installed_version", lambda name: versions.get(name, ""))
    packages.install(packages.InstallPlan("", ("monai>=1.6.1", "SimpleITK>=9"), True))
    (call,) = pip
    assert call["requirements"] == ["monai>=1.6.1", "SimpleITK>=9"]
    assert call["constraints"].split() == ["torch==2.13.0+cpu", "numpy==2.4.0"]
    assert call["requester"] == "MedDL"
    assert call["prompt_install"] is False


def test_nothing_is_installed_by_pip_before_torch(pip, monkeypatch):
    monkeypatch.setattr(packages, "_installed_version", lambda name: "")
    with pytest.raises(MedDLError, match="PyTorch has to be installed before"):
        packages.install(packages.InstallPlan("", ("monai>=1.6.1",), True))
    assert pip == []


def test_without_the_pytorch_extension_the_user_is_told_how_to_get_it(pip):
    with pytest.raises(MedDLError, match="Extensions Manager"):
        packages.install(packages.InstallPlan("torch>=2.10", ("monai",), False))
    assert pip == []


@pytest.mark.parametrize("answer", ["torch", None])
def test_torch_comes_through_the_pytorch_extension(pip, monkeypatch, answer):
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            asked.append((askConfirmation, torchVersionRequirement))
            return answer

    extension = types.ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    plan = packages.InstallPlan("torch>=2.10", ("monai",), True)
    if answer is None:
        with pytest.raises(MedDLError, match="PyTorch was not installed"):
            packages.install(plan)
        assert pip == []
    else:
        packages.install(plan)
        assert len(pip) == 1
    assert asked == [(True, packages.TORCH_NEEDED)]


def test_failure_of_pip_becomes_one_sentence(pip, monkeypatch):
    def fail(*args, **options):
        raise subprocess.CalledProcessError(1, "pip install")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", fail)
    with pytest.raises(MedDLError, match="Check the network") as caught:
        packages.install(packages.InstallPlan("", ("monai>=1.6.1",), True))
    assert "pip install" in caught.value.details


def test_requirements_of_the_extension_name_no_torch_and_are_met_here():
    found = packages.packages()
    assert "torch" not in {package.name for package in found}
    assert [package.name for package in found if not package.usable] == []


def test_workers_run_in_pythonslicer_where_there_is_one(monkeypatch):
    from meddl_slicer import pump

    monkeypatch.setattr(pump.shutil, "which", lambda name: {"PythonSlicer": "/opt/Slicer/bin/PythonSlicer"}.get(name))
    assert pump.worker_python() == Path("/opt/Slicer/bin/PythonSlicer")
    monkeypatch.setattr(pump.shutil, "which", lambda name: None)
    assert pump.worker_python() == Path(sys.executable)
