"""``meddl models check``: what a bundle needs, what it is for, whether it runs without trust, and trying it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any


def add_verb(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb; ``verb`` is that of :mod:`meddl.cli.models`."""
    command = verb(
        "check",
        _check,
        "tell what a model is for and what it needs to run here; nothing of it is run",
        "a bundle's folder or zip file, or a model of the catalog",
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="also run it with random weights on a phantom; a model with code of its own must have been trusted",
    )


def facts(model: str, *, try_it: bool = False) -> dict[str, Any]:
    """Return what is to be said about a model, as plain data."""
    from meddl.models import TrustStore, resolve_model

    bundle = resolve_model(model)
    report = bundle.check()
    found: dict[str, Any] = {
        "name": bundle.name,
        "version": bundle.version,
        "task": bundle.task,
        "inputs": inputs(bundle),
        "refusal": report.refusal,
        "runs_untrusted": not report.refusal and not report.needs_trust,
        "trusted": TrustStore().is_trusted(bundle),
        "needs_trust": list(report.needs_trust),
        "missing_packages": list(report.packages),
        "missing_downloads": list(report.downloads),
        "problems": list(report.problems),
        "warnings": list(report.warnings),
    }
    if try_it:
        from meddl.inference.dry_run import dry_run

        found["dry_run"] = dry_run(bundle).to_dict()
    return found


def inputs(bundle: Any) -> str:
    """Return in a few words what images a model takes."""
    from meddl.models.metadata_values import image_format

    image = image_format(bundle.metadata, "inputs")
    if not image:
        return "not told"
    count = image.get("num_channels")
    shape = image.get("spatial_shape")
    modality = image.get("modality")
    kind = str(modality if modality not in (None, "", "none", "regular") else image.get("format", "image"))
    size = " x ".join(str(side) for side in shape) if isinstance(shape, list) else ""
    channels = f"{count} channel{'' if count == 1 else 's'}" if isinstance(count, int) and count > 0 else ""
    return ", ".join(filter(None, (kind, channels, f"{size} voxels" if size else "")))


def _check(options: argparse.Namespace) -> int:
    found = facts(options.model, try_it=options.dry_run)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        from meddl.models.metadata_values import printable

        print("\n".join(map(printable, _lines(found))))  # the model's own words are among them
    tried = found.get("dry_run")
    fine = tried["ran"] if tried else not found["refusal"] and not found["problems"]
    return 0 if fine else 1


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['name']} {found['version']}".rstrip(), f"task:    {found['task'] or 'not told'}"]
    lines.append(f"input:   {found['inputs']}")
    if found["refusal"]:
        lines.append(f"refused: {found['refusal']}")
    elif found["needs_trust"]:
        given = "which you gave" if found["trusted"] else "'python -m meddl models trust'"
        lines += [f"trust:   it needs your consent ({given}), because", *(f"  - {why}" for why in found["needs_trust"])]
    else:
        lines.append("trust:   it runs without: known classes and harmless expressions only")
    for name, title in (
        ("missing_packages", "install:"),
        ("missing_downloads", "missing:"),
        ("problems", "problem:"),
        ("warnings", "note:   "),
    ):
        lines += [f"{title} {line}" for line in found[name]]
    if "dry_run" in found:
        lines.append(f"dry run: {found['dry_run']['sentence']} ({found['dry_run']['seconds']:.1f} s)")
        lines += [f"         {note}" for note in found["dry_run"]["notes"]]
    return lines
