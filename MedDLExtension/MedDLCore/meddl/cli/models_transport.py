"""``meddl models pack``, ``unpack``, ``entry`` and ``network``: how models get to computers."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError


def add_verbs(verb: Any) -> None:
    """Add the verbs; ``verb(name, run, help)`` makes a parser."""
    command = verb("pack", _pack, "write models into one file, for a computer without a network")
    command.add_argument("models", nargs="+", metavar="ID", help="a model that is on this computer")
    command.add_argument("--output", type=Path, required=True, metavar="FILE", help="the pack to write (.meddlpack)")
    command = verb("unpack", _unpack, "install all models of a pack, after comparing every file")
    command.add_argument("file", type=Path, metavar="FILE", help="the pack")
    command.add_argument("--sha256", default="", metavar="HEX", help="what 'models pack' printed, to compare with")
    command.add_argument("--replace", action="store_true", help="also replace another model of the same name")
    command = verb("entry", _entry, "print what a catalog of your own says of a model, with SHA-256 and size")
    command.add_argument("file", type=Path, metavar="ZIP", help="the zip archive of a MONAI Bundle")
    command.add_argument("--id", default="", help="the model's id; made of the file's name by default")
    command.add_argument("--url", default="", help="where users get the file; its name, beside the catalog, by default")
    command.add_argument("--organ", default="", help="what it is for")
    command.add_argument("--modality", default="", help="what images it takes; from the metadata by default")
    command = verb("network", _network, "show or change proxy, mirrors and further catalogs")
    command.add_argument(
        "--proxy", metavar="URL", help="http://host:port, 'direct' for none, 'system' for the usual one"
    )
    command.add_argument(
        "--mirror", action="append", default=[], metavar="FROM=TO",
        help="fetch addresses that begin with FROM from TO, an address or a folder; 'FROM=' forgets one",
    )  # fmt: skip
    command.add_argument(
        "--catalog", action="append", default=[], type=Path, metavar="PATH",
        help="read this catalog, too: a catalog.json or a folder that holds one",
    )  # fmt: skip
    command.add_argument(
        "--forget-catalog", action="append", default=[], type=Path, metavar="PATH", help="read it no more"
    )


def _pack(options: argparse.Namespace) -> int:
    from meddl.models import Catalog, pack

    output = options.output if options.output.suffix else options.output.with_suffix(pack.SUFFIX)
    if output.is_dir():
        raise UsageError(f"'{output.name}' is a folder. Name the file to write.")
    with ProgressBar(shown=not options.json) as bar:
        sha256 = pack.write_pack(Catalog.default(), options.models, output, progress=bar)
    facts = {"file": str(output), "sha256": sha256, "bytes": output.stat().st_size, "models": options.models}
    text = f"{output} holds {len(set(options.models))} model(s), {facts['bytes'] / 1e6:.1f} MB, read back and compared."
    print(json.dumps(facts, indent=2) if options.json else f"{text}\nSHA-256 {sha256}")
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from meddl.models import Catalog, pack

    if not options.file.is_file():
        raise UsageError(f"There is no file '{options.file.name}'.")
    with ProgressBar(shown=not options.json) as bar:
        models = pack.unpack(
            Catalog.default(), options.file, progress=bar, sha256=options.sha256, replace=options.replace
        )
    if options.json:
        rows = [
            {name: getattr(model, name) for name in ("id", "name", "version", "license", "new")} for model in models
        ]
        print(json.dumps({"models": rows}, indent=2))
    for model in models if not options.json else ():
        state = "is on this computer and verified" if model.new else "was there already"
        print(f"{model.id:24} {model.name} {model.version} {state} ({model.license})")
    return 0


def _entry(options: argparse.Namespace) -> int:
    from meddl.models import ModelBundle
    from meddl.models.catalog_entry import parse_entry
    from meddl.models.content import file_sha256
    from meddl.models.metadata_values import image_formats

    if not options.file.is_file():
        raise UsageError(f"There is no file '{options.file.name}'.")
    bundle = ModelBundle.open(options.file)
    bundle.check().raise_if_broken()
    inputs = image_formats(bundle.metadata, "inputs")
    modality = next((str(facts["modality"]) for facts in inputs if facts.get("modality")), "")
    row = {
        "id": options.id or re.sub(r"[^a-z0-9]+", "_", options.file.stem.lower()).strip("_"),
        "name": bundle.name,
        "description": bundle.description,
        "task": bundle.task,
        "organ": options.organ,
        "modality": options.modality or modality,
        "license": bundle.license,
        "version": bundle.version,
        "source": {
            "url": options.url or options.file.name,
            "sha256": file_sha256(options.file),
            "size": options.file.stat().st_size,
        },
        "digest": bundle.digest,
    }
    row = {name: value for name, value in row.items() if value}
    parse_entry(row, options.file.name)
    print(json.dumps(row, indent=4))
    return 0


def _network(options: argparse.Namespace) -> int:
    from meddl.models import Catalog, network_settings

    settings = network_settings.stored_settings()
    changed = settings
    if options.proxy is not None:
        changed = replace(changed, proxy="" if options.proxy == "system" else options.proxy)
    for text in options.mirror:
        start = text.removesuffix("=").strip()
        mirrors = {key: goal for key, goal in changed.mirrors.items() if key != start}
        if not text.endswith("="):
            mirrors = {**changed.mirrors, **dict([network_settings.parse_mirror(text)])}
        changed = replace(changed, mirrors=mirrors)
    catalogs = [*changed.catalogs, *(str(path.expanduser().absolute()) for path in options.catalog)]
    forgotten = {str(path.expanduser().absolute()) for path in options.forget_catalog}
    changed = replace(changed, catalogs=tuple(path for path in dict.fromkeys(catalogs) if path not in forgotten))
    if changed != settings:
        network_settings.save(changed)
    active = network_settings.load()
    problems = Catalog.default().problems()
    facts = {
        "proxy": active.shown_proxy,
        "mirrors": dict(active.mirrors),
        "catalogs": list(active.catalogs),
        "problems": list(problems),
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"proxy:    {active.shown_proxy or 'that of the environment or the system'}")
    for start, goal in active.mirrors.items():
        print(f"mirror:   {start} is fetched from {goal}")
    for catalog in active.catalogs:
        print(f"catalog:  {catalog}")
    for problem in problems:
        print(f"problem:  {problem}")
    return 0
