"""`setup_dev.py`: what it says when something is missing, and that it continues where it was interrupted."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`setup_dev.py` as a module, its environment in a folder of its own."""
    monkeypatch.setenv("MEDDL_VENV", str(tmp_path / "venv"))
    spec = importlib.util.spec_from_file_location("setup_dev", ROOT / "setup_dev.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(file: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14)])
def test_an_unsuitable_python_is_named_with_what_to_do(setup: ModuleType, version: tuple[int, int]) -> None:
    with pytest.raises(setup.SetupError, match=rf"Python 3\.{version[1]}, which is .* 3\.11 to 3\.13\. (Run|Install)"):
        setup.check_python(version)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("WARNING: Retrying (Retry(total=2)) after connection broken by 'NewConnectionError'", "index was not reached"),
        ("ERROR: No matching distribution found for torch==2.13.0", r"no ready-built torch==2\.13\.0 for Python"),
        ("Segmentation fault", "Segmentation fault"),
    ],
)
def test_pip_failures_become_one_sentence(setup: ModuleType, output: str, expected: str) -> None:
    assert re.search(expected, setup.explain(output, "pip failed"))


def test_a_full_disk_is_noticed_before_anything_is_installed(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match=r"Only .* GB are free"):
        setup.check_disk(needed_gb=1e9)


def test_missing_libraries_are_named_with_the_apt_command(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "LINUX_LIBRARIES", {"libnowhere.so.7": "libnowhere7"})
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(setup.SetupError, match=r"libnowhere\.so\.7[\s\S]*apt install libnowhere7"):
        setup.check_libraries()


def test_another_ones_folder_is_left_alone(setup: ModuleType) -> None:
    setup.VENV.mkdir()
    (setup.VENV / "mine.txt").write_text("precious")

    with pytest.raises(setup.SetupError, match="not made by setup_dev"):
        setup.make_venv()

    assert (setup.VENV / "mine.txt").read_text() == "precious"


def test_a_half_made_environment_is_made_anew(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.write_stamp({})  # what an interruption while the environment is made leaves behind
    (setup.VENV / "half.txt").write_text("")
    commands = []

    def fake_run(command: list[str], **_: object) -> object:
        commands.append(command)
        return type("Run", (), {"returncode": 0, "stdout": "", "stderr": ""})

    monkeypatch.setattr(setup.subprocess, "run", fake_run)
    setup.make_venv()

    assert commands == [[sys.executable, "-m", "venv", str(setup.VENV)]]
    assert not (setup.VENV / "half.txt").exists()
    assert json.loads(setup.STAMP.read_text()) == {"python": f"{sys.version_info[0]}.{sys.version_info[1]}"}


def test_installing_continues_after_the_last_finished_stage(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    failing = {"slicer.txt"}

    def fake_pip(arguments: list[str]) -> None:
        assert arguments[2:] == ["-c", str(ROOT / "requirements" / "lock.txt")]
        name = Path(arguments[1]).name
        if name in failing:
            raise setup.SetupError("no network")
        installed.append(name)

    monkeypatch.setattr(setup, "pip_install", fake_pip)
    monkeypatch.setattr(setup, "add_source_tree", lambda: None)
    with pytest.raises(setup.SetupError):
        setup.install(setup.STAGES)
    assert installed == ["torch.txt", "core.txt"]

    failing.clear()
    setup.install(setup.STAGES)
    assert installed == ["torch.txt", "core.txt", "slicer.txt", "test.txt"]

    setup.install(setup.STAGES)
    assert len(installed) == 4, "nothing is left to do"


def test_a_changed_lock_installs_everything_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    for path in (ROOT / "requirements").glob("*.txt"):
        (requirements / path.name).write_text(path.read_text())
    installed: list[str] = []
    monkeypatch.setattr(setup, "REQUIREMENTS", requirements)
    monkeypatch.setattr(setup, "pip_install", lambda arguments: installed.append(Path(arguments[1]).stem))
    monkeypatch.setattr(setup, "add_source_tree", lambda: None)
    setup.install(setup.STAGES)

    (requirements / "lock.txt").write_text("torch==2.14.0\n")
    setup.install(setup.STAGES)

    assert installed == [*setup.STAGES, *setup.STAGES]


def test_pip_lines_about_metadata_are_not_counted_as_packages(setup: ModuleType) -> None:
    wheel = "  Downloading slicer_core-5.13.31053.0-cp311-cp311-manylinux_2_28_x86_64.whl"

    found = setup.PIP_PACKAGE.match(wheel + " (43.5 MB)")

    assert found and found.groups() == ("slicer_core", "5.13.31053.0", " (43.5 MB)")
    assert setup.PIP_PACKAGE.match(wheel + ".metadata (2.1 kB)") is None


def test_options_of_pytest_and_python_are_passed_on(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[object, ...]] = []
    monkeypatch.setattr(setup, "prepare", lambda **_: None)
    monkeypatch.setattr(setup, "run", lambda *command, **_: runs.append(command) or 0)

    assert setup.main(["test", "Testing/core", "-k", "volume", "-x"]) == 0
    assert setup.main(["test", "--slow", "Testing/core"]) == 0
    assert setup.main(["python", "-m", "meddl", "--help"]) == 0
    assert setup.main(["bench", "warm_run", "--repeats", "3"]) == 0

    assert runs == [
        ("-m", "pytest", "Testing/core", "-k", "volume", "-x"),
        ("-m", "pytest", "-m", "slow or not slow", "Testing/core"),
        ("-m", "meddl", "--help"),
        ("Testing/benchmarks", "warm_run", "--repeats", "3"),
    ]


def test_a_slicer_that_is_not_there_is_said_before_anything_is_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "prepare", lambda **_: pytest.fail("it began to install"))

    assert setup.main(["test", "--slicer", "/no/such/Slicer"]) == 1
    assert "must name the Slicer program" in capsys.readouterr().err


def test_one_failing_check_fails_the_whole_run(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "prepare", lambda **_: None)
    for culprit in ("ruff", "mypy", "lint_imports", "pytest"):
        monkeypatch.setattr(setup, "run", lambda *command, culprit=culprit, **_: int(culprit in " ".join(command)))
        assert setup.main(["test"]) == 1, culprit


def test_every_wanted_package_is_pinned() -> None:
    pinned = {canonicalize_name(pin.name): pin for pin in names("lock.txt")}
    assert len(pinned) == len(names("lock.txt"))
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pinned.values())
    for path in (ROOT / "requirements").glob("*.txt"):
        for wanted in names(path.name):
            assert canonicalize_name(wanted.name) in pinned, f"{path.name}: {wanted.name} is not in lock.txt"


def test_the_lock_satisfies_what_the_package_asks_for() -> None:
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in names("lock.txt")}
    core = {canonicalize_name(wanted.name) for wanted in (*names("torch.txt"), *names("core.txt"))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(text) for text in project["dependencies"]]

    assert {canonicalize_name(requirement.name) for requirement in asked} == core
    for requirement in asked:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_panel_asks_for_what_the_package_asks_for() -> None:
    from meddl_slicer.packages import REQUIREMENTS, TORCH_NEEDED

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert {Requirement(line) for line in (*lines, f"torch{TORCH_NEEDED}")} == set(
        map(Requirement, project["dependencies"])
    )
