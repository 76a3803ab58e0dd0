"""The wheel that `pip install .` makes: it has the command line and the catalog's models in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_wheel_has_every_module_and_model_definition(tmp_path: Path) -> None:
    # Built from a copy: setuptools leaves a build folder in what it builds from.
    source = tmp_path / "source"
    for name in ("MedDLExtension", "Resources"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    core = REPOSITORY / "MedDLExtension" / "MedDLCore"
    modules = {path.relative_to(core).as_posix() for path in (core / "meddl").rglob("*.py")}
    assert modules <= set(names)
    assert not [name for name in names if name.startswith("meddl_slicer")]
    models = REPOSITORY / "Resources" / "Models"
    wanted = {path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file()}
    assert wanted == {name.partition("/share/meddl/Models/")[2] for name in names if "/share/meddl/Models/" in name}
