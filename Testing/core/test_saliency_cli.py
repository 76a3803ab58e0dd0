"""``meddl explain`` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from core import known_bundles
from core.known_bundles import TO_RAS, oblique, voxelwise
from meddl.cli import main
from meddl.saliency.faithfulness.known import ABOUT
from meddl.volume import Segment, Volume, read_volume, write_segmentation, write_volume


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in ("explain", *arguments, "--device", "cpu")])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def segmenter(folder: Path, channels: int = 1) -> None:
    """A network that finds "bright" where the first channel is large, by single voxels."""
    weights = [[-4.0] + [0.0] * (channels - 1), [4.0] + [1.0] * (channels - 1)]
    layer = voxelwise(channels, weights, [2.0, -2.0])
    names = ["T1", "T2"][:channels] if channels > 1 else ["image"]
    known_bundles.write(
        folder, "segmentation", **layer, preprocessing=[TO_RAS], classes=["background", "Bright"], channels=names,
        postprocessing=[{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
    )  # fmt: skip


def blob(path: Path, at: tuple[int, int, int] = (8, 12, 7)) -> np.ndarray:
    """Write an image that is brightest at one voxel, and return where that is (RAS mm)."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (20, 24, 18)], indexing="ij"), axis=-1)
    array = 2 * np.exp(-((grid - at) ** 2).sum(axis=-1) / 8.0)
    write_volume(Volume(array[None].astype(np.float32), oblique()), path)
    return np.asarray(oblique()[:3, :3] @ at + oblique()[:3, 3])


def known(folder: str = "why") -> dict:
    return json.loads((Path(folder) / "explanation.json").read_text())


COMMON = ("--model", "m", "--input", "x.nrrd", "--output", "why")


def test_map_tables_and_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    where = blob(tmp_path / "x.nrrd")
    labels = np.zeros((1, 20, 24, 18), np.uint8)
    labels[0, 5:12, 9:16, 4:11] = 2
    write_segmentation(Volume(labels, oblique()), (Segment(2, "lesion", (1, 0, 0)),), tmp_path / "s.seg.nrrd")
    code, out, err = run(
        capsys, *COMMON, "--target", "bright", "--method", "input_x_gradient,integrated_gradients", "--segments",
        "s.seg.nrrd", "--truth", "s.seg.nrrd", "--report", "--steps", "4",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "of the evidence lies in lesion" in out and "Pointing game: 1" in out and "Agreement of" in out
    names = {"input_x_gradient.nrrd", "integrated_gradients.nrrd", "answer.seg.nrrd", "anatomy.csv", "measures.csv",
             "explanation.json", "report.html", "report.pdf"}  # fmt: skip
    assert {path.name for path in Path("why").iterdir()} == names
    assert all(f"Written: {Path('why') / name}" in out for name in names)
    image, made = read_volume(Path("x.nrrd")), read_volume(Path("why/input_x_gradient.nrrd"))
    assert made.grid.same_as(image.grid)
    for each in known()["attributions"]:
        assert "Bright" in each["target"]
        np.testing.assert_allclose(each["peak"]["ras_mm"], where, atol=1e-3)
    with Path("why/anatomy.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["structure"] == "lesion" and float(row["positive"]) > 0.95
    assert b"<!DOCTYPE html>" in Path("why/report.html").read_bytes()
    assert Path("why/report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_same_command_gives_the_same_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    found = []
    for _ in range(2):
        assert run(capsys, *COMMON, "--method", "smoothgrad", "--samples", "2")[0] == 0
        found.append({path.name: path.read_bytes() for path in Path("why").iterdir()})
    assert found[0] == found[1]


@pytest.mark.parametrize("joined", [True, False])
def test_a_point_may_begin_with_a_minus(joined: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -50, -40, -3
    array = np.ones((1, 12, 10, 8), np.float32)
    array[0, :6] = 2  # not all the same
    write_volume(Volume(array, affine), tmp_path / "x.nrrd")
    point = "-47,-35.0,1"
    words = [f"--point={point}"] if joined else ["--point", point]
    code, _, err = run(capsys, *COMMON, *words, "--method", "saliency")
    assert (code, err) == (0, "")
    assert known()["attributions"][0]["peak"]["ras_mm"] == [-47, -35, 1]
    array = read_volume(Path("why/saliency.nrrd")).array
    assert np.count_nonzero(array) == 1


def test_a_region_of_several_voxels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    region = np.zeros((1, 20, 24, 18), np.uint8)
    region[0, 2:5, 3:7, 4:6] = 1
    write_volume(Volume(region, oblique()), tmp_path / "r.nii.gz")
    code, _, err = run(capsys, *COMMON, "--region", "r.nii.gz", "--method", "saliency", "--format", ".nii.gz")
    assert (code, err) == (0, "")
    made = read_volume(Path("why/saliency.nii.gz")).array
    np.testing.assert_array_equal(made != 0, region != 0)


def test_several_channels_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m", channels=2)
    for name in ("a.nrrd", "b.nrrd"):
        blob(tmp_path / name)
    code, out, err = run(
        capsys, "--model", "m", "--input", "T2=b.nrrd", "--input", "T1=a.nrrd", "--method", "saliency", "--output",
        "why", "--report", "html",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "By channel: 80%, 20%" in out
    assert read_volume(Path("why/saliency_channels.nrrd"), multichannel=True).channels == 2
    page = Path("why/report.html").read_text()
    assert "T1" in page and "80.0%" in page and not Path("why/report.pdf").exists()


def test_checks_by_name_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    code, out, _ = run(capsys, *COMMON, "--method", "saliency", "--faithfulness", "deletion,insertion", "--json")
    assert code == 0
    said = json.loads(out)
    assert [each["name"] for each in said["attributions"][0]["measures"]] == ["deletion", "insertion"]
    assert "times_s" in said["provenance"] and "seconds" in said["attributions"][0]["facts"]
    assert said["files"][-1].endswith("explanation.json")
    with Path("why/measures.csv").open(newline="") as file:
        assert [row["measure"] for row in csv.DictReader(file)] == ["deletion", "insertion"]


def test_all_checks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    assert run(capsys, *COMMON, "--method", "input_x_gradient", "--faithfulness")[0] == 0
    names = [each["name"] for each in known()["attributions"][0]["measures"]]
    assert names == [name for name, about in ABOUT.items() if not about.needs_reference]


def test_the_baseline_may_be_another_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    blob(tmp_path / "healthy.nrrd", (3, 3, 3))
    words = ("--method", "integrated_gradients", "--steps", "3", "--reference", "healthy.nrrd")
    assert run(capsys, *COMMON, *words)[0] == 0
    assert known()["attributions"][0]["options"]["baseline"] == "reference"
    code, _, err = run(capsys, *COMMON, *words, "--baseline", "zero")
    assert code == 2 and "would not be used" in err


def test_methods_are_listed_with_what_hinders_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    code, out, _ = run(capsys, "--model", "m", "--list-methods")
    assert code == 0 and "integrated_gradients" in out and "Sundararajan" in out
    code, out, _ = run(capsys, "--model", "m", "--list-methods", "--json")
    methods = json.loads(out)["methods"]
    assert code == 0 and {"id", "title", "source", "signed", "unfit"} <= set(methods[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", "why", "--input", "x.nrrd"), "Which method"),
        (("--output", "why", "--input", "x.nrrd", "--method", "magic"), "magic"),
        (("--output", "why", "--method", "saliency"), "Which image"),
        (("--input", "x.nrrd", "--method", "saliency"), "Where to"),
        ((*COMMON[2:], "--method", "saliency", "--point", "1,2"), "is no point"),
        ((*COMMON[2:], "--method", "saliency", "--point", "nan,2,3"), "no point"),
        ((*COMMON[2:], "--method", "saliency", "--point", "9000,2,3"), "outside"),
        ((*COMMON[2:], "--method", "saliency", "--target", "Liver"), "Liver"),
        ((*COMMON[2:], "--method", "saliency", "--faithfulness", "faith"), "no check 'faith'"),
        ((*COMMON[2:], "--method", "saliency", "--faithfulness", "overlap"), "--truth"),
        ((*COMMON[2:], "--method", "saliency", "--report", "docx"), "docx"),
        ((*COMMON[2:], "--method", "saliency", "--format", ".png"), "cannot be written"),
        ((*COMMON[2:], "--method", "saliency", "--baseline", "reference"), "--reference"),
        ((*COMMON[2:], "--method", "saliency", "--baseline", "black"), "black"),
        ((*COMMON[2:], "--method", "saliency", "--steps", "0"), "steps"),
        (("--input", "x.nrrd", "--method", "saliency", "--output", "x.nrrd"), "is a file"),
        (("--input", "x.nrrd", "--method", "saliency", "--output", "no/where"), "does not exist"),
        (("--input", "missing.nrrd", "--method", "saliency", "--output", "why"), "missing.nrrd"),
        (("--input", "x.nrrd", "--method", "saliency", "--output", ""), "Where to"),
        (("--input", "x.nrrd", "--method", "saliency", "--output", "a\0b"), "no folder of that name"),
        (("--input", "x.nrrd", "--method", "saliency", "--output", "a" * 300), "no folder of that name"),
        ((*COMMON[2:], "--method", "smoothgrad", "--seed", "-1"), "seed"),
        ((*COMMON[2:], "--method", "smoothgrad", "--seed", "9" * 30), "seed"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    code, out, err = run(capsys, "--model", "m", *words)
    assert code in (1, 2) and out == ""
    assert err.startswith("meddl: ") and said in err and len(err.strip().splitlines()) == 1
    assert not Path("why").exists()


def test_all_methods_means_all_that_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")  # of one layer, which is the answer itself
    blob(tmp_path / "x.nrrd")
    code, out, err = run(capsys, *COMMON, "--method", "all", "--steps", "2", "--samples", "1")
    assert (code, err) == (0, "")
    said = known()
    made, left = {each["method"] for each in said["attributions"]}, set(said["left_out"])
    # Grad-CAM finds no layer, and the network is no transformer: what is not offered is told, too.
    assert "saliency" in made and left >= {"gradcam", "attention_rollout"} and not made & left
    assert all(f"gave no map: {why}" in out for why in said["left_out"].values())
    named = run(capsys, *COMMON, "--method", ",".join(["saliency", *left]))
    assert named[0] == 2 and named[1] == ""  # what was named has to be made


def test_what_is_no_number_in_a_mask_is_not_in_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    write_volume(Volume(np.full((1, 20, 24, 18), np.nan, np.float32), oblique()), tmp_path / "r.nrrd")
    code, _, err = run(capsys, *COMMON, "--method", "saliency", "--region", "r.nrrd")
    assert code == 2 and "region is empty" in err and not Path("why").exists()


def test_other_peoples_files_are_not_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    for name in ("measures.csv", "report.html"):
        Path("why").mkdir()
        Path("why", name).write_text("mine")
        code, _, err = run(capsys, *COMMON, "--method", "saliency", "--report", "html")
        assert code == 2 and name in err and "Remove it, or choose another folder" in err
        assert [(path.name, path.read_text()) for path in Path("why").iterdir()] == [(name, "mine")]
        Path("why", name).unlink()
        Path("why").rmdir()


def test_nothing_of_an_earlier_explanation_stays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m", channels=2)
    blob(tmp_path / "x.nrrd")
    both = ("--model", "m", "--input", "T1=x.nrrd", "--input", "T2=x.nrrd", "--output", "why")
    assert run(capsys, *both, "--method", "saliency,input_x_gradient", "--report")[0] == 0
    Path("why", "notes.txt").write_text("mine")
    assert run(capsys, *both, "--method", "saliency", "--format", ".nii.gz")[0] == 0
    assert {path.name for path in Path("why").iterdir()} == {
        "saliency.nii.gz", "saliency_channels.nii.gz", "answer.seg.nrrd", "explanation.json", "notes.txt",
    }  # fmt: skip


def test_folders_that_cannot_be_written_to_are_found_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter(tmp_path / "m")
    blob(tmp_path / "x.nrrd")
    Path("nowhere").symlink_to("/no/such/place")
    code, _, err = run(capsys, *COMMON[:-1], "nowhere", "--method", "saliency")
    assert code == 2 and "is a file" in err
    monkeypatch.setattr("os.access", lambda *_: False)
    code, _, err = run(capsys, *COMMON, "--method", "saliency")
    assert code == 2 and "cannot be written to" in err and not Path("why").exists()


def test_a_model_that_cannot_be_explained_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    segmenter(tmp_path / "m")
    metadata = json.loads((tmp_path / "m/configs/metadata.json").read_text())
    metadata["task"] = metadata["meddl"]["task"] = "poetry"
    (tmp_path / "m/configs/metadata.json").write_text(json.dumps(metadata))
    blob(tmp_path / "x.nrrd")
    code, _, err = run(capsys, *COMMON, "--method", "saliency")
    assert code == 1 and err.startswith("meddl: ") and len(err.strip().splitlines()) == 1
