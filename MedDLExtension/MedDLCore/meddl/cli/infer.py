"""``meddl infer``: run a model on an image file or a DICOM folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from meddl.cli.progress import ProgressBar


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("infer", parents=[common], help="run a model on an image")
    parser.add_argument("--model", required=True, help="a model of 'models list', or a bundle's folder or zip")
    parser.add_argument(
        "--input", required=True, type=Path, help="image (.nrrd, .nii, .nii.gz, .mha, ...) or folder of a DICOM series"
    )
    parser.add_argument("--series", metavar="UID", help="which series, where the folder holds several")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help=".seg.nrrd (with names and colors), or a plain label map: .nrrd, .nii, .nii.gz, .mha",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps (default: auto)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was run, on what and the result")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from meddl.inference import SegmentationPrediction
    from meddl.inference.task import RUN_INFERENCE
    from meddl.jobs import InlineRunner
    from meddl.volume import check_writable, read_volume, whole_file, write_segmentation

    # What can be known to fail fails before the work, not after it.
    check_writable(options.output)
    if options.report:
        check_writable(options.report, (".json",))
    with ProgressBar(shown=not options.json) as bar:
        bar(0.0, "Reading the image")
        volume = read_volume(options.input, series_uid=options.series)
        with InlineRunner() as runner:
            params = {"model": options.model, "volume": volume, "device": options.device}
            result = runner.submit(RUN_INFERENCE, params, on_progress=bar).wait()
    prediction = SegmentationPrediction.from_dict(result)
    write_segmentation(prediction.labels, prediction.segments, options.output)
    report = {"volumes_ml": dict(prediction.volumes_ml), **prediction.provenance}
    text = json.dumps(report, indent=2)
    if options.report:
        with whole_file(options.report) as file:
            file.write(f"{text}\n".encode())
    if options.json:
        print(text)
    else:
        _print_summary(prediction, options.output)
    return 0


def _print_summary(prediction: Any, output: Path) -> None:
    model, times = prediction.provenance["model"], prediction.provenance["times_s"]
    print(f"{model['name']} {model['version']} ({model['license']}), {times['total']:.1f} s")
    for name, volume in prediction.volumes_ml.items():
        print(f"  {name}: {volume:.1f} ml")
    for note in prediction.provenance["notes"]:
        print(f"  Note: {note}")
    print(f"Written: {output}")
