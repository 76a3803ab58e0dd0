"""The fine stage of the brain model from file to file, twice, by MedDL or by MONAI's runner, in a process of its own.

    python fine_stage.py meddl|monai|monai-exact BUNDLE HEAD FOLDER BOX STARTED

BOX is JSON, `[start, end]` in voxels of the image turned to RAS; STARTED is `time.time()` when the caller started this.
The last line it prints is JSON: seconds (wall, CPU) of the first run with all imports and of the second, peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import harness

RESULT = "head_trans.nii.gz"
"""As MONAI's SaveImage names the result for `head.nii.gz`."""


def by_meddl(bundle_folder: Path, head: Path, folder: Path, start: list[int], end: list[int]) -> Callable[[], None]:
    """Predictor's own steps for the second stage of a cascade; the loaded stage is kept, as a worker keeps it."""
    import torch
    from meddl.inference.cascade import Box
    from meddl.inference.restore import RestoreLabels
    from meddl.inference.stage import Stage
    from meddl.models import ModelBundle, TrustStore
    from meddl.volume import read_volume, write_volume

    box = Box(tuple(start), tuple(end))
    stage = Stage(ModelBundle.open(bundle_folder), "inference", torch.device("cpu"), TrustStore())

    def run() -> None:
        volume = read_volume(head)
        prepared = stage.prepare(volume, lambda affine, shape: box)
        post = stage.post
        sink = RestoreLabels(
            prepared.affine,
            volume.grid,
            threshold=post.threshold,
            interpolation=post.interpolation,
            activate=post.activate,
        )
        stage.run(prepared.image, sink, lambda done, total: None, lambda: False)
        labels = post.finish_labels(sink.labels, volume.affine)
        write_volume(volume.with_array(labels[None]), folder / RESULT)

    return run


def by_monai(bundle_folder: Path, head: Path, folder: Path, start: list[int], end: list[int]) -> Callable[[], None]:
    """What `python -m monai.bundle run` calls, which loads the network at each call."""
    import monai.bundle

    configs = [str(bundle_folder / "configs" / "inference.json"), str(harness.BENCHMARKS / "monai_runner.json")]

    def run() -> None:
        monai.bundle.run(
            config_file=configs,
            bundle_root=str(bundle_folder),
            input=str(head),
            output_dir=str(folder),
            roi_start=start,
            roi_end=end,
        )

    return run


def by_monai_exactly(
    bundle_folder: Path, head: Path, folder: Path, start: list[int], end: list[int]
) -> Callable[[], None]:
    """The same with the nearest neighbor where the bundle asks for it.

    MONAI's Invertd undoes a "nearest-exact" resize by torch's "nearest", which rounds down: off by half a voxel.
    """
    import monai.transforms.post.dictionary as post

    convert = post.convert_applied_interp_mode
    post.convert_applied_interp_mode = lambda trans_info, mode, align_corners: convert(
        trans_info, "nearest-exact", align_corners
    )
    return by_monai(bundle_folder, head, folder, start, end)


def main(side: str, bundle: str, head: str, folder: str, box: str, started: str) -> None:
    prepare = {"meddl": by_meddl, "monai": by_monai, "monai-exact": by_monai_exactly}[side]
    run = prepare(Path(bundle), Path(head), Path(folder), *json.loads(box))
    run()
    first = (time.time() - float(started), time.process_time())
    second = harness.timed(run)
    print(json.dumps({"first": first, "second": (second.wall, second.cpu), "peak": harness.peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
