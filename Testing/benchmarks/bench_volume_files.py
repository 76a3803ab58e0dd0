"""Reading and writing a real head as nrrd and nii.gz against SimpleITK."""

from __future__ import annotations

import tempfile
from pathlib import Path

import harness
import SimpleITK as sitk
from meddl.volume import read_volume, write_volume

SITK = "SimpleITK"


def measure(repeats: int) -> list[harness.Table]:
    head = harness.head()
    volume, image = read_volume(head), sitk.ReadImage(str(head))
    shape, kind = "x".join(map(str, volume.shape)), volume.array.dtype
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for suffix in (".nrrd", ".nii.gz"):
            ours, theirs = Path(scratch) / f"ours{suffix}", Path(scratch) / f"theirs{suffix}"
            writing = harness.interleaved(
                {
                    SITK: lambda path=theirs: harness.timed(lambda: sitk.WriteImage(image, str(path), True)),
                    "meddl.volume": lambda path=ours: harness.timed(lambda: write_volume(volume, path)),
                },
                repeats,
            )
            # Both read the same file, the one that SimpleITK wrote.
            reading = harness.interleaved(
                {
                    SITK: lambda path=theirs: harness.timed(lambda: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))),
                    "meddl.volume": lambda path=theirs: harness.timed(lambda: read_volume(path)),
                },
                repeats,
            )
            rows = [(f"{action}: {row[0]}", *row[1:])
                    for action, samples in (("write", writing), ("read", reading))
                    for row in harness.compared(samples, SITK)]  # fmt: skip
            size = (
                f"file size: meddl {ours.stat().st_size / 1e6:.2f} MB, SimpleITK {theirs.stat().st_size / 1e6:.2f} MB"
            )
            notes = [size, "meddl.volume waits until the file is on the disk (fsync), SimpleITK does not"]
            tables.append(harness.Table(f"{suffix}, {shape} {kind}", harness.COMPARED, rows, notes))
    return tables


if __name__ == "__main__":
    harness.main(measure, repeats=5)
