"""Run by the tests in a process of its own: takes each hostile bundle through all that MedDL does before a run.

    python hostile_runner.py JOBS.json OUT.json

Each bundle is handled in a forked child with bounds on time and memory and an audit hook that sees what Python does.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

SECONDS = 30
MEMORY = 6 << 30
_NEVER = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "socket.connect",
    "pty.spawn",
    "socket.getaddrinfo",
    "ctypes.dlopen",
    "webbrowser.open",
    "urllib.Request",
)

_WARM = (
    "jsonschema.validators", "meddl.models.check", "monai.bundle", "monai.inferers", "monai.networks.nets",
    "monai.transforms", "safetensors.torch", "sympy", "torch._dynamo", "torch.distributed.nn.jit.instantiator", "yaml",
)  # fmt: skip


def main() -> None:
    # Once, before the children are forked.
    for name in _WARM:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    results = {}
    for job in jobs:
        results[job["name"]] = _in_child(job)
    Path(sys.argv[2]).write_text(json.dumps(results))


def _in_child(job: dict[str, str]) -> dict[str, Any]:
    out = Path(job["canary"] + ".result")
    child = os.fork()
    if child == 0:
        try:
            _limit()
            result = _exercise(Path(job["bundle"]), Path(job["canary"]))
        except BaseException:
            result = {"crash": traceback.format_exc()}
        out.write_text(json.dumps(result))
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    result = json.loads(out.read_text()) if out.exists() else {"crash": f"ended with status {status}"}
    return {**result, "seconds": usage.ru_utime + usage.ru_stime}


def _limit() -> None:
    import resource
    import signal

    signal.alarm(20 * SECONDS)  # for what waits without computing; a busy machine is slow too
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc").exists() else 0
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _exercise(path: Path, canary: Path) -> dict[str, Any]:
    from meddl.errors import MedDLError
    from meddl.models import ModelBundle, TrustStore, inspect_weights, load_weights, open_config, open_trusted_config

    seen: list[str] = []
    _watch(seen, canary)
    refusals: list[str] = []
    wrong: list[str] = []

    def attempt(what: str, action: Any) -> Any:
        try:
            return action()
        except MedDLError as error:
            refusals.append(f"{what}: {type(error).__name__}: {error.message}")
        except Exception:
            wrong.append(f"{what}: {traceback.format_exc()}")
        return None

    report = None
    needs_trust: list[str] = []
    bundle = attempt("open", lambda: ModelBundle.open(path))
    if bundle is not None:
        trust = TrustStore(canary.with_suffix(".trust"))
        for name in (
            "name",
            "version",
            "task",
            "license",
            "description",
            "segments",
            "cascade",
            "input_channels",
            "files",
            "digest",
            "weights_path",
            "metadata",
        ):
            attempt(name, lambda name=name: getattr(bundle, name))
        report = attempt("check", bundle.check)
        needs_trust = list(report.needs_trust) if report else []
        for config_name in ("inference", "train", "coarse"):
            if not any((bundle.path / "configs" / f"{config_name}{suffix}").exists() for suffix in (".json", ".yaml")):
                continue
            config = attempt("config", lambda name=config_name: bundle.restricted_config(name))
            if config is None:
                continue
            attempt("reasons", lambda config=config: needs_trust.extend(config.reasons()))
            for trusted in (False, True):
                config = bundle.restricted_config(config_name, trusted=trusted, overrides={"device": "cpu"})
                if trusted:
                    # A consent given by mistake must not open more than TorchScript; that file is not part of this run.
                    config._given.weights = lambda path: (_ for _ in ()).throw(MedDLError("not loaded here"))
                for id in _ids(attempt("raw", lambda config=config: config.get("", raw=True)) or {}):
                    attempt(f"get {id[:80]}", lambda config=config, id=id: config.get(id))
                    if "::" not in id:
                        attempt(
                            f"drop {id[:80]}",
                            lambda config=config, id=id: config.get(id, drop={"LoadImaged", "SaveImaged"}),
                        )
            attempt("open_config", lambda name=config_name: open_config(bundle, name, trust=trust).get("network_def"))
            attempt(
                "trusted", lambda name=config_name: open_trusted_config(bundle, name, trust=trust).get("network_def")
            )
        for file in sorted((bundle.path / "models").iterdir()) if (bundle.path / "models").is_dir() else []:
            if not file.is_fifo():
                attempt(f"inspect {file.name}", lambda file=file: inspect_weights(file))
                attempt(f"load {file.name}", lambda file=file: load_weights(file, trusted=False))
    imported = [name for name in sys.modules if name.partition(".")[0] in ("scripts", "evil", "sitecustomize_evil")]
    inside = [
        name for name, module in list(sys.modules.items()) if str(getattr(module, "__file__", "")).startswith(str(path))
    ]
    return {
        "opened": bundle is not None,
        "refusals": refusals[:300],
        "wrong": wrong[:5],
        "problems": list(report.problems) if report else [],
        "needs_trust": needs_trust[:40],
        "seen": seen,
        "imported": imported + inside,
    }


def _ids(tree: Any) -> list[str]:
    found: list[str] = []
    stack = [("", tree)]
    while stack and len(found) < 60:
        id, node = stack.pop()
        found.append(id)
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        stack.extend((f"{id}::{key}" if id else str(key), value) for key, value in reversed(list(items)))
    return [*found, "network_def", "preprocessing", "inferer", "postprocessing", "loose"]


def _watch(seen: list[str], canary: Path) -> None:
    text = str(canary)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NEVER or (event.startswith("pickle.find_class") and "system" in str(arguments)):
            if event == "ctypes.dlopen" and "evil" not in str(arguments):
                return
            seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "open" and arguments and str(arguments[0]) == text:
            seen.append(f"open {arguments}")
        elif event == "import" and str(arguments[0]).partition(".")[0] in ("scripts", "evil"):
            seen.append(f"import {arguments[0]}")
        elif event == "exec" and getattr(arguments[0], "co_filename", "") == "<string>":
            seen.extend(["exec of the bundle's text"] if text in repr(arguments[0].co_consts) else [])

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
