"""The panels' own self-tests run in the host, or in the Slicer that SLICER_EXECUTABLE names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXTENSION = REPOSITORY / "MedDLExtension"
RUNNER = Path(__file__).with_name("run_self_tests.py")
LONGEST_S = 900
MODULES = ("MedDLCore", "MedDLInference", "MedDLExport", "MedDLSaliency", "MedDLAugmentation")


def application() -> tuple[list[str], dict[str, str]]:
    """Command and environment of the application that runs the tests."""
    slicer = os.environ.get("SLICER_EXECUTABLE")
    if slicer:
        return [slicer], dict(os.environ)
    return [sys.executable, "-m", "host"], {**os.environ, "PYTHONPATH": str(REPOSITORY / "Testing")}


def run_self_tests(folders: list[Path], modules: list[str]) -> subprocess.CompletedProcess[str]:
    command, environment = application()
    options = ["--testing", "--no-main-window", "--additional-module-paths", *map(str, folders)]
    return subprocess.run(
        [*command, *options, "--python-script", str(RUNNER), *modules],
        env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip


@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("module", MODULES)
def test_module_passes_its_self_test(module: str) -> None:
    done = run_self_tests([EXTENSION / name for name in MODULES], [module])

    assert "1 passed, 0 failed" in done.stdout, f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0


MODULE = """
from slicer.ScriptedLoadableModule import *
class {name}(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "{name}"
class {name}Test(ScriptedLoadableModuleTest):
    def setUp(self):
        import slicer
        slicer.mrmlScene.Clear(0)
    def test_something(self):
        self.assertTrue({outcome})
"""


def test_failing_self_test_fails_the_run(tmp_path: Path) -> None:
    for name, outcome in (("WorksWell", True), ("FailsAlways", False)):
        (tmp_path / f"{name}.py").write_text(MODULE.format(name=name, outcome=outcome))

    done = run_self_tests([tmp_path], ["WorksWell", "FailsAlways", "NotThere"])

    assert "WorksWell: passed" in done.stdout
    assert "FailsAlways: FAILED" in done.stdout
    assert "NotThere: FAILED" in done.stdout
    assert "1 passed, 2 failed" in done.stdout
    assert done.returncode == 1
