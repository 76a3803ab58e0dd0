"""Attacks by code that lies about in a bundle, and by what the metadata say."""

from __future__ import annotations

import json
from pathlib import Path

from core.hostile_bundles import EVIL_MODULE, INFERENCE, METADATA, attack, write_bundle, write_scripts


@attack("code_logging_conf", inert=True)
def _logging(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n"
        f"[handler_h]\nclass=FileHandler\nargs=(open('{canary}', 'w').name,)\n"
    )
    return root


@attack("code_shadowing_modules", inert=True)
def _shadow(root: Path, canary: Path) -> Path:
    write_bundle(root)
    for name in ("sitecustomize.py", "usercustomize.py", "monai.py", "torch.py", "yaml.py", "conftest.py", "evil.pth"):
        text = EVIL_MODULE.format(canary=str(canary))
        (root / name).write_text(
            text if name.endswith(".py") else f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
        )
    return root


@attack("code_training_config", inert=True)
def _training(root: Path, canary: Path) -> Path:
    write_bundle(root)
    write_scripts(root, canary)
    train = {"imports": ["$import scripts.evil"], "a": f"$open('{canary}', 'w')", "b": {"_target_": "scripts.evil.run"}}
    (root / "configs" / "train.json").write_text(json.dumps(train))
    return root


@attack("code_metadata")
def _metadata(root: Path, canary: Path) -> Path:
    text = f"$open('{canary}', 'w')"
    metadata = json.loads(json.dumps(METADATA))
    metadata.update(name=text, version=text, task=text, description=text, schema=f"file://{canary}")
    image = metadata["network_data_format"]["inputs"]["image"]
    image["spatial_shape"] = [f"__import__('os').system('touch {canary}')"] * 3
    image["num_channels"] = text
    metadata["meddl"] = {"segments": {"1": {"name": text}}, "cascade": {"localizer": "../../evil"}}
    return write_bundle(root, metadata=metadata)


@attack("code_localizer")
def _localizer(root: Path, canary: Path) -> Path:
    metadata = {**METADATA, "meddl": {"cascade": {"localizer": "coarse"}}}
    write_bundle(root, metadata=metadata)
    config = {**INFERENCE, "network_def": {"_target_": "os.system", "command": f"touch {canary}"}}
    (root / "configs" / "coarse.json").write_text(json.dumps(config))
    return root
