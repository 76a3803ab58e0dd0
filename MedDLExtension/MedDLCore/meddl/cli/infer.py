"""``meddl infer``: run models on an image, or on all images of a list or folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.inference import Prediction, RunOptions
    from meddl.models import ModelBundle

_EPILOG = """\
What --output may end in depends on what the model is for: segmentation .seg.nrrd (names and colors), .nrrd, .nii.gz,
.nii, .mha (plain labels) or .dcm (DICOM SEG); classification .json or .csv; detection and landmarks .mrk.json (opens in
Slicer), .json or .csv; reconstruction .nrrd, .nii.gz, .nii or .mha.
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "infer", parents=[common], help="run a model on an image, or on many", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--model", action="append", default=[], metavar="MODEL",
        help="a model of 'models list', or a bundle's folder or zip; may be given several times, or as A,B",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input", action="append", metavar="[CHANNEL=]FILE",
        help="image (.nrrd, .nii, .nii.gz, .mha, .png, .jpg, ...) or folder of a DICOM series; for a model of several "
        "channels once for each, in order or with the channel's name",
    )  # fmt: skip
    what.add_argument(
        "--batch", type=Path, metavar="LIST.csv|FOLDER",
        help="many images: a list with a column 'image' (or one for each channel), or a folder",
    )  # fmt: skip
    parser.add_argument("--series", metavar="UID", help="which series, where the folder holds several")
    parser.add_argument(
        "--output", required=True, type=Path, help="file for the result; a folder for several models or a batch"
    )
    parser.add_argument("--format", default="", metavar="SUFFIX", help="what a batch or several models write")
    parser.add_argument("--label-map", action="store_true", help="write DICOM SEG as a label map, which few can read")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was run, on what and the result")
    parser.add_argument("--ensemble", action="store_true", help="join the answers of several models into one")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="what the result should look like: compare them")
    parser.add_argument("--qa", type=Path, metavar="FILE.csv", help="write the comparison of a segmentation")
    run_it = parser.add_argument_group("how to run")
    run_it.add_argument(
        "--device", default="auto", help="auto, cpu, cuda:N or mps (default: auto); in a batch also A,B"
    )
    run_it.add_argument("--precision", default="auto", metavar="P", help="auto, float32, bfloat16 or float16")
    run_it.add_argument("--engine", default="auto", metavar="E", help="auto, torch or openvino")
    run_it.add_argument("--uncertainty", default="none", metavar="HOW", help="none, flips, dropout or folds")
    run_it.add_argument("--passes", type=int, default=8, metavar="N", help="answers the uncertainty is made of")
    run_it.add_argument("--probabilities", action="store_true", help="write each structure's probability map too")
    run_it.add_argument("--difference", action="store_true", help="write a reconstruction minus its image too")
    run_it.add_argument("--no-skip-air", action="store_true", help="look at windows that hold only air, too")
    run_it.add_argument("--mirror", action="store_true", help="nnU-Net models: look at mirrored copies as well")
    run_it.add_argument("--seed", type=int, default=0, metavar="N", help="of what is random")
    spread = parser.add_argument_group("a batch over several machines")
    spread.add_argument("--workers", metavar="ADDRESS", help="of a dask scheduler, for instance tls://cluster:8786")
    spread.add_argument("--tls-ca", type=Path, metavar="FILE", help="certificate of the authority")
    spread.add_argument("--tls-cert", type=Path, metavar="FILE", help="own certificate")
    spread.add_argument("--tls-key", type=Path, metavar="FILE", help="own key")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    models = [name.strip() for each in options.model for name in _split(each) if name.strip()]
    if options.batch is not None:
        from meddl.cli.infer_batch import run_on_many

        return run_on_many(options, models, run_options(options))
    if not models:
        raise UsageError("Which model? Name one with --model.")
    if options.workers:
        raise UsageError("--workers is for a batch. Leave it out, or give a list or folder with --batch.")
    return _run_on_one(options, models)


def run_options(options: argparse.Namespace) -> RunOptions:
    """Return how to run the models, from the words of the command line."""
    from meddl.inference import RunOptions

    return RunOptions(
        device=options.device, precision=options.precision, engine=options.engine, uncertainty=options.uncertainty,
        passes=options.passes, probabilities=options.probabilities, skip_air=not options.no_skip_air,
        difference=options.difference, seed=options.seed, mirror=options.mirror,
    )  # fmt: skip


def _run_on_one(options: argparse.Namespace, models: list[str]) -> int:
    from meddl.batch.inputs import in_channel_order, read_images
    from meddl.cli.evaluate import print_table
    from meddl.cli.infer_report import print_prediction, report_of
    from meddl.inference import prediction_from_dict
    from meddl.inference.files import check_output, write_prediction
    from meddl.inference.task import RUN_INFERENCE
    from meddl.jobs import InlineRunner
    from meddl.models import resolve_model
    from meddl.volume import check_writable, read_segmentation, read_volume, whole_file

    # What can be known to fail fails before the work, not after it.
    how = run_options(options)
    if options.report:
        check_writable(options.report, (".json",))
    bundles = [resolve_model(model) for model in models]
    groups = [list(range(len(models)))] if options.ensemble else [[index] for index in range(len(models))]
    named = named_inputs(options.input)
    sources = [channel_paths(bundles[group[0]], named, in_channel_order) for group in groups]
    outputs = _outputs(options, [bundles[group[0]] for group in groups])
    for group, output, paths in zip(groups, outputs, sources, strict=True):
        check_output(output, bundles[group[0]].task, source=paths[0], series_uid=options.series)
    reference = _reference(options, [bundles[group[0]].task for group in groups])
    known = read_segmentation(reference) if reference and bundles[0].task == "segmentation" else None
    reports, shown = [], []
    with ProgressBar(shown=not options.json) as bar, InlineRunner() as runner:
        for number, (group, output, paths) in enumerate(zip(groups, outputs, sources, strict=True)):

            def tell(fraction: float, text: str, number: int = number) -> None:
                bar((number + fraction) / len(groups), text)

            tell(0.0, "Reading the image")
            params: dict[str, Any] = {
                "model": [models[index] for index in group] if len(group) > 1 else models[group[0]],
                "options": how.to_dict(),
                **read_images(bundles[group[0]], paths, options.series),
            }
            if reference and known is None:
                params["reference"] = read_volume(reference)
            prediction = prediction_from_dict(runner.submit(RUN_INFERENCE, params, on_progress=tell).wait())
            files = write_prediction(
                prediction, output, source=paths[0], series_uid=options.series,
                dicom_kind="LABELMAP" if options.label_map else "BINARY",
            )  # fmt: skip
            agreement = _compared(prediction, known) if known is not None else None
            if agreement is not None and options.qa:
                agreement.write_csv(options.qa)
            reports.append(report_of(prediction, files, agreement))
            shown.append((prediction, files, agreement))
    text = json.dumps(reports[0] if len(reports) == 1 else {"results": reports}, indent=2)
    if options.report:
        with whole_file(options.report) as file:
            file.write(f"{text}\n".encode())
    if options.json:
        print(text)
        return 0
    for prediction, files, agreement in shown:
        print_prediction(prediction)
        if agreement is not None:
            print_table(agreement)
        for written in files:
            print(f"Written: {written}")
    if options.qa:
        print(f"Written: {options.qa}")
    return 0


def _split(model: str) -> list[str]:
    """Return the models in one word; a path that is there may have commas in it."""
    return [model] if Path(model).expanduser().exists() else model.split(",")


def named_inputs(inputs: Sequence[str]) -> list[tuple[str, Path]]:
    """Return the images with their channels' names, "" where none is given."""
    named = []
    for each in inputs:
        name, separator, path = each.partition("=")
        is_name = bool(separator) and name and not set("/\\") & set(name) and not Path(each).exists()
        named.append((name.strip(), Path(path)) if is_name else ("", Path(each)))
    return named


def channel_paths(bundle: ModelBundle, named: Sequence[tuple[str, Path]], order: Any) -> tuple[Path, ...]:
    """Return the images in the order of the model's channels."""
    names = [name for name, _ in named]
    if not any(names):
        return tuple(path for _, path in named)
    if not all(names):
        raise UsageError("Give the name of each image's channel (--input NAME=FILE), or of none.")
    if len({name.lower() for name in names}) < len(names):
        raise UsageError("Two images are given for the same channel.")
    inputs: Mapping[str, Path] = dict(named)
    if len(inputs) == 1:
        known = [channel.name for channel in bundle.channels]
        if len(known) > 1 or names[0].lower() not in (known[0].lower(), "image"):
            listed = ", ".join(known)
            raise UsageError(f"{names[0]!r} alone does not make the model's input. It takes: {listed}.")
    ordered: tuple[Path, ...] = order(bundle, inputs)
    return ordered


def _outputs(options: argparse.Namespace, bundles: Sequence[ModelBundle]) -> list[Path]:
    """Return the file of each model's result."""
    if len(bundles) == 1:
        return [options.output]
    from meddl.batch.naming import safe_name, safe_names
    from meddl.inference.files import SUFFIXES

    if options.output.suffix and not options.output.is_dir():
        raise UsageError("Several models give several files: let --output be a folder, or join them with --ensemble.")
    if not options.output.absolute().parent.is_dir():
        raise UsageError(f"The folder for {options.output.name} does not exist. Make it first.")
    options.output.mkdir(exist_ok=True)
    names = [safe_name(bundle.name) for bundle in bundles]
    distinct = [f"{bundle.name} {index}" if names.count(names[index]) > 1 else bundle.name
                for index, bundle in enumerate(bundles)]  # fmt: skip
    return [
        options.output / f"{name}{options.format or SUFFIXES.get(bundle.task, ('',))[0]}"
        for name, bundle in zip(safe_names(distinct), bundles, strict=True)
    ]


def _reference(options: argparse.Namespace, tasks: Sequence[str]) -> Path | None:
    if options.qa:
        from meddl.volume import check_writable

        check_writable(options.qa, (".csv",))
        if options.reference is None:
            raise UsageError("--qa compares with a reference. Name it with --reference.")
    if options.reference is None:
        return None
    if len(tasks) > 1 or tasks[0] not in ("segmentation", "reconstruction"):
        raise UsageError("A reference can be given for one model for segmentation or reconstruction.")
    path: Path = options.reference
    return path


def _compared(prediction: Prediction, known: Any) -> Any:
    from meddl.evaluation import compare_segmentations
    from meddl.inference import SegmentationPrediction

    assert isinstance(prediction, SegmentationPrediction)
    return compare_segmentations(prediction.labels, known[0], prediction.segments, known[1])
