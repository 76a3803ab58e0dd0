"""Real cases of several hospitals, by the command line into every format, read back by those the format is for."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from core import nnunet_environment, training_cases
from meddl.cli import main
from meddl.datasets import collect_cases, verify_dataset
from meddl.datasets.manifest import MANIFEST, read_manifest
from meddl.volume import Volume, read_segmentation, read_volume, write_volume

_NAMES = (
    "Huber",
    "Gruber",
    "Wolf",
    "Meier",
    "Novak",
    "Maier",
    "Fox",
    "Lee",
    "Roth",
    "Blau",
    "Basel",
    "Munich",
    "Dr Who",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    return training_cases.write_list(tmp_path_factory.mktemp("cases"))


def export(cases: Path, output: Path, form: str, *more: str) -> Path:
    """Run the command and return the dataset's folder."""
    key = output.parent / f"{output.name}.key.csv"
    arguments = ["--format", form, "--cases", str(cases), "--output", str(output), "--name", "Mixed", "--key", str(key)]
    assert main(["export", *arguments, "--split", "test=0.2", *more]) == 0
    (manifest,) = output.rglob(MANIFEST)
    checked = verify_dataset(manifest.parent)
    assert checked.complete and checked.problems == ()
    assert main(["dataset", "verify", str(manifest.parent)]) == 0
    text = b"".join(path.read_bytes() for path in output.rglob("*") if path.suffix in (".json", ".md", ".csv", ".tsv"))
    assert not [name for name in _NAMES if name.encode() in text]
    return manifest.parent


def key_of(root: Path, output: Path) -> dict[str, str]:
    """Return the case's own name by its name in the dataset."""
    with (output.parent / f"{output.name}.key.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    return {line[0]: line[2] for line in lines[3:] if line}


def test_nnunet_takes_all_of_them(cases, tmp_path):
    root = export(cases, tmp_path / "out", "nnunet", "--number", "17")
    assert root.name == "Dataset017_Mixed"
    nnunet_environment.verify(root)
    assert len(list((root / "imagesTr").iterdir())) == 10 and len(list((root / "imagesTs").iterdir())) == 2


@pytest.mark.slow
def test_nnunet_plans_a_training_on_them(cases, tmp_path):
    root = export(cases, tmp_path / "out", "nnunet", "--number", "17")
    planned = nnunet_environment.plan(root, tmp_path / "preprocessed")
    assert json.loads((planned / "dataset_fingerprint.json").read_text())["spacings"]
    assert "3d_fullres" in json.loads((planned / "nnUNetPlans.json").read_text())["configurations"]


def test_what_was_exported_and_read_back_overlays_to_the_voxel(cases, tmp_path):
    output = tmp_path / "out"
    root = export(cases, output, "nnunet")
    manifest = read_manifest(root)
    assert manifest is not None and manifest.plan.scheme is not None
    values = {each.name: number for number, each in enumerate(manifest.plan.scheme.structures, 1)}
    sources = {case.id: case for case in collect_cases(cases)}
    for name, own in key_of(root, output).items():
        case = sources[own]
        image = read_volume(case.images["image"].path)
        (written,) = root.glob(f"images*/{name}_0000.nii.gz")
        (mask,) = root.glob(f"labels*/{name}.nii.gz")
        back, labels = read_volume(written), read_volume(mask)
        assert back.grid.same_as(image.grid, 1e-3) and labels.grid.same_as(back.grid)
        assert np.array_equal(back.array, image.array)
        if own in ("Upper abdomen", "Amy again"):
            continue  # their labels came on another grid
        before, segments = read_segmentation(case.label.source.path)
        for segment in segments:
            assert np.array_equal(labels.array == values[segment.name], before.array == segment.label), (own, segment)


def test_labels_on_a_flipped_grid_are_where_they_were(cases, tmp_path):
    output = tmp_path / "out"
    chosen = ("Amy again", "Lung 2", "Lung", "Upper abdomen")
    some = cases.with_name("some.csv")
    with cases.open(encoding="utf-8") as file:
        head, *lines = file.read().splitlines()
    some.write_text("\n".join([head, *(line for line in lines if line.startswith(chosen))]), encoding="utf-8")
    root = export(some, output, "monai")
    names = {own: name for name, own in key_of(root, output).items()}
    for own, file in (("Amy again", "Lung 2.seg.nrrd"), ("Upper abdomen", "Upper abdomen.seg.nrrd")):
        (mask,) = root.glob(f"labels*/{names[own]}*")
        there, _ = read_segmentation(cases.parent / file)
        back = read_volume(mask)
        assert np.isclose(np.count_nonzero(back.array), np.count_nonzero(there.array))
        assert np.allclose(_middle(back), _middle(there), atol=0.01)


def _middle(labels: Volume) -> np.ndarray:
    indices = np.argwhere(labels.array[0] > 0).mean(axis=0)
    return (labels.affine @ [*indices, 1])[:3]


def test_decathlon_and_monai_lists_load_and_train_one_step(cases, tmp_path):
    import torch
    from monai.data import DataLoader, Dataset, load_decathlon_datalist
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        RandCropByPosNegLabeld,
        SpatialPadd,
    )

    for form, file in (("msd", "dataset.json"), ("monai", "datalist.json")):
        root = export(cases, tmp_path / form, form, "--spacing", "3,3,3")
        listed = load_decathlon_datalist(str(root / file), is_segmentation=True, data_list_key="training")
        assert len(listed) == 10
        keys = ("image", "label")
        steps = Compose(
            [
                LoadImaged(keys),
                EnsureChannelFirstd(keys),
                NormalizeIntensityd("image"),
                SpatialPadd(keys, (32, 32, 16)),
                RandCropByPosNegLabeld(keys, "label", (32, 32, 16)),
            ]
        )
        steps.set_random_state(1)
        batch = next(iter(DataLoader(Dataset(listed[:2], steps), batch_size=2, collate_fn=_joined)))
        network = UNet(3, 1, 10, (4, 8), (2,))
        optimizer = torch.optim.Adam(network.parameters())
        loss = DiceCELoss(to_onehot_y=True, softmax=True)(network(batch["image"]), batch["label"])
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)


def _joined(items: list) -> dict:
    import torch

    return {key: torch.stack([item[0][key].as_tensor().float() for item in items]) for key in ("image", "label")}


def test_bids_takes_the_mr_cases(cases, tmp_path):
    with cases.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] in training_cases.MR]
    path = cases.parent / "mr.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "T2w", "segmentation"])
        table.writerows([row["case"], row["patient"], row["image"], row["segmentation"]] for row in rows)
    root = export(path, tmp_path / "out", "bids")
    assert (root / "participants.tsv").is_file() and len(list(root.glob("sub-*"))) == len(training_cases.MR)


def test_dicom_takes_all_of_them_and_keeps_what_was_dicom(cases, tmp_path):
    import pydicom

    output = tmp_path / "out"
    root = export(cases, output, "dicom")
    names = {own: name for name, own in key_of(root, output).items()}
    (folder,) = root.rglob(names["Upper abdomen"])
    files = [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    assert {file.Modality for file in files} == {"CT", "SEG"}
    assert {file.PatientIdentityRemoved for file in files} == {"YES"}
    labels, _ = read_segmentation(next(path for path in folder.rglob("*.dcm") if "seg" in path.name))
    there, _ = read_segmentation(cases.parent / "Upper abdomen.seg.nrrd")
    assert np.count_nonzero(labels.array) == np.count_nonzero(there.array)


def test_classes_and_boxes(cases, tmp_path):
    """The same images as a dataset of what they show, and of where."""
    with cases.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == "Maastricht"]
    boxes = []
    for row in rows:
        labels, _ = read_segmentation(cases.parent / row["segmentation"])
        corners = np.argwhere(labels.array[0] > 0)
        ends = np.array([corners.min(axis=0) - 0.5, corners.max(axis=0) + 0.5])
        world = (labels.affine @ np.c_[ends, np.ones(2)].T).T[:, :3]
        center, size = world.mean(axis=0), np.abs(world[1] - world[0])
        told = {"boxes": [{"label": "lesion", "center": center.tolist(), "size": size.tolist()}]}
        path = cases.parent / f"{row['case']}.boxes.json"
        path.write_text(json.dumps(told))
        boxes.append(path.name)
    organs = {"M": "brain", "N": "brain", "B": "breast", "L": "lung", "A": "lung"}
    for form, column in (("classification", "class"), ("coco", "boxes")):
        path = cases.parent / f"{form}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["case", "patient", "image", column])
            for row, box in zip(rows, boxes, strict=True):
                label = organs[row["case"][0]] if form == "classification" else box
                table.writerow([row["case"], row["patient"], row["image"], label])
        root = export(path, tmp_path / form, form)
        manifest = read_manifest(root)
        assert manifest is not None and len(manifest.done()) == len(rows)
        assert manifest.plan.classes == (("brain", "breast", "lung") if form == "classification" else ("lesion",))


def test_what_was_noticed_while_collecting_is_told(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        for ending, dtype in (("", np.int16), ("_seg", np.uint8)):
            volume = Volume(np.full((1, 3, 3, 3), 1 + (name == "b" and not ending), dtype), np.eye(4))
            write_volume(volume, tmp_path / "in" / f"{name}{ending}.nii.gz")
    arguments = ["export", "--format", "monai", "--cases", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "Note: Of 2 of 2 cases it is not known whose they are" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert "not known whose" in json.loads(capsys.readouterr().out)["notes"][0]
