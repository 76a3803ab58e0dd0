"""Decathlon datasets: MONAI loads them and trains, nnU-Net converts them, and damage is told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import nnunet_environment
from core.prepared_cases import SCHEME, build, plan_of, real_cases, small, two_channels, write_index
from meddl.datasets.formats.decathlon import DecathlonFormat
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import ExportOptions
from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume, read_volume, write_volume

FORM = DecathlonFormat()
OPTIONS = ExportOptions(format="msd", name="Three sites", number=3, license="CC0", description="organs")


def test_monai_reads_the_lists_and_the_images(tmp_path: Path) -> None:
    from monai.data import check_missing_files, load_decathlon_datalist, load_decathlon_properties
    from monai.transforms import LoadImaged

    plan = plan_of(real_cases(), OPTIONS)
    root, records = build(FORM, plan, real_cases(), tmp_path)
    assert root.name == "Task03_Three-sites"
    assert FORM.problems(root, plan, records) == ()
    index = root / "dataset.json"
    lists = {key: load_decathlon_datalist(index, True, key) for key in ("training", "validation", "test")}
    assert {key: len(items) for key, items in lists.items()} == {"training": 4, "validation": 1, "test": 2}
    assert [item["fold"] for item in lists["training"]] == [0, 1, 0, 1]
    assert not check_missing_files([*lists["training"], *lists["validation"]], ("image", "label"))
    told = load_decathlon_properties(index, ("name", "licence", "numTraining", "numTest", "labels", "tensorImageSize"))
    assert told == {
        "name": "Three sites", "licence": "CC0", "numTraining": 4, "numTest": 2, "tensorImageSize": "3D",
        "labels": {"0": "background", "1": "liver", "2": "vertebra", "3": "lesion"},
    }  # fmt: skip
    load = LoadImaged(("image", "label"), ensure_channel_first=True)
    for case, item in zip(real_cases(), [*lists["training"], *lists["validation"]], strict=False):
        assert case.labels is not None
        loaded = load(item)
        assert np.array_equal(np.asarray(loaded["image"]), case.images["image"].array)
        assert np.array_equal(np.asarray(loaded["label"]), case.labels.array)
        assert np.allclose(loaded["image"].affine, case.images["image"].affine, atol=1e-4)
        assert np.array_equal(loaded["image"].affine, loaded["label"].affine)


def test_monai_trains_a_step_with_all_channels(tmp_path: Path) -> None:
    import torch
    from monai.data import DataLoader, Dataset, load_decathlon_datalist
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet
    from monai.transforms import Compose, LoadImaged, NormalizeIntensityd, ResizeWithPadOrCropd

    cases = [two_channels(small(case)) for case in real_cases()]
    plan = plan_of(cases, OPTIONS)
    root, records = build(FORM, plan, cases, tmp_path)
    assert FORM.problems(root, plan, records) == ()
    assert json.loads((root / "dataset.json").read_text())["modality"] == {"0": "T1", "1": "smooth T1"}
    keys = ("image", "label")
    steps = Compose([
        LoadImaged(keys, ensure_channel_first=True), NormalizeIntensityd("image", channel_wise=True),
        ResizeWithPadOrCropd(keys, (16, 16, 16)),
    ])  # fmt: skip
    items = load_decathlon_datalist(root / "dataset.json")
    batch = next(iter(DataLoader(Dataset(items, steps), batch_size=len(items))))
    assert tuple(batch["image"].shape) == (4, 2, 16, 16, 16)
    torch.manual_seed(0)
    network = UNet(3, 2, 4, channels=(4, 8), strides=(2,))
    before = [weights.clone() for weights in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)(network(batch["image"].as_tensor()), batch["label"].as_tensor())
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("ignore", [(), ("unclear",)])
def test_nnunet_converts_it(ignore: tuple[str, ...], tmp_path: Path) -> None:
    cases = [two_channels(small(case)) for case in real_cases()]
    plan = plan_of(cases, OPTIONS, scheme=replace(SCHEME, ignore=ignore), modality={"T1": "CT"})
    root, _ = build(FORM, plan, cases, tmp_path)
    made = nnunet_environment.convert_decathlon(root, tmp_path / "raw")
    assert made.name == "Dataset003_Three-sites"
    index = json.loads((made / "dataset.json").read_text())
    assert index["channel_names"] == {"0": "CT", "1": "smooth T1"}
    assert index["labels"].get("ignore") == (4 if ignore else None)
    said = nnunet_environment.verify(made)
    assert "Mismatch" not in said and "mismatch" not in said


def test_nnunet_converts_it_without_test_images(tmp_path: Path) -> None:
    cases = [small(case) for case in real_cases()[:2]]
    root, _ = build(FORM, plan_of(cases, OPTIONS), cases, tmp_path)
    nnunet_environment.verify(nnunet_environment.convert_decathlon(root, tmp_path / "raw"))


def test_overlaps_are_labels_of_their_own(tmp_path: Path) -> None:
    scheme = LabelScheme(SCHEME.structures, "regions", ((0, 1), (0, 1, 2)))
    index = json.loads(FORM.index(plan_of([small(real_cases()[0])], OPTIONS, scheme=scheme), ())["dataset.json"])
    assert index["labels"] == {
        "0": "background", "1": "liver", "2": "vertebra", "3": "lesion", "4": "liver + vertebra",
        "5": "liver + vertebra + lesion",
    }  # fmt: skip
    assert index["structures"] == {"liver": [1, 4, 5], "vertebra": [2, 4, 5], "lesion": [3, 5]}


def test_what_is_read_back_is_what_was_given(tmp_path: Path) -> None:
    cases = [two_channels(case) for case in real_cases()]
    root, records = build(FORM, plan_of(cases, OPTIONS), cases, tmp_path)
    for case, record in zip(cases, records, strict=True):
        image = read_volume(root / record.facts["msd"]["image"], multichannel=True)
        for channel, volume in zip(image.array, case.images.values(), strict=True):
            assert np.array_equal(channel, volume.array[0])
            assert image.grid.same_as(volume.grid, tol=1e-3)


def test_after_each_case(tmp_path: Path) -> None:
    from monai.data import load_decathlon_datalist

    cases = [small(case) for case in real_cases()]
    plan = plan_of(cases, OPTIONS)
    root, records = build(FORM, plan, cases, tmp_path)
    for count in range(len(records) + 1):
        write_index(FORM, plan, records[:count], root)
        assert FORM.problems(root, plan, records[:count]) == ()
        assert len(load_decathlon_datalist(root / "dataset.json")) == min(count, 4)


def test_what_the_caller_knows_to_be_damaged_is_no_disagreement(tmp_path: Path) -> None:
    cases = [small(case) for case in real_cases()]
    plan = plan_of(cases, OPTIONS)
    root, records = build(FORM, plan, cases, tmp_path)
    for left_out in range(len(records)):
        assert FORM.problems(root, plan, (*records[:left_out], *records[left_out + 1 :])) == ()


class TestRefusals:
    def test_no_label_to_learn(self, tmp_path: Path) -> None:
        case = replace(small(real_cases()[0]), labels=None)
        with pytest.raises(VolumeError, match="has no label"):
            FORM.write_case(case, plan_of([case], OPTIONS), tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [(replace(OPTIONS, number=0), "1 to 999"), (replace(OPTIONS, file_ending=".nrrd"), "ending in")],
    )
    def test_options(self, options: ExportOptions, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            FORM.check(plan_of([small(real_cases()[0])], options))


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        data = json.loads((root / "dataset.json").read_text())
        change(data)
        (root / "dataset.json").write_text(json.dumps(data))

    return damage


def moved_label(root: Path) -> None:
    path = root / "labelsTr/case_0002.nii.gz"
    volume = read_volume(path)
    write_volume(Volume(volume.array, volume.affine @ np.diag([1, 1, 1.2, 1])), path)


def one_channel_less(root: Path) -> None:
    path = root / "imagesTr/case_0002.nii.gz"
    volume = read_volume(path, multichannel=True)
    write_volume(volume.with_array(volume.array[:1]), path)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "label gone": (lambda root: (root / "labelsVal/case_0005.nii.gz").unlink(), "case_0005.nii.gz cannot be read"),
    "test image gone": (lambda root: (root / "imagesTs/case_0007.nii.gz").unlink(), "imagesTs/case_0007"),
    "other grid": (moved_label, "another place"),
    "channel gone": (one_channel_less, "has 1 values per voxel, not 2"),
    "unlisted": (edited(lambda d: d["training"].pop()), "case_0004 is in the dataset"),
    "in training and test": (edited(lambda d: d["training"].append(d["validation"][0])), "case_0005 more than once"),
    "invented test image": (edited(lambda d: d["test"].append("./imagesTs/x.nii.gz")), "whose files are not there"),
    "count": (edited(lambda d: d.update(numTest=5)), "numTest"),
    "other labels": (edited(lambda d: d["labels"].update({"4": "x"})), "'labels'"),
    "other fold": (edited(lambda d: d["training"][0].update(fold=3)), "case_0001"),
    "no lists": (edited(lambda d: d.pop("training")), "does not list cases"),
    "not lists": (edited(lambda d: d.update(training=5)), "does not list cases"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_of(damage: str, tmp_path: Path) -> None:
    cases = [two_channels(small(case)) for case in real_cases()]
    plan = plan_of(cases, OPTIONS)
    root, records = build(FORM, plan, cases, tmp_path)
    do, said = DAMAGES[damage]
    do(root)
    found = FORM.problems(root, plan, records)
    assert any(said in problem for problem in found), found
    assert all(str(tmp_path) not in problem for problem in found)
