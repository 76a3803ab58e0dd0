"""``meddl infer`` as a user types it: every task, channels, several models, comparison, batches."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from core import dicom_writer, known_bundles, tiny_bundle
from core.known_bundles import TO_RAS, oblique, voxelwise
from meddl.cli import main
from meddl.volume import Volume, read_segmentation, read_volume, write_volume
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in ("infer", *arguments, "--device", "cpu")])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def table(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def blob(path: Path, at: tuple[int, int, int] = (8, 12, 7), value: float = 1.0) -> np.ndarray:
    """Write an image that is brightest at one voxel, and return where that is (RAS mm)."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (20, 24, 18)], indexing="ij"), axis=-1)
    array = value * np.exp(-((grid - at) ** 2).sum(axis=-1) / 8.0)
    write_volume(Volume(array[None].astype(np.float32), oblique()), path)
    return oblique()[:3, :3] @ at + oblique()[:3, 3]


def noise(path: Path, seed: int = 0) -> Path:
    array = np.random.default_rng(seed).integers(-500, 900, (1, 20, 18, 12)).astype(np.int16)
    write_volume(Volume(array, np.diag([-1.5, -1.5, 2.0, 1.0])), path)
    return path


def point_model(folder: Path) -> None:
    known_bundles.write(folder, "landmarks", **voxelwise(1, [[10.0]], [-5.0]), preprocessing=[TO_RAS], classes=["top"])


def box_model(folder: Path) -> None:
    layer = voxelwise(1, [[12.0], *[[0.0]] * 6], [-6.0, 0, 0, 0, *np.log((14.0, 9.0, 11.0))])
    known_bundles.write(
        folder, "detection", **layer, preprocessing=[TO_RAS], classes=["bright"], outputs=7,
        meddl={"detection": {"kind": "center_heatmap"}},
    )  # fmt: skip


def picture_model(folder: Path) -> None:
    network = {"_target_": "DenseNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "init_features": 4,
               "growth_rate": 4, "block_config": [2]}  # fmt: skip
    known_bundles.write(folder, "classification", network, classes=["front", "side"], flat=True,
                        postprocessing=[{"_target_": "Activationsd", "keys": "pred", "softmax": True}])  # fmt: skip
    from monai.networks.nets import DenseNet
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = DenseNet(**{key: value for key, value in network.items() if key != "_target_"}).state_dict()
    save_file(weights, folder / "models" / "model.safetensors")


def picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 40), dtype=np.uint8)).save(path)


def test_landmarks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    point_model(tmp_path / "m")
    where = blob(tmp_path / "x.nrrd")
    code, out, err = run(capsys, "--model", "m", "--input", "x.nrrd", "--output", "out.mrk.json")
    assert (code, err) == (0, "") and "top: (" in out and "mm RAS" in out
    point = json.loads(Path("out.mrk.json").read_text())["markups"][0]["controlPoints"][0]
    np.testing.assert_allclose(np.array(point["position"]) * (-1, -1, 1), where, atol=0.3)


def test_detection(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    box_model(tmp_path / "m")
    where = blob(tmp_path / "x.nrrd")
    code, out, _ = run(capsys, "--model", "m", "--input", "x.nrrd", "--output", "out.csv")
    assert code == 0 and "bright: score" in out
    row = table("out.csv")[0]
    np.testing.assert_allclose([float(row[f"center {way} (mm)"]) for way in "RAS"], where, atol=0.5)


def test_classification_of_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture_model(tmp_path / "m")
    picture(tmp_path / "x.png")
    code, out, _ = run(capsys, "--model", "m", "--input", "x.png", "--output", "out.json", "--report", "r.json")
    assert code == 0 and "not calibrated" in out
    answer, report = json.loads(Path("out.json").read_text()), json.loads(Path("r.json").read_text())
    assert answer["classes"] == report["classes"] and report["files"] == ["out.json"]
    assert sum(each["probability"] for each in answer["classes"]) == pytest.approx(1, abs=1e-4)


def adder(folder: Path) -> None:
    known_bundles.write(
        folder, "reconstruction", **voxelwise(2, [[1.0, 10.0]], [0.0]), channels=["T1", "T2"],
        meddl={"reconstruction": {"kind": "synthesis", "units": "network"}},
    )  # fmt: skip


@pytest.mark.parametrize("words", [("one.nrrd", "two.nrrd"), ("T2=two.nrrd", "T1=one.nrrd")])
def test_channels_in_order_or_by_name_and_a_reference(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    adder(tmp_path / "m")
    first, second = (
        read_volume(noise(tmp_path / name, seed)).array for seed, name in enumerate(("one.nrrd", "two.nrrd"))
    )
    expected = read_volume("one.nrrd").with_array((first + 10.0 * second).astype(np.float32))
    write_volume(expected, "reference.nrrd")
    code, out, _ = run(
        capsys, "--model", "m", "--input", words[0], "--input", words[1], "--output", "out.nii.gz",
        "--reference", "reference.nrrd", "--difference",
    )  # fmt: skip
    assert code == 0 and "SSIM: 1.0000" in out and "out_difference.nii.gz" in out
    np.testing.assert_allclose(read_volume("out.nii.gz").array, expected.array, atol=0.5)


def test_a_segmentation_against_a_reference(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "m")
    noise(tmp_path / "x.nrrd")
    assert run(capsys, "--model", "m", "--input", "x.nrrd", "--output", "a.seg.nrrd")[0] == 0
    code, out, _ = run(
        capsys, "--model", "m", "--input", "x.nrrd", "--output", "b.seg.nrrd", "--reference", "a.seg.nrrd",
        "--qa", "qa.csv", "--uncertainty", "flips", "--passes", "2", "--probabilities",
    )  # fmt: skip
    assert code == 0 and "Dice" in out and "Written: qa.csv" in out
    assert [row["name"] for row in table("qa.csv")] == ["first blob", "second blob"]
    assert Path("b_entropy.nrrd").is_file() and read_volume("b_probabilities.nrrd", multichannel=True).channels == 2
    answer = json.loads(run(capsys, "--model", "m", "--input", "x.nrrd", "--output", "c.nrrd", "--json",
                            "--reference", "a.seg.nrrd")[1])  # fmt: skip
    assert answer["agreement"]["structures"][0]["dice"] == 1


def test_several_models_and_an_ensemble_of_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "m")
    tiny_bundle.write(tmp_path / "n", metadata={"name": "Others"})
    noise(tmp_path / "x.nrrd")
    assert run(capsys, "--model", "m,n", "--input", "x.nrrd", "--output", "both")[0] == 0
    assert sorted(path.name for path in Path("both").iterdir()) == ["Others.seg.nrrd", "Two blobs.seg.nrrd"]
    code, out, _ = run(
        capsys, "--model", "m", "--model", "n", "--ensemble", "--input", "x.nrrd", "--output", "e.seg.nrrd"
    )
    assert code == 0 and "Two blobs + Others" in out
    np.testing.assert_array_equal(
        read_segmentation("e.seg.nrrd")[0].array, read_segmentation("both/Others.seg.nrrd")[0].array
    )


@pytest.mark.parametrize("more", [(), ("--label-map",)])
def test_dicom_in_and_out(more: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "m")
    array = np.random.default_rng(0).integers(-500, 900, (1, 20, 18, 9)).astype(np.int16)
    dicom_writer.write_series(tmp_path / "in", Volume(array, oblique()))
    code, _, err = run(capsys, "--model", "m", "--input", "in", "--output", "out.dcm", *more)
    assert (code, err) == (0, "")
    run(capsys, "--model", "m", "--input", "in", "--output", "out.seg.nrrd")
    seg = pydicom.dcmread("out.dcm")
    assert seg.PatientName == "Doe^Jane" and seg.SegmentationType == ("LABELMAP" if more else "BINARY")
    labels, _ = read_segmentation("out.dcm")
    expected, _ = read_segmentation("out.seg.nrrd")
    assert np.bincount(labels.array.ravel())[1:].tolist() == np.bincount(expected.array.ravel())[1:].tolist()


class TestBatch:
    def test_a_folder(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        tiny_bundle.write(tmp_path / "m")
        (tmp_path / "in").mkdir()
        for number in range(2):
            noise(tmp_path / "in" / f"p{number}.nii.gz", number)
        (tmp_path / "in" / "broken.nrrd").write_bytes(b"x")
        words = ("--model", "m", "--batch", "in", "--output", "out", "--format", "nii.gz")
        code, out, err = run(capsys, *words)
        assert (code, err) == (1, "")
        assert "3 cases: 2 done, 1 failed" in out and "Failed: broken: broken.nrrd" in out
        (tmp_path / "in" / "broken.nrrd").unlink()
        code, out, _ = run(capsys, *words, "--json")
        answer = json.loads(out)
        assert code == 0 and answer["counts"] == {"skipped": 2}
        assert Path(answer["summary"]).is_file() and Path("out/Two blobs/p1.nii.gz").is_file()

    def test_every_task_in_one_list(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        for name, make in (("points", point_model), ("boxes", box_model), ("views", picture_model), ("sum", adder)):
            make(tmp_path / name)
        tiny_bundle.write(tmp_path / "blobs")
        blob(tmp_path / "blob.nrrd")
        picture(tmp_path / "view.png")
        noise(tmp_path / "noise.nrrd")
        Path("list.csv").write_text(
            "case,model,image,T1,T2\n1,points,blob.nrrd,,\n2,boxes,blob.nrrd,,\n3,views,view.png,,\n"
            "4,blobs,noise.nrrd,,\n5,sum,,noise.nrrd,noise.nrrd\n6,points;boxes,blob.nrrd,,\n"
        )
        code, out, _ = run(capsys, "--batch", "list.csv", "--output", "out")
        assert code == 0 and "7 cases: 7 done" in out
        rows = {(row["case"], row["model"]): row for row in table("out/summary.csv")}
        assert {row["files"] for row in rows.values()} == {
            "1.mrk.json", "2.mrk.json", "3.json", "4.seg.nrrd", "5.nrrd", "6.mrk.json",
        }  # fmt: skip
        assert float(rows["1", "Known landmarks"]["top R (mm)"]) and rows["2", "Known detection"]["boxes"] == "1"
        assert rows["3", "Known classification"]["class"] in ("front", "side")
        assert rows["4", "Two blobs"]["first blob (ml)"]

    def test_channels_by_the_names_of_files(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        adder(tmp_path / "m")
        (tmp_path / "in").mkdir()
        for seed, name in enumerate(("a_T1", "a_T2", "b_T1")):
            noise(tmp_path / "in" / f"{name}.nrrd", seed)
        code, out, _ = run(capsys, "--model", "m", "--batch", "in", "--output", "out")
        assert code == 1 and "1 done, 1 failed" in out
        made = read_volume(tmp_path / "out" / "Known reconstruction" / "a.nrrd").array
        np.testing.assert_allclose(
            made, read_volume("in/a_T1.nrrd").array + 10.0 * read_volume("in/a_T2.nrrd").array, atol=0.5
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--input", "x.nrrd", "--output", "o.nrrd"), "Which model"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.dcm"), "no DICOM"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.json"), "Let it end in .seg.nrrd"),
        (("--model", "m,m", "--input", "x.nrrd", "--output", "o.nrrd"), "--ensemble"),
        (("--model", "m", "--input", "A=x.nrrd", "--output", "o.nrrd"), "'A' alone"),
        (("--model", "m", "--input", "A=x.nrrd", "--input", "x.nrrd", "--output", "o.nrrd"), "or of none"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.nrrd", "--engine", "abacus"), "no engine"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.nrrd", "--passes", "1"), "2 to 100"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.nrrd", "--qa", "q.csv"), "--reference"),
        (("--model", "m", "--input", "x.nrrd", "--output", "o.nrrd", "--workers", "tcp://h:1"), "for a batch"),
        (("--model", "m", "--batch", "x.nrrd", "--output", "o", "--report", "r.json"), "single image"),
        (("--model", "m", "--batch", "nowhere", "--output", "o"), "no list or folder"),
        (("--model", "m", "--batch", "in", "--output", "o", "--tls-ca", "x"), "belong to --workers"),
        (("--model", "m", "--batch", "in", "--output", "o", "--format", "xyz"), "Let it end in"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_sentence_before_the_work(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiny_bundle.write(tmp_path / "m")
    noise(tmp_path / "x.nrrd")
    (tmp_path / "in").mkdir()
    noise(tmp_path / "in" / "x.nrrd")
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and says in err and len(err.strip().splitlines()) == 1
