"""Explanations as files: maps on their grid, facts and tables, the same bytes each time."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core import explanations
from core.phantoms import PLACES
from meddl.errors import UsageError, VolumeError
from meddl.saliency import AnatomyShare, Measure
from meddl.saliency.files import write_explanation
from meddl.volume import read_volume

STRAIGHT = PLACES["straight"]


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("place", ["anisotropic", "oblique", "oblique and left-handed"])
def test_maps_come_back_as_they_were_written(suffix: str, place: str, tmp_path: Path) -> None:
    image = explanations.image(PLACES[place])
    made = explanations.attribution(image)
    write_explanation(explanations.explanation([made]), tmp_path / "out", suffix=suffix)
    back = read_volume(tmp_path / "out" / f"integrated_gradients{suffix}")
    np.testing.assert_array_equal(back.array, made.map.array)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)


def test_all_facts_are_in_the_index(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT, channels=2)
    one = explanations.attribution(image, channels=image.with_array(image.array.astype(np.float32)))
    files = write_explanation(explanations.explanation([one]), tmp_path / "out")
    names = {file.name for file in files}
    assert names == {
        "integrated_gradients.nrrd", "integrated_gradients_channels.nrrd", "answer.json", "anatomy.csv", "measures.csv",
        "explanation.json",
    }  # fmt: skip
    assert files[-1].name == "explanation.json"
    known = json.loads(files[-1].read_text())
    (said,) = known["attributions"]
    assert said["peak"] == {"ras_mm": [5.0, 8.0, 3.0], "value": 2.0}
    assert said["measures"][0]["curve"] == [list(point) for point in explanations.CURVE]
    assert said["anatomy_sentence"].startswith("62 %")
    assert "seconds" not in said["facts"] and "created" not in known["provenance"]
    assert known["files"]["maps"] == {"integrated_gradients": "integrated_gradients.nrrd"}
    header = (tmp_path / "out" / "integrated_gradients.nrrd").read_bytes()[:2000]
    assert b"MedDL.Target:=class lesion" in header and b"MedDL.Model:=Hand-made" in header


def test_tables_are_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    evil = (AnatomyShare("=cmd()", 1, 0, 1, 1), explanations.ANATOMY[-1])
    write_explanation(explanations.explanation([explanations.attribution(image, anatomy=evil)]), tmp_path / "out")
    with (tmp_path / "out" / "anatomy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["structure"] == "'=cmd()" and rows[1]["positive"] == "0.38"


def test_files_are_the_same_each_time_and_those_of_an_earlier_explanation_do_not_stay(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    made = explanations.attribution(image)

    def digest() -> dict[str, str]:
        paths = sorted((tmp_path / "out").iterdir())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    write_explanation(explanations.explanation([made]), tmp_path / "out")
    first = digest()
    later = replace(made, facts={**made.facts, "seconds": 99.0})
    write_explanation(explanations.explanation([later]), tmp_path / "out")
    assert digest() == first
    write_explanation(explanations.explanation([replace(made, anatomy=(), measures=())]), tmp_path / "out")
    assert set(first) - set(digest()) == {"anatomy.csv", "measures.csv"}


def test_an_index_does_not_lead_astray(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    made = explanations.explanation([explanations.attribution(image)])
    write_explanation(made, tmp_path / "out")
    mine = tmp_path / "mine.nrrd"
    mine.write_text("mine")
    index = tmp_path / "out" / "explanation.json"
    known = json.loads(index.read_text())
    known["files"] = {"maps": {"a": "../mine.nrrd", "b": 3, "c": str(mine)}, "answer": "../mine.nrrd"}
    for text in (json.dumps(known), "{", "[]", json.dumps({"files": {"maps": [], "answer": None}})):
        index.write_text(text)
        write_explanation(made, tmp_path / "out")
        assert mine.read_text() == "mine"


def test_what_has_no_figure_is_valid_json_and_an_empty_cell(tmp_path: Path) -> None:
    measures = (Measure("randomization", None, None, "", "It could not be tried."),)
    made = explanations.attribution(explanations.image(STRAIGHT), measures=measures)
    write_explanation(explanations.explanation([made]), tmp_path / "out")
    known = json.loads((tmp_path / "out" / "explanation.json").read_text(), parse_constant=pytest.fail)
    assert known["attributions"][0]["measures"][0]["value"] is None
    with (tmp_path / "out" / "measures.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["value"] == ""


def test_a_failed_writing_leaves_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = explanations.explanation([explanations.attribution(explanations.image(STRAIGHT))])
    write_explanation(made, tmp_path / "out")

    def full(*_: object, **__: object) -> None:
        raise VolumeError("answer.json could not be written: No space left on device. Choose another place.")

    for fails in ("write_prediction", "facts_of"):
        with monkeypatch.context() as broken:
            broken.setattr(f"meddl.saliency.files.{fails}", full)
            with pytest.raises(VolumeError, match="No space"):
                write_explanation(made, tmp_path / "out")
        assert not {"explanation.json", "measures.csv"} & {path.name for path in (tmp_path / "out").iterdir()}
        write_explanation(made, tmp_path / "out")  # what is left is no hindrance
        assert (tmp_path / "out" / "explanation.json").exists()


def test_maps_are_not_written_as_what_cannot_hold_them(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    with pytest.raises(UsageError, match="cannot be written"):
        write_explanation(explanations.explanation([explanations.attribution(image)]), tmp_path / "out", suffix=".png")
    assert not (tmp_path / "out").exists()
