"""``meddl infer --batch``: all images of a list or folder, one after the other whatever becomes of each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.batch import BatchSummary
    from meddl.inference import RunOptions

_ONE_ONLY = ("series", "report", "reference", "qa")


def run_on_many(options: argparse.Namespace, models: Sequence[str], how: RunOptions) -> int:
    """Run a batch; exit code 1 says that a case failed."""
    from meddl.batch import plan_batch, run_batch

    for name in _ONE_ONLY:
        if getattr(options, name):
            raise UsageError(
                f"--{name} is for a single image. In a batch, records and summary take the place of a report, and "
                "series and reference are columns of the list."
            )
    if options.workers and options.device != "auto" and "," in options.device:
        raise UsageError("With --workers, each worker has its own device: leave --device at auto, or name one for all.")
    devices = [device.strip() for device in options.device.split(",") if device.strip()] or ["auto"]
    if len(devices) > 1:
        from dataclasses import replace

        how = replace(how, device="auto")
    suffix = options.format if not options.format or options.format.startswith(".") else f".{options.format}"
    plan = plan_batch(
        options.batch, models, options.output, ensemble=options.ensemble, options=how, suffix=suffix,
        dicom_kind="LABELMAP" if options.label_map else "BINARY",
    )  # fmt: skip
    seats = _seats(options, devices)
    if not options.json:
        for note in getattr(seats, "notes", ()):
            print(f"Note: {note}")
    with ProgressBar(shown=not options.json) as bar:
        summary = run_batch(plan, seats=seats, progress=bar)
    if options.json:
        print(json.dumps({**summary.to_dict(), "summary": str(summary.path)}, indent=2))
    else:
        _print_summary(summary)
    return 1 if summary.stopped or summary.counts.get("failed") else 0


def _seats(options: argparse.Namespace, devices: Sequence[str]) -> Any:
    if options.workers:
        from meddl.batch.spread import Spread, Tls

        return Spread(options.workers, Tls(options.tls_ca, options.tls_cert, options.tls_key))
    if any((options.tls_ca, options.tls_cert, options.tls_key)):
        raise UsageError("The --tls options belong to --workers.")
    from meddl.batch.seats import Workers
    from meddl.inference.device import resolve_device

    for device in devices:
        resolve_device(device)
    return Workers(devices)


def _print_summary(summary: BatchSummary) -> None:
    from meddl.models.metadata_values import printable

    counts = summary.counts
    words = {"done": "done", "skipped": "done before", "failed": "failed", "not run": "not run"}
    told = [f"{counts[status]} {word}" for status, word in words.items() if counts.get(status)]
    count = len(summary.results)
    print(f"{count} {'case' if count == 1 else 'cases'}: {', '.join(told)}")
    for result in summary.results:
        for warning in result.record.get("warnings", ()) if result.status == "done" else ():
            print(printable(f"  Warning: {result.case}: {warning}"))
        if result.status == "failed":
            print(printable(f"  Failed: {result.case}: {result.error}"))
    if summary.stopped:
        print(summary.stopped)
    print(f"Written: {Path(summary.path)}")
