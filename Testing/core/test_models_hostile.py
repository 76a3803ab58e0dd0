"""Nothing of a hostile bundle is executed, imported or unpickled, and each is refused with a sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from core.hostile_attacks import ATTACKS, Attack
from core.hostile_bundles import write_bundle, write_scripts
from core.hostile_weights import torchscript_bytes

RUNNER = Path(__file__).with_name("hostile_runner.py")
CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the runner's time and memory bounds need fork")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("hostile")
    plain = write_bundle(home / "plain")
    jobs = [{"name": "plain", "bundle": str(plain), "canary": str(home / "canary_plain_")}]
    for number, attack in enumerate(ATTACKS):
        # No canary name may be a prefix of another, and all are safe to stand in a shell command or a format string.
        canary = home / f"canary_{number}_"
        folder = home / f"b{number}"
        folder.mkdir()
        bundle = attack.build(folder, canary)
        assert not canary.exists(), f"building {attack.name} set it off"
        jobs.append({"name": attack.name, "bundle": str(bundle), "canary": str(canary)})
    (home / "jobs.json").write_text(json.dumps(jobs))
    before = set(home.rglob("*"))
    environment = {**os.environ, "MEDDL_CACHE": str(home / "cache"), "PYTHONPATH": str(CORE)}
    environment.pop("MEDDL_MODELS_DIR", None)
    result = subprocess.run(
        [sys.executable, str(RUNNER), str(home / "jobs.json"), str(home / "out.json")],
        env=environment, cwd=home, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    answers = json.loads((home / "out.json").read_text())
    for job in jobs:
        answers[job["name"]]["canary"] = Path(job["canary"]).exists()
    # What unpacking may leave: folders and records in the cache, named by an archive's SHA-256; and the runner's own.
    unpacked = re.compile(r"cache(/bundles(/[0-9a-f]{64}(\.json|/.*)?)?)?|out\.json|canary_(plain|\d+)_\.result")
    new = {path.relative_to(home).as_posix() for path in set(home.rglob("*")) - before}
    answers["strays"] = sorted(name for name in new if not unpacked.fullmatch(name))
    answers["unpacked"] = sorted(name for name in new if name.startswith("cache/bundles/"))
    return answers


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_bundle_does_nothing_and_is_refused(attack: Attack, outcomes: dict[str, Any]) -> None:
    outcome = outcomes[attack.name]
    assert not outcome["canary"], "it ran"
    assert "crash" not in outcome, outcome["crash"]
    assert outcome["seen"] == []
    assert outcome["imported"] == []
    assert outcome["wrong"] == []
    assert outcome["seconds"] < 20
    if not attack.inert:
        # What is refused of a harmless bundle too (its loading step, MONAI's parser) does not count.
        more = set(outcome["refusals"]) - set(outcomes["plain"]["refusals"])
        assert more or outcome["problems"] or outcome["needs_trust"] or not outcome["opened"]
        if attack.name.startswith("expression_"):
            assert any("dropout" in line for line in more), "its expression was not refused"
        if attack.name.startswith("target_"):
            assert any(line.startswith(("get network_def:", "get preprocessing:")) for line in more)


def test_a_plain_bundle_runs_without_trust(outcomes: dict[str, Any]) -> None:
    plain = outcomes["plain"]
    assert plain["problems"] == plain["needs_trust"] == plain["wrong"] == []
    assert not any(line.startswith(("get network_def", "drop preprocessing", "load")) for line in plain["refusals"])


def test_no_archive_wrote_outside_its_folder(outcomes: dict[str, Any]) -> None:
    assert outcomes["strays"] == []
    assert outcomes["unpacked"], "archives were unpacked, so something could have strayed"


def test_the_refusal_names_file_key_and_reason(outcomes: dict[str, Any]) -> None:
    lines = outcomes["place_nested_argument"]["needs_trust"]
    assert any(
        "configs/inference.json" in line and "network_def::act::1::inplace" in line and "open" in line for line in lines
    )


def test_there_are_many_attacks() -> None:
    assert len(ATTACKS) >= 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_the_canaries_work(tmp_path: Path) -> None:
    """The attacks are real: given to MONAI's own parser and loaders, they run."""
    canary = tmp_path / "canary"
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, warnings; warnings.simplefilter('ignore')\nimport torch\nfrom monai.bundle import ConfigParser\n"
        "path, canary = sys.argv[1:]\n"
        "ConfigParser({'a': f\"$open('{canary}1', 'w')\"}).get_parsed_content('a')\n"
        "ConfigParser({'a': {'_target_': 'os.system', 'command': f'touch {canary}2'}}).get_parsed_content('a')\n"
        "torch.jit.load(path)\n"
    )
    program = tmp_path / "model.ts"
    program.write_bytes(torchscript_bytes(canary))
    subprocess.run([sys.executable, str(script), str(program), str(canary)], check=False, capture_output=True)
    assert (tmp_path / "canary1").exists() and (tmp_path / "canary2").exists() and canary.exists()


def test_reasons_are_found_without_importing_torch(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", {"network_def": {"_target_": "os.system", "command": "true"}})
    write_scripts(bundle, tmp_path / "canary")
    code = (
        "import sys; from meddl.models import ModelBundle\n"
        f"report = ModelBundle.open({str(bundle)!r}).check()\n"
        "assert report.needs_trust and any('scripts/evil.py' in line for line in report.code), report\n"
        "assert not {'torch', 'monai', 'scipy', 'SimpleITK'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(CORE)})
    assert not (tmp_path / "canary").exists()
