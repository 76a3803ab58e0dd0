"""The extension package holds every file of its modules: CMake's lists against the tree, a build against both."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = REPOSITORY / "MedDLExtension"
MODELS = REPOSITORY / "Resources" / "Models"
SCRIPTED_MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")
MODULE_NAMES = re.findall(r"add_subdirectory\((\w+)\)", (MODULES / "CMakeLists.txt").read_text())


def shipped_files(folder: Path) -> set[str]:
    """Files below `folder` that belong to the project: not git-ignored, not build products."""
    git = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard", "-z", "."]
    names = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (folder / name).is_file() and name != "CMakeLists.txt"}


def listed(cmake_file: Path, variable: str) -> list[str]:
    """The words of `set(variable ...)` in a CMakeLists.txt, with ${MODULE_NAME} filled in."""
    text = re.sub(r"#.*", "", cmake_file.read_text())
    match = re.search(rf"set\(\s*{variable}\s([^)]*)\)", text)
    assert match, f"{cmake_file} sets no {variable}"
    return match.group(1).replace("${MODULE_NAME}", cmake_file.parent.name).split()


def same(listed_files: list[str], files: set[str], where: str) -> None:
    assert len(listed_files) == len(set(listed_files)), f"{where} lists a file twice"
    missing, gone = sorted(files - set(listed_files)), sorted(set(listed_files) - files)
    assert not missing, f"add to {where}:\n  " + "\n  ".join(missing)
    assert not gone, f"remove from {where}:\n  " + "\n  ".join(gone)


def test_every_module_folder_is_added() -> None:
    folders = {path.parent.name for path in MODULES.glob("*/*.py")}
    assert set(MODULE_NAMES) == folders


@pytest.mark.parametrize("module", MODULE_NAMES)
def test_every_file_of_a_module_is_listed(module: str) -> None:
    cmake_file = MODULES / module / "CMakeLists.txt"
    scripts, resources = listed(cmake_file, "MODULE_PYTHON_SCRIPTS"), listed(cmake_file, "MODULE_PYTHON_RESOURCES")

    same(scripts + resources, shipped_files(cmake_file.parent), str(cmake_file.relative_to(REPOSITORY)))
    assert {Path(name).suffix for name in scripts} == {".py"}
    assert ".py" not in {Path(name).suffix for name in resources}


def test_every_model_file_is_listed() -> None:
    cmake_file = MODULES / "MedDLCore" / "CMakeLists.txt"
    same(listed(cmake_file, "MODEL_FILES"), shipped_files(MODELS), f"MODEL_FILES of {cmake_file.name}")


@pytest.mark.parametrize("form", sorted(MODULES.glob("*/Resources/UI/*.ui")), ids=lambda form: form.name)
def test_labels_that_are_filled_later_say_what_their_text_is(form: Path) -> None:
    """Else Qt guesses, and takes the name of a model or file for HTML."""
    for label in ElementTree.parse(form).iter("widget"):
        texts = {each.get("name"): each for each in label.findall("property")}
        if label.get("class") == "QLabel" and "text" in texts and not "".join(texts["text"].itertext()).strip():
            assert "textFormat" in texts, label.get("name")


def test_modules_do_not_overwrite_one_another() -> None:
    """All modules install into one folder: the same relative path in two of them would silently win or lose."""
    owner: dict[str, str] = {}
    for module in MODULE_NAMES:
        for name in shipped_files(MODULES / module):
            assert name not in owner, f"{module} and {owner[name]} both install {name}"
            owner[name] = module
    top_level = {name.split("/")[0] for name in owner} - {"Resources"}
    assert all(name.lower().startswith("meddl") for name in top_level), "sys.path is shared with other extensions"


def test_metadata_is_what_the_extensions_index_reads() -> None:
    """The Index looks for plain text: project(NAME), and set(NAME "...") without variables."""
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    values = dict(re.findall(r'^set\((EXTENSION_\w+) "([^"$]+)"\)', text, re.MULTILINE))

    assert re.search(r"^project\(MedDL\)", text, re.MULTILINE)
    assert values["EXTENSION_DEPENDS"] == "PyTorch"
    raw = values["EXTENSION_HOMEPAGE"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    pictures = [values["EXTENSION_ICONURL"], *values["EXTENSION_SCREENSHOTURLS"].split()]
    for url in pictures:
        assert url.startswith(raw)
        assert (REPOSITORY / url.removeprefix(raw)).is_file(), f"{url} will not download: the repository lacks the file"
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules after cmake has configured, built and installed the extension."""
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    compiler = any(map(shutil.which, ("cc", "gcc", "clang", "cl")))
    if not (cmake and compiler):
        if os.environ.get("CI"):
            pytest.fail("CI needs cmake and a C++ compiler to configure the extension")
        pytest.skip("no cmake or no C++ compiler on this machine")
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("install")
    double = REPOSITORY / "Testing" / "cmake" / "Slicer"
    for command in (
        [cmake, "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={double}", f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        [cmake, "--build", build],
        [cmake, "--install", build],
    ):
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Warning" not in run.stderr, run.stderr
    assert "depends PyTorch" in (build / "MedDL.s4ext").read_text()
    return Path(prefix) / SCRIPTED_MODULES


def test_the_install_tree_holds_exactly_the_modules_and_models(installed: Path) -> None:
    expected = {f"Resources/Models/{name}" for name in shipped_files(MODELS)}
    for module in MODULE_NAMES:
        expected |= shipped_files(MODULES / module)

    assert {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()} == expected


def run_installed(installed: Path, tmp_path: Path, code: str) -> str:
    """Run `code` with the install tree as the only way to our packages, not the source tree."""
    prelude = (
        "import sys; sys.dont_write_bytecode = True\n"
        f"sys.path = [p for p in sys.path if not p.startswith({str(REPOSITORY / 'MedDLExtension')!r})]\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MEDDL_MODELS_DIR"}}
    environment["MEDDL_CACHE"] = str(tmp_path / "cache")
    run = subprocess.run(
        [sys.executable, "-c", prelude + code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_module_of_the_core_imports_from_the_install_tree(installed: Path, tmp_path: Path) -> None:
    names = sorted(
        ".".join(path.relative_to(installed).with_suffix("").parts).removesuffix(".__init__")
        for path in (installed / "meddl").rglob("*.py")
        if path.name != "__main__.py"
    )
    code = (
        "import importlib, json, pathlib\n"
        f"for name in json.loads({json.dumps(names)!r}):\n"
        "    module = importlib.import_module(name)\n"
        "    print(pathlib.Path(module.__file__).resolve())\n"
    )

    origins = run_installed(installed, tmp_path, code).split()

    assert len(origins) == len(names)
    assert all(Path(origin).is_relative_to(installed.resolve()) for origin in origins)


def test_the_installed_core_finds_its_models(installed: Path, tmp_path: Path) -> None:
    code = (
        "from meddl.models import Catalog\n"
        "print('brain_extraction' in [entry.id for entry in Catalog.default().entries()])\n"
    )

    assert run_installed(installed, tmp_path, code).split() == ["True"]


def test_a_worker_started_from_the_install_tree_finds_the_packages(installed: Path, tmp_path: Path) -> None:
    """Slicer extends its own sys.path, not PYTHONPATH: the runner must hand the folder to its child process."""
    code = (
        "from meddl.jobs import WorkerRunner\n"
        "with WorkerRunner() as runner:\n"
        "    job = runner.submit('meddl_slicer.download_task:add_model', {'model': 'no_such_model'})\n"
        "    try:\n"
        "        job.wait(timeout=120)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )

    answer = run_installed(installed, tmp_path, code)

    assert answer.startswith("ModelError") and "no_such_model" in answer
