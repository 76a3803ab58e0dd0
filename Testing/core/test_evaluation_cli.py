"""``meddl evaluate`` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from meddl.cli import main
from meddl.volume import Segment, Volume, write_segmentation, write_volume

LIVER, SPLEEN = Segment(1, "Liver", (0.8, 0.4, 0.3)), Segment(2, "Spleen", (0.6, 0.2, 0.2))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    array = np.zeros((1, 20, 20, 20), np.uint8)
    array[0, 2:12, 4:14, 5:15] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    write_segmentation(Volume(array, affine), [LIVER, SPLEEN], tmp_path / "ours.seg.nrrd")
    moved = Segment(5, "liver", (0, 0, 0))
    write_segmentation(Volume(np.roll(array, 1, axis=1) * 5, affine), [moved], tmp_path / "theirs.seg.nrrd")
    return tmp_path / "ours.seg.nrrd", tmp_path / "theirs.seg.nrrd"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_is_printed_and_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    table = tmp_path / "table.csv"
    code, out, err = run(
        capsys, "--prediction", files[0], "--reference", files[1], "--csv", table, "--tolerance-mm", 2
    )
    assert (code, err) == (0, "")
    liver = next(line for line in out.splitlines() if line.startswith("Liver")).split()
    assert liver == ["Liver", "0.900", "2.00", liver[3], "1.000", "8.00", "8.00", "+0.00", "(+0.0", "%)"]
    assert "Note: Spleen: The reference has no structure of this name." in out
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["name"] for row in rows] == ["Liver", "Spleen"]
    assert float(rows[0]["dice"]) == pytest.approx(0.9)


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str], files: tuple[Path, Path]) -> None:
    code, out, _ = run(capsys, "--prediction", files[0], "--reference", files[1], "--json")
    facts = json.loads(out)
    assert code == 0 and facts["tolerance_mm"] == 1
    assert facts["structures"][0]["hd95_mm"] == 2 and facts["structures"][1]["dice"] is None


@pytest.mark.parametrize(("tolerance", "name", "code"), [("-1", "x.csv", 2), ("1", "x.txt", 2), ("1", "no/x.csv", 1)])
def test_what_cannot_be_done_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: tuple[Path, Path], tolerance: str, name: str, code: int
) -> None:
    got, out, err = run(
        capsys, "--prediction", files[0], "--reference", files[1], f"--tolerance-mm={tolerance}", "--csv",
        tmp_path / name,
    )  # fmt: skip
    assert (got, out) == (code, "") and err.startswith("meddl: ") and err.count("\n") == 1


def test_an_image_is_no_reference(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: tuple[Path, Path]
) -> None:
    write_volume(Volume(np.full((1, 20, 20, 20), -1000, np.int16), np.eye(4)), tmp_path / "ct.nrrd")
    code, _, err = run(capsys, "--prediction", files[0], "--reference", tmp_path / "ct.nrrd")
    assert code == 1 and "no label map" in err
