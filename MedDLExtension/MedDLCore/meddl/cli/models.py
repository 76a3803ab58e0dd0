"""``meddl models``: what models there are, getting them, checking them, trusting them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from meddl.cli import models_check, models_transport
from meddl.cli.progress import ProgressBar
from meddl.errors import ModelError, UsageError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command and its verbs."""
    parser = commands.add_parser("models", help="list, add, check, trust and remove models")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Any, help: str, model: str | None = None) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = verbs.add_parser(name, parents=[common], help=help)
        if model:
            command.add_argument("model", help=model)
        command.set_defaults(run=run)
        return command

    anything = "a model of the catalog, or a bundle's folder or zip file"
    command = verb("list", _list, "list the models of the catalog, or search them")
    command.add_argument("words", nargs="*", metavar="WORD", help="show only models of which all these words are said")
    command.add_argument("--organ", default="", help="show only models for it")
    command.add_argument("--modality", default="", help="show only models for it, such as CT or MR")
    command.add_argument("--task", default="", help="show only models that do it, such as segmentation")
    command = verb("add", _add, "download a model and check it", "a model of the catalog, or a name for one of yours")
    command.add_argument(
        "--from", dest="place", type=Path, metavar="PLACE",
        help="do not download: take it from this folder, zip file, pack or package, or from the cache folder of "
        "another computer",
    )  # fmt: skip
    verb("show", _show, "tell what a model is for, where it comes from and what it needs", anything)
    verb("verify", _verify, "check that a model is complete and unchanged", anything)
    trust = verb("trust", _trust, "allow a model to run code of its own", anything)
    trust.add_argument("--yes", action="store_true", help="do not ask")
    trust.add_argument("--revoke", action="store_true", help="take the consent back")
    verb("remove", _remove, "remove a model from this computer", "a model of the catalog")
    models_transport.add_verbs(verb)
    models_check.add_verb(verb)


def _list(options: argparse.Namespace) -> int:
    from meddl.models import Catalog

    catalog = Catalog.default()
    words = " ".join(options.words)
    entries = catalog.search(words, organ=options.organ, modality=options.modality, task=options.task)
    if options.json:
        print(json.dumps([_entry(entry) for entry in entries], indent=2))
        return 0
    for entry in entries:
        state = "installed" if entry.installed else f"{entry.size_mb:.0f} MB to download"
        what = ", ".join(filter(None, (entry.task, entry.organ, entry.modality)))
        origin = "" if entry.built_in else f"; {entry.origin}"
        print(f"{entry.id:24} {entry.name}: {what}; {entry.license}; {state}{origin}")
    if not entries:
        print("No model fits. 'models list' without words shows all of them.")
    for problem in catalog.problems():
        print(problem, file=sys.stderr)
    return 0


def _add(options: argparse.Namespace) -> int:
    from meddl.models import Catalog

    catalog = Catalog.default()
    with ProgressBar(shown=not options.json) as bar:
        bundle = catalog.add(options.model, progress=bar, place=options.place)
    if options.json:
        print(json.dumps(_facts(bundle), indent=2))
    else:
        print(f"{bundle.name} {bundle.version} is on this computer and verified ({bundle.license}).")
    return 0


def _show(options: argparse.Namespace) -> int:
    from meddl.models import TrustStore, resolve_model

    bundle = resolve_model(options.model)
    report = bundle.check()
    facts = {
        **_facts(bundle),
        "trusted": TrustStore().is_trusted(bundle),
        "needs_trust": list(report.needs_trust),
        "problems": list(report.problems),
        "warnings": list(report.warnings),
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        if isinstance(value, list):
            for line in value:
                print(f"{name + ':':14} {line}")
        elif value not in ("", None):
            print(f"{name + ':':14} {value}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from meddl.models import Catalog, resolve_model

    catalog = Catalog.default()
    known = any(entry.id == options.model for entry in catalog.entries())
    bundle = resolve_model(options.model)
    problems = [*(catalog.verify(options.model) if known else ()), *bundle.check().problems]
    if options.json:
        print(json.dumps({**_facts(bundle), "problems": problems}, indent=2))
        return 1 if problems else 0
    if problems:
        raise ModelError(" ".join(dict.fromkeys(problems)))
    print(f"{bundle.name} {bundle.version} is complete and unchanged. SHA-256 {bundle.digest}")
    return 0


def _trust(options: argparse.Namespace) -> int:
    from meddl.models import TrustStore, resolve_model

    bundle = resolve_model(options.model)
    store = TrustStore()
    if options.revoke:
        store.revoke(bundle)
        _tell(options, f"{bundle.name} is no longer trusted.", name=bundle.name, trusted=False)
        return 0
    reasons = bundle.check().needs_trust
    if not reasons:
        text = f"{bundle.name} runs without trust: it brings no code of its own."
        _tell(options, text, name=bundle.name, trusted=store.is_trusted(bundle), needs_trust=[])
        return 0
    if not options.yes:
        if options.json or not sys.stdin.isatty():
            raise UsageError("Trusting a model needs your answer: run this in a terminal, or add --yes.")
        print(f"{bundle.name} would run code of its own, with all that you may do on this computer:")
        for reason in reasons:
            print(f"  - {reason}")
        if input("Trust it, as it is now? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Not trusted.")
            return 1
    store.record(bundle, origin="command line")
    text = f"{bundle.name} is trusted as it is now (SHA-256 {bundle.digest}). Any changed byte takes the trust away."
    _tell(options, text, name=bundle.name, trusted=True, needs_trust=list(reasons), sha256=bundle.digest)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from meddl.models import Catalog

    catalog = Catalog.default()
    name = catalog.find(options.model).name
    was_there = catalog.remove(options.model)
    text = f"{name} was removed from this computer." if was_there else f"{name} was not on this computer."
    _tell(options, text, id=options.model, removed=was_there)
    return 0


def _tell(options: argparse.Namespace, text: str, **facts: Any) -> None:
    print(json.dumps(facts, indent=2) if options.json else text)


def _entry(entry: Any) -> dict[str, Any]:
    names = ("id", "name", "description", "task", "organ", "modality", "license", "size_mb", "installed", "origin")
    return {name: getattr(entry, name) for name in names}


def _facts(bundle: Any) -> dict[str, Any]:
    metadata = bundle.metadata
    return {
        "name": bundle.name,
        "version": bundle.version,
        "task": bundle.task,
        "description": bundle.description,
        "intended_use": metadata.get("intended_use", ""),
        "limits": metadata.get("limits", ""),
        "license": bundle.license,
        "authors": metadata.get("authors", ""),
        "data_source": metadata.get("data_source", ""),
        "references": metadata.get("references", []),
        "sha256": bundle.digest,
    }
