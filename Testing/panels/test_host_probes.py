"""The host answers our probes line by line as a real Slicer did (`Testing/host/probe/answers-5.13.txt`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
PROBE = TESTING / "host" / "probe"
PROBES = ("qt_probe.py", "parameter_node_probe.py")

# Where the host cannot answer as Slicer, and why.
DEVIATIONS = {
    "QMessageBox enum": "PySide6 names the type of a flag otherwise than PythonQt; the values are the same",
    "qt.Signal": "the same type under PySide6's name",
    "getModuleWidget": "asks for the Segment Editor, which is not in the host",
    "selfTests": "lists Slicer's own modules, which are not in the host",
    "qMRML list": "lists all widgets of Slicer; the host has those that are used",
    "ctk list": "lists all widgets of CTK; the host has those that are used",
}
# Answers that hold the machine's own folders and versions: only their shape is compared.
OF_THE_MACHINE = {"app attrs", "app more", "sys.executable", "PythonSlicer"}

LINE = re.compile(r"^(?:PROBE )?(ok|FAIL) +(.+?) -> (.*)$")


def parse(text: str) -> dict[str, tuple[str, str]]:
    """{name of the question: (ok or FAIL, answer)}."""
    matches = (LINE.match(line) for line in text.splitlines())
    return {m[2]: (m[1], m[3]) for m in matches if m}


def without_addresses(answer: str) -> str:
    """The answer without addresses, names of modules of classes, and what was cut off at a length they change."""
    answer = re.sub(r"0x(\.\.|[0-9a-f]+)", "0x", answer)
    answer = re.sub(r"(<class ')[\w.]+\.(\w+'>)", r"\1\2", answer)
    return re.sub(r"<(?:\w+\.)+(\w+\()", r"<\1", answer)


def shape(answer: str) -> str:
    """An answer of the machine with texts and numbers taken out, and the text that was cut off at the end."""
    return re.sub(r"\d+", "0", re.sub(r"'[^']*$", "", re.sub(r"'[^']*'", "''", answer)))


def same(question: str, expected: str, given: str) -> bool:
    if question in OF_THE_MACHINE:
        expected, given = shape(expected), shape(given)
        return given.startswith(expected) or expected.startswith(given)
    expected, given = without_addresses(expected), without_addresses(given)
    cut = min(len(expected), len(given))  # long answers are cut off where addresses of another length let them end
    return given == expected if cut < 100 else given[:cut] == expected[:cut]


@pytest.fixture(scope="module")
def given() -> dict[str, tuple[str, str]]:
    answers: dict[str, tuple[str, str]] = {}
    for probe in PROBES:
        command = [sys.executable, "-m", "host", "--testing", "--no-main-window", "--python-script", str(PROBE / probe)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(TESTING)}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers.update(parse(done.stdout))
    return answers


EXPECTED = parse((PROBE / "answers-5.13.txt").read_text())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("question", [q for q in EXPECTED if q not in DEVIATIONS])
def test_answer_is_that_of_slicer(question: str, given: dict[str, tuple[str, str]]) -> None:
    kind, answer = given[question]

    assert kind == EXPECTED[question][0], answer
    assert same(question, EXPECTED[question][1], answer), f"Slicer: {EXPECTED[question][1]}\nhost:   {answer}"


def test_every_question_of_the_probes_is_compared(given: dict[str, tuple[str, str]]) -> None:
    assert set(given) == set(EXPECTED)
    assert len(EXPECTED) == 161


@pytest.mark.parametrize("listing", ["qMRML list", "ctk list"])
def test_host_has_no_widget_that_slicer_has_not(listing: str, given: dict[str, tuple[str, str]]) -> None:
    listed = re.findall(r"'(\w+)'", EXPECTED[listing][1])
    ours = re.findall(r"'(\w+)'", given[listing][1])

    assert {name for name in ours if name <= listed[-1]} <= set(listed)


def test_message_box_values_are_those_of_slicer(given: dict[str, tuple[str, str]]) -> None:
    assert given["QMessageBox enum"][1].startswith("(16384, 16384, ")
