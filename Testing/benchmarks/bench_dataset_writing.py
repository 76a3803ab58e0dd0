"""Writing a case of a dataset, compressed on all cores, against SimpleITK's serial writing of the same voxels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import numpy as np
import SimpleITK as sitk
from meddl.volume import Volume, deflate, read_volume, resample_to, to_sitk, write_volume
from meddl.volume.geometry import Grid

SITK = "SimpleITK"
OURS, ALONE = "meddl.volume", "meddl.volume, one thread"
TURNED, SITK_TURNED = "meddl.volume, last axis fastest", "SimpleITK, last axis fastest"
"""As arrays come out of networks; SimpleITK has to make an image of it before."""
SUFFIXES = (".nii.gz", ".nrrd")


def measure(repeats: int) -> list[harness.Table]:
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for title, volume in _images().items():
            for suffix in SUFFIXES:
                tables.append(_compared(title, volume, suffix, Path(scratch), repeats))
    return tables


def _compared(title: str, volume: Volume, suffix: str, folder: Path, repeats: int) -> harness.Table:
    image = to_sitk(volume)  # made before: only writing is measured
    turned = volume.with_array(np.ascontiguousarray(volume.array))
    theirs, ours = folder / f"theirs{suffix}", folder / f"ours{suffix}"

    def alone() -> None:
        with _one_thread():
            write_volume(volume, ours)

    cases: dict[str, Any] = {
        SITK: lambda: sitk.WriteImage(image, str(theirs), True),
        OURS: lambda: write_volume(volume, ours),
        ALONE: alone,
        TURNED: lambda: write_volume(turned, ours),
        SITK_TURNED: lambda: sitk.WriteImage(to_sitk(turned), str(theirs), True),
    }
    samples = harness.interleaved(
        {name: lambda work=work: harness.timed(work) for name, work in cases.items()}, repeats
    )
    times = [base.wall / each.wall for base, each in zip(samples[SITK], samples[OURS], strict=True)]
    sizes = theirs.stat().st_size, ours.stat().st_size
    notes = [
        f"SimpleITK's wall time is {harness.median(times):.1f} times ours ({min(times):.1f} to {max(times):.1f})",
        f"file: {sizes[1] / 1e6:.2f} MB, {sizes[1] / sizes[0]:.2f} times SimpleITK's {sizes[0] / 1e6:.2f} MB",
    ]
    shape, kind = "x".join(map(str, volume.shape)), volume.array.dtype
    return harness.Table(f"{title}, {shape} {kind}, {suffix}", harness.COMPARED, harness.compared(samples, SITK), notes)


def _images() -> dict[str, Volume]:
    import realdata

    ct = read_volume(realdata.pyradiomics()["lung1_image"])
    small = read_volume(realdata.tptbox()["sub-ct_label-22_ct"])
    folder = realdata.totalsegmentator()
    labels = read_volume(folder / "example_seg_fast_force_split.nii.gz")
    # As fine as the CT it was made from may have been: label maps compress to nothing, and that is what takes time.
    fine = Grid(tuple(4 * n for n in labels.shape), labels.affine @ np.diag([0.25, 0.25, 0.25, 1]))  # type: ignore[arg-type]
    labels = labels.with_array(labels.array.astype(np.uint8))
    return {
        "CT of the lungs": ct,
        "head MR": read_volume(harness.head()),
        "labels of 61 structures": resample_to(labels, fine, interpolation="nearest"),
        "vertebra CT (small: one block, no thread)": small,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    before, deflate._threads = deflate._threads, lambda: 1
    try:
        yield
    finally:
        deflate._threads = before


if __name__ == "__main__":
    harness.main(measure, repeats=5)
