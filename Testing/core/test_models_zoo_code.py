"""Code of trusted bundles: imported in the worker, each bundle's apart, and nothing of it stays behind."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from core import zoo_bundles
from core.zoo_bundles import metadata, runner
from meddl.errors import ModelError, UntrustedModelError
from meddl.models import ModelBundle, TrustStore, inference_parts, open_config

NET = """
import torch
from scripts.parts import FACTOR
from .parts import Scale

class Net(torch.nn.Module):
    def __init__(self, out_channels):
        super().__init__()
        self.scale = Scale()
        self.conv = torch.nn.Conv3d(1, out_channels, 1)

    def forward(self, x):
        from scripts.late import VALUE
        import scripts.late as again
        assert again.VALUE == VALUE
        return self.conv(x) * 0 + FACTOR * VALUE
"""
PARTS = """
import torch
FACTOR = {factor}
class Scale(torch.nn.Module):
    pass
"""


def bundle(folder: Path, factor: int, store: TrustStore, **changes: Any) -> ModelBundle:
    files = {
        "scripts/__init__.py": "from . import net",
        "scripts/net.py": NET,
        "scripts/parts.py": PARTS.format(factor=factor),
        "scripts/late.py": f"VALUE = {factor} * 10",
        "scripts/test.py": "raise SystemExit('not asked for')",
    }
    config = runner(network_def={"_target_": "scripts.net.Net", "out_channels": 3}, **changes)
    made = ModelBundle.open(zoo_bundles.write(folder, config, metadata(), files=files))
    store.record(made, "test")
    return made


def network(of: ModelBundle, store: TrustStore) -> Any:
    overrides = {"device": torch.device("cpu")}
    return open_config(of, overrides=overrides, trust=store).get(inference_parts(of).network_id)


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust.json")


def test_two_bundles_with_scripts_work_in_one_process_in_any_order(tmp_path: Path, store: TrustStore) -> None:
    one, two = bundle(tmp_path / "one", 1, store), bundle(tmp_path / "two", 2, store)
    before, digest = list(sys.path), one.digest
    networks = [network(each, store) for each in (one, two, one, two)]
    image = torch.zeros(1, 1, 2, 2, 2)
    # The modules that forward() imports come late, when others' are the last that were used.
    with torch.inference_mode():
        assert [float(each(image).max()) for each in reversed(networks)] == [40, 10, 40, 10]
    assert not [name for name in sys.modules if name.partition(".")[0] == "scripts"]
    assert sys.path == before
    assert one.digest == digest, "no bytecode was written into the bundle"
    assert type(networks[0]) is type(networks[2]) and type(networks[0]) is not type(networks[1])


def test_a_module_called_scripts_of_someone_else_is_neither_used_nor_lost(
    tmp_path: Path, store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = ModuleType("scripts")
    monkeypatch.setitem(sys.modules, "scripts", theirs)
    made = network(bundle(tmp_path / "b", 3, store), store)
    assert float(made(torch.zeros(1, 1, 2, 2, 2)).max()) == 90
    assert sys.modules["scripts"] is theirs


def test_a_bundle_cannot_stand_in_for_what_others_import(tmp_path: Path, store: TrustStore) -> None:
    files = {"json.py": "raise SystemExit", "numpy.py": "raise SystemExit", "mine.py": "import json, numpy; Net = list"}
    config = runner(network_def={"_target_": "mine.Net"})
    made = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config, files=files))
    store.record(made, "test")
    assert network(made, store) == []
    assert sys.modules["numpy"] is np


def test_changed_code_is_imported_anew_once_it_is_trusted_again(tmp_path: Path, store: TrustStore) -> None:
    made = bundle(tmp_path / "b", 1, store)
    image = torch.zeros(1, 1, 2, 2, 2)
    assert float(network(made, store)(image).max()) == 10
    (made.path / "scripts" / "parts.py").write_text(PARTS.format(factor=7))
    with pytest.raises(UntrustedModelError):
        network(made, store)
    store.record(made, "test")
    assert float(network(made, store)(image).max()) == 70


def test_imports_that_only_the_runner_needs_may_be_missing(tmp_path: Path, store: TrustStore) -> None:
    made = bundle(
        tmp_path / "b", 1, store, imports=["$import os", "$import absent_plots as plt", "$from absent import x"]
    )
    assert network(made, store) is not None
    broken = runner(network_def={"_target_": "scripts.gone.Net"}, imports=["$import absent_plots as plt"])
    root = zoo_bundles.write(tmp_path / "broken", broken, files={"scripts/gone.py": "import absent_plots"})
    other = ModelBundle.open(root)
    store.record(other, "test")
    with pytest.raises(ModelError, match="Not installed: absent_plots"):
        network(other, store)


def test_any_gpu_means_the_device_that_was_chosen(tmp_path: Path, store: TrustStore) -> None:
    made = bundle(tmp_path / "b", 1, store, place="$torch.device('cuda')", first='$str(torch.device("cuda:0"))')
    config = open_config(made, overrides={"device": torch.device("cpu")}, trust=store)
    assert config.get("place") == torch.device("cpu") and config.get("first") == "cpu"


def test_codes_of_searched_architectures_are_read(tmp_path: Path, store: TrustStore) -> None:
    """DiNTS bundles keep NumPy arrays in a file beside the weights."""
    config = {"codes": "$torch.load(@bundle_root + '/models/codes.pt')", "node": "$torch.from_numpy(@codes['node'])"}
    made = bundle(tmp_path / "b", 1, store, **config)
    torch.save({"node": np.arange(6).reshape(2, 3), "names": np.array([0.5, 1.5])}, made.path / "models" / "codes.pt")
    store.record(made, "test")
    node = open_config(made, overrides={"device": torch.device("cpu")}, trust=store).get("node")
    assert torch.equal(node, torch.arange(6).reshape(2, 3))
    with pytest.raises(Exception, match=r"[Ww]eights"):
        torch.load(made.path / "models" / "codes.pt", weights_only=True)


def test_a_searched_architecture_runs_where_its_code_is(tmp_path: Path, store: TrustStore) -> None:
    from meddl.inference.dry_run import dry_run

    space = {
        "_target_": "monai.networks.nets.TopologyInstance", "channel_mul": 0.25, "num_blocks": 3, "num_depths": 2,
        "use_downsample": True, "device": "$torch.device('cuda')", "arch_code": ["$@codes['a']", "$@codes['c']"],
    }  # fmt: skip
    config = runner(
        codes="$torch.load(@bundle_root + '/models/search_code.pt', map_location=torch.device('cuda'))",
        dints_space=space,
        network_def={
            "_target_": "monai.networks.nets.DiNTS", "dints_space": "@dints_space", "in_channels": 1,
            "num_classes": 3, "use_downsample": True, "node_a": "$torch.from_numpy(@codes['node'])",
        },
    )  # fmt: skip
    made = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config))
    store.record(made, "test")
    missing = dry_run(made, trust=store)
    assert not missing.ran and "'models/search_code.pt' is missing" in missing.sentence
    assert str(tmp_path) not in missing.sentence
    codes = {"a": np.ones((3, 4)), "c": np.zeros((3, 4)), "node": np.ones((4, 2))}
    torch.save(codes, made.path / "models" / "search_code.pt")
    store.record(made, "test")
    found = dry_run(made, trust=store)
    assert found.ran, found.sentence


def test_nothing_is_imported_without_trust(tmp_path: Path, store: TrustStore) -> None:
    made = bundle(tmp_path / "b", 1, store)
    store.revoke(made)
    report = made.check()
    assert any("scripts.net.Net" in reason for reason in report.needs_trust)
    with pytest.raises(UntrustedModelError):
        network(made, store)
    assert "scripts" not in sys.modules


def test_no_weights_are_downloaded_that_the_bundles_own_replace(tmp_path: Path, store: TrustStore) -> None:
    code = "class Net(dict):\n    pass\n"
    config = runner(network_def={"_target_": "scripts.net.Net", "pretrained": True, "other": True})
    made = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config, files={"scripts/net.py": code}))
    store.record(made, "test")
    assert network(made, store) == {"pretrained": False, "other": True}


def test_two_bundles_with_scripts_take_turns_in_one_warm_worker(tmp_path: Path, store: TrustStore) -> None:
    """Each answers the label that its own ``scripts`` say, and the worker's process stays the same."""
    from meddl.jobs import WorkerRunner
    from meddl.volume import Volume

    code = (
        "import torch\nfrom scripts.which import LABEL\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(1))\n"
        "    def forward(self, x):\n"
        "        from scripts.which import LABEL as late\n"
        "        scores = torch.zeros(x.shape[0], 3, *x.shape[2:])\n"
        "        scores[:, late] = LABEL\n"
        "        return scores\n"
    )
    for label in (1, 2):
        files = {"scripts/net.py": code, "scripts/which.py": f"LABEL = {label}"}
        root = zoo_bundles.write(
            tmp_path / f"model_{label}", runner(network_def={"_target_": "scripts.net.Net"}), metadata(), files=files
        )
        torch.save({"weight": torch.ones(1)}, root / "models" / "model.pt")
        store.record(ModelBundle.open(root), "test")
    image = Volume(np.random.default_rng(0).normal(0, 1, (1, 32, 32, 32)).astype(np.float32), np.eye(4))
    found = []
    with WorkerRunner() as worker:
        for label in (1, 2, 1):
            job = worker.submit(
                "meddl.inference.task:run_inference",
                {
                    "model": str(tmp_path / f"model_{label}"), "volume": image, "device": "cpu",
                    "trust_file": tmp_path / "trust.json",
                },
            )  # fmt: skip
            found.append(set(np.unique(job.wait(120)["labels"].array).tolist()))
    assert found == [{1}, {2}, {1}]
