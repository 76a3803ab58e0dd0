"""Write Docs/ModelZoo.md: what ``models check`` says of each bundle of a Model Zoo checkout, and how a dry run went.

    python Testing/docs/zoo_table.py PATH_OF_CHECKOUT [--no-dry-run]

Without a checkout (an argument, or MEDDL_MODEL_ZOO) it says so and does nothing. Weights are not needed: the networks
hold random numbers. Bundles that bring code run it in a process of their own, trusted in a store that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "Docs" / "ModelZoo.md"
CORE = REPOSITORY / "MedDLExtension" / "MedDLCore"
TIMEOUT_SECONDS = 900

HEAD = """# The MONAI Model Zoo in MedDL

What `python -m meddl models check BUNDLE --dry-run` says of each of the {count} bundles of
[Project-MONAI/model-zoo](https://github.com/Project-MONAI/model-zoo). Made by `Testing/docs/zoo_table.py` from a
checkout without weights, with MONAI {monai}, PyTorch {torch} and NumPy {numpy}.

- **Trust**: "not needed" means that the model's network, steps and inferer are known classes and harmless
  expressions, made by MedDL's restricted evaluator; nothing of the bundle is executed. Otherwise the first reason is
  given, and running it takes your consent to exactly these files.
- **Dry run**: with random weights on a phantom that fits the metadata, through the same code as a real run. It shows
  that every step works here; it says nothing about how good the model is.

{ran} of {count} ran, {refused} are refused because they are not for this panel, {failed} did not run.

| bundle | version | task | input | trust | dry run |
|---|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("checkout", nargs="?", default=os.environ.get("MEDDL_MODEL_ZOO"))
    parser.add_argument("--no-dry-run", action="store_true", help="only look the bundles over")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--rows", type=Path, help="also write all that was found here, as JSON")
    options = parser.parse_args()
    if not options.checkout:
        sys.stdout.write("No checkout of the Model Zoo was given (an argument, or MEDDL_MODEL_ZOO): nothing to do.\n")
        return 0
    if options.one:
        sys.stdout.write(json.dumps(look_over(Path(options.checkout), try_it=not options.no_dry_run)) + "\n")
        return 0
    rows = []
    for folder in bundles(Path(options.checkout)):
        rows.append({"bundle": folder.name, **in_own_process(folder, try_it=not options.no_dry_run)})
        sys.stdout.write(f"{folder.name}: {dry_run_cell(rows[-1])}\n")
        sys.stdout.flush()
    options.output.write_text(page(rows), encoding="utf-8")
    if options.rows:
        options.rows.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def bundles(checkout: Path) -> list[Path]:
    """Return the bundles' folders of a checkout, or of its ``models`` folder itself."""
    home = checkout / "models" if (checkout / "models").is_dir() else checkout
    return sorted(path.parent.parent for path in home.glob("*/configs/metadata.json"))


def look_over(folder: Path, *, try_it: bool) -> dict[str, Any]:
    """Return what is known of one bundle; its code is trusted in a store that is thrown away."""
    from meddl.cli.models_check import facts
    from meddl.inference.dry_run import dry_run
    from meddl.models import ModelBundle, TrustStore

    found = facts(str(folder))
    if try_it and not found["refusal"]:
        bundle = ModelBundle.open(folder)
        with tempfile.TemporaryDirectory() as home:
            store = TrustStore(Path(home) / "trust.json")
            if found["needs_trust"]:
                store.record(bundle, "Testing/docs/zoo_table.py")
            found["dry_run"] = dry_run(bundle, trust=store).to_dict()
    return found


def in_own_process(folder: Path, *, try_it: bool) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), str(folder), "--one"]
    environment = {**os.environ, "PYTHONPATH": str(CORE), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *([] if try_it else ["--no-dry-run"])],
            env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {**in_own_process(folder, try_it=False), "dry_run": {"ran": False, "sentence": "It took too long."}}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def page(rows: list[dict[str, Any]]) -> str:
    import monai
    import numpy
    import torch

    refused = sum(bool(row["refusal"]) for row in rows)
    ran = sum(bool(row.get("dry_run", {}).get("ran")) for row in rows)
    head = HEAD.format(
        count=len(rows), ran=ran, refused=refused, failed=len(rows) - ran - refused,
        monai=monai.__version__, torch=torch.__version__.partition("+")[0], numpy=numpy.__version__,
    )  # fmt: skip
    return head + "".join(
        f"| {row['bundle']} | {row['version']} | {row['task']} | {row['inputs']} | {trust_cell(row)} "
        f"| {dry_run_cell(row)} |\n"
        for row in rows
    )


def trust_cell(row: dict[str, Any]) -> str:
    if row["refusal"]:
        return "-"
    if not row["needs_trust"]:
        return "not needed"
    reason = row["needs_trust"][0].partition(": ")[2]
    more = len(row["needs_trust"]) - 1
    return cell(f"needed: {reason}" + (f" ({more} more)" if more else ""))


def dry_run_cell(row: dict[str, Any]) -> str:
    if row["refusal"]:
        return cell("refused: " + row["refusal"].partition("' ")[2])
    tried = row.get("dry_run")
    if tried is None:
        return "not tried"
    return cell(tried["sentence"] if tried["ran"] else f"did not run: {tried['sentence']}")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.path.insert(0, str(CORE))
    raise SystemExit(main())
