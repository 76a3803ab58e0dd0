"""Judges a generator on real heads, for Docs/Synthesis.md: `python Testing/docs/synthesis_judging.py REPORT [MODEL]`.

The dataset is the one of the demo generators: three heads to learn from, and two other people (ITK's subject and
another tumor patient) to judge by. Without a model (a folder that `meddl synth train` has written, or an id) one is
trained on it as the demo is. What `meddl synth evaluate` says of it is written into the folder REPORT, whatever it
says. Some ten minutes of processor time, and as many for the training.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING)]

from demo_models import head_flow, head_tissues  # noqa: E402
from meddl.datasets import Case, ExportOptions, SegmentationLabel, SplitOptions, export_dataset  # noqa: E402
from meddl.models import ModelBundle, resolve_model  # noqa: E402
from meddl.synthesis.judgement import JudgeOptions, judge  # noqa: E402
from meddl.synthesis.judgement_report import write_report  # noqa: E402
from meddl.synthesis.synthesizer import Synthesizer  # noqa: E402
from meddl.synthesis.training import train  # noqa: E402

OPTIONS = JudgeOptions(count=300, seeds=5, segmenter_steps=200, device="cpu")


def main() -> None:
    report = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        root = export_heads(Path(folder))
        bundle = resolve_model(sys.argv[2]) if len(sys.argv) > 2 else trained(root, Path(folder) / "model")
        judgement = judge(root, Synthesizer(bundle, device="cpu"), OPTIONS, log=tell)
        for path in write_report(judgement, report):
            tell(str(path))


def export_heads(folder: Path) -> Path:
    """Export the heads as a dataset; whoever is held out is in its test part."""
    heads = {name: (head, "train") for name, head in head_tissues.training_heads().items()}
    heads |= {name: (head, "test") for name, head in head_tissues.judging_heads().items()}
    cases = [
        Case(name, {"T1": image}, SegmentationLabel(labels, head_tissues.SEGMENTS), name, split=split)
        for name, ((image, labels), split) in heads.items()
    ]
    return export_dataset(cases, folder / "heads", ExportOptions("monai", "heads", split=SplitOptions(folds=0))).root


def trained(root: Path, folder: Path) -> ModelBundle:
    """Train the demo's generator on a dataset."""
    return ModelBundle.open(train(root, head_flow.CONFIG, folder, name="heads", log=tell).bundle)


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
