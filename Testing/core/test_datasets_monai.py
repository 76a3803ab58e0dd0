"""MONAI datalists: MONAI loads them and trains a step for every task, and damage is told of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.prepared_cases import build, plan_of, real_cases, small, two_channels, write_index
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.monai_datalist import MonaiDatalistFormat
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.inference.prediction import Box, Landmark
from meddl.volume import Volume, read_volume, write_volume

FORM = MonaiDatalistFormat()
CLASSES = ("CT", "MR")
SIZE = 16


def of_task(task: str) -> tuple[tuple[PreparedCase, ...], ExportPlan]:
    """Real cases with labels of a task, and the plan of them."""
    cases = tuple(small(case) for case in real_cases())
    if task != "segmentation":
        cases = tuple(_labeled(case, task) for case in cases)
    classes = {"classification": CLASSES, "detection": ("liver", "vertebra", "lesion"), "landmarks": ("top", "middle")}
    return cases, plan_of(cases, ExportOptions(format="monai"), task=task, classes=classes.get(task, ()))


def _labeled(case: PreparedCase, task: str) -> PreparedCase:
    image, labels = case.images["image"], case.labels
    bare = replace(case, labels=None)
    if labels is None:
        return bare
    if task == "classification":
        return replace(bare, classes=("CT" if case.name in ("case_0001", "case_0003", "case_0006") else "MR",))
    if task == "reconstruction":
        return replace(bare, target=image.with_array((image.array // 2).astype(np.int16)))
    points = _structures(labels)
    if task == "landmarks":
        named = [Landmark(name, point, 1.0) for name, point in zip(("top", "middle"), points["points"], strict=False)]
        return replace(bare, points=tuple(named[: 1 if case.name == "case_0002" else 2]))
    return replace(bare, boxes=points["boxes"])


def _structures(labels: Volume) -> dict[str, Any]:
    """Boxes round the labeled voxels along the axes of the patient, and two points of them."""
    names = {1: "liver", 2: "vertebra", 3: "lesion"}
    boxes = []
    for value in np.unique(labels.array[labels.array > 0]).tolist():
        index = np.argwhere(labels.array[0] == value)
        world = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        low, high = world.min(axis=0) - 0.5, world.max(axis=0) + 0.5
        boxes.append(Box(names[value], 1.0, (low + high) / 2, high - low))
    all_voxels = np.argwhere(labels.array[0] > 0)
    world = all_voxels @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    return {"boxes": tuple(boxes), "points": (world[world[:, 2].argmax()], world.mean(axis=0))}


def loaded(root: Path, part: str = "training") -> list[dict[str, Any]]:
    from monai.data import load_decathlon_datalist

    items: list[dict[str, Any]] = load_decathlon_datalist(root / "datalist.json", data_list_key=part)
    return items


def a_batch(root: Path, files: tuple[str, ...]) -> Mapping[str, Any]:
    """Load the training cases as MONAI does, all to one size."""
    from monai.data import DataLoader, Dataset
    from monai.transforms import (
        CastToTyped,
        Compose,
        LoadImaged,
        NormalizeIntensityd,
        ResizeWithPadOrCropd,
        SelectItemsd,
        ToTensord,
    )

    items = loaded(root)
    numbers = tuple(key for key in ("label", "landmarks", "landmarks_there") if key in items[0] and key not in files)
    steps = Compose([
        LoadImaged(files, ensure_channel_first=True), CastToTyped("image", np.float32),
        NormalizeIntensityd("image", channel_wise=True), ResizeWithPadOrCropd(files, (SIZE, SIZE, SIZE)),
        *([ToTensord(numbers)] if numbers else []), SelectItemsd((*files, *numbers)),
    ])  # fmt: skip
    batch: Mapping[str, Any] = next(iter(DataLoader(Dataset(items, steps), batch_size=len(items))))
    return batch


def one_step(network: Any, loss: Any) -> None:
    """Take a step of training, and check that it was one."""
    import torch

    before = [weights.detach().clone() for weights in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    value = loss()
    value.backward()
    optimizer.step()
    assert torch.isfinite(value)
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


class TestMonaiTrains:
    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
    def test_segmentation(self, ending: str, tmp_path: Path) -> None:
        from monai.losses import DiceCELoss
        from monai.networks.nets import UNet

        cases = [two_channels(small(case)) for case in real_cases()]
        plan = plan_of(cases, ExportOptions(format="monai", file_ending=ending))
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        assert sorted(path.name for path in (root / "images").glob("case_0001*")) == [
            f"case_0001_T1{ending}", f"case_0001_smooth_T1{ending}",
        ]  # fmt: skip
        assert [item["fold"] for item in loaded(root)] == [0, 1, 0, 1]
        assert [item["case"] for item in loaded(root, "validation")] == ["case_0005"]
        assert ["label" in item for item in loaded(root, "test")] == [True, False]
        batch = a_batch(root, ("image", "label"))
        assert tuple(batch["image"].shape) == (4, 2, SIZE, SIZE, SIZE)
        network = UNet(3, 2, 4, channels=(4, 8), strides=(2,))
        loss = DiceCELoss(to_onehot_y=True, softmax=True)
        one_step(network, lambda: loss(network(batch["image"].as_tensor()), batch["label"].as_tensor()))

    def test_classification(self, tmp_path: Path) -> None:
        import torch
        from monai.networks.nets import DenseNet

        cases, plan = of_task("classification")
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        batch = a_batch(root, ("image",))
        assert batch["label"].tolist() == [0, 1, 0, 1]
        assert json.loads((root / "datalist.json").read_text())["classes"] == ["CT", "MR"]
        network = DenseNet(3, 1, 2, init_features=4, growth_rate=2, block_config=(1, 1), bn_size=1)
        one_step(
            network, lambda: torch.nn.functional.cross_entropy(network(batch["image"].as_tensor()), batch["label"])
        )

    def test_classes_that_do_not_exclude_each_other(self, tmp_path: Path) -> None:
        cases, plan = of_task("classification")
        both = (replace(cases[0], classes=("MR", "CT")), *cases[1:])
        root, records = build(FORM, plan, both, tmp_path)
        assert [item["label"] for item in loaded(root)] == [[1, 1], [0, 1], [1, 0], [0, 1]]
        assert FORM.problems(root, plan, records) == FORM.problems(root, plan, records[1:]) == ()

    def test_detection(self, tmp_path: Path) -> None:
        """On straight grids MONAI's own way from the world to voxels gives the boxes of the list; there are others."""
        from monai.apps.detection.transforms.dictionary import AffineBoxToImageCoordinated
        from monai.transforms import Compose, LoadImaged

        cases, plan = of_task("detection")
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        way = Compose([
            LoadImaged("image", ensure_channel_first=True),
            AffineBoxToImageCoordinated("box_world", "image", affine_lps_to_ras=False),
        ])  # fmt: skip
        for item in loaded(root)[:3]:
            expected = np.array(item["box_voxel"])
            inside = way({**item, "box_world": np.array(item["box_world"])})
            shape = np.array(inside["image"].shape[1:])
            cut = np.clip(np.asarray(inside["box_world"]).reshape(-1, 2, 3), -0.5, shape - 0.5).reshape(-1, 6)
            assert np.allclose(cut, expected, atol=1e-2)
        for case, item in zip(cases, loaded(root), strict=False):
            labels = small(next(each for each in real_cases() if each.name == case.name)).labels
            assert labels is not None
            for box, label in zip(item["box_voxel"], item["label"], strict=True):
                index = np.argwhere(labels.array[0] == label + 1)
                assert (index.min(axis=0) >= np.array(box[:3])).all() and (index.max(axis=0) <= np.array(box[3:])).all()

    def test_landmarks(self, tmp_path: Path) -> None:
        import torch
        from monai.networks.nets import Regressor

        cases, plan = of_task("landmarks")
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        items = loaded(root)
        assert [item["landmarks_there"] for item in items] == [[1, 1], [1, 0], [1, 1], [1, 1]]
        assert items[1]["landmarks"][1] == [0, 0, 0]
        for case, item in zip(cases, items, strict=False):
            affine = case.images["image"].affine
            for point, voxel in zip(case.points or (), item["landmarks_voxel"], strict=False):
                assert np.allclose(affine[:3, :3] @ voxel + affine[:3, 3], point.position, atol=1e-3)
        batch = a_batch(root, ("image",))
        assert tuple(batch["landmarks"].shape) == (4, 2, 3)
        network = Regressor((1, SIZE, SIZE, SIZE), (2, 3), channels=(2, 4), strides=(2, 2))
        there = batch["landmarks_there"][:, :, None]

        def loss() -> Any:
            difference = network(batch["image"].as_tensor()).reshape(4, 2, 3) - batch["landmarks"] / 1000
            return torch.square(difference * there).mean()

        one_step(network, loss)

    def test_reconstruction(self, tmp_path: Path) -> None:
        import torch
        from monai.networks.nets import UNet

        cases, plan = of_task("reconstruction")
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        batch = a_batch(root, ("image", "target"))
        network = UNet(3, 1, 1, channels=(2, 4), strides=(2,))
        one_step(
            network,
            lambda: torch.nn.functional.l1_loss(
                network(batch["image"].as_tensor()), batch["target"].as_tensor().float() / 1000
            ),
        )

    def test_pictures(self, tmp_path: Path) -> None:
        from monai.transforms import LoadImaged

        flat = Volume(np.arange(3 * 6 * 4, dtype=np.uint8).reshape(3, 6, 4, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
        case = PreparedCase("case_0001", "patient_0001", {"photo": flat}, classes=("CT",))
        plan = plan_of([case], ExportOptions(file_ending=".png"), task="classification", classes=CLASSES)
        root, records = build(FORM, plan, [case], tmp_path)
        assert FORM.problems(root, plan, records) == ()
        image = LoadImaged("image", ensure_channel_first=True)(loaded(root)[0])["image"]
        assert np.array_equal(np.asarray(image), flat.array[..., 0])


def test_vectors_are_split_into_images(tmp_path: Path) -> None:
    from monai.transforms import LoadImaged

    case = small(real_cases()[0])
    image = case.images["image"]
    field = image.with_array(np.concatenate([image.array, image.array + 1, image.array + 2]))
    cases = [replace(case, images={"field": field})]
    plan = plan_of(cases)
    root, records = build(FORM, plan, cases, tmp_path)
    assert FORM.problems(root, plan, records) == ()
    stacked = LoadImaged("image", ensure_channel_first=True)(loaded(root)[0])["image"]
    assert np.array_equal(np.asarray(stacked), field.array)


@pytest.mark.parametrize("task", FORM.tasks)
def test_after_each_case_and_the_same_bytes(task: str, tmp_path: Path) -> None:
    cases, plan = of_task(task)
    root, records = build(FORM, plan, cases, tmp_path / "one")
    _, others = build(FORM, plan, cases[::-1], tmp_path / "two")
    assert records == others[::-1]
    for count in range(len(records) + 1):
        done = records[:count]
        write_index(FORM, plan, done, root)
        assert FORM.problems(root, plan, done) == ()
        assert len(loaded(root)) == min(count, 4)
    # The records live in a file in between.
    again = [replace(record, facts=json.loads(json.dumps(record.facts, sort_keys=True))) for record in records]
    assert FORM.index(plan, again) == FORM.index(plan, records)


@pytest.mark.parametrize("task", FORM.tasks)
def test_what_the_caller_knows_to_be_damaged_is_no_disagreement(task: str, tmp_path: Path) -> None:
    cases, plan = of_task(task)
    root, records = build(FORM, plan, cases, tmp_path)
    for left_out in range(len(records)):
        assert FORM.problems(root, plan, (*records[:left_out], *records[left_out + 1 :])) == ()


def test_auto3dseg_reads_the_folds(tmp_path: Path) -> None:
    from monai.auto3dseg.utils import datafold_read

    cases, plan = of_task("segmentation")
    root, _ = build(FORM, plan, cases, tmp_path)
    learned, validated = datafold_read(str(root / "datalist.json"), str(root), fold=0)
    assert [Path(item["image"]).name[:9] for item in learned] == ["case_0002", "case_0004"]
    assert [Path(item["image"]).name[:9] for item in validated] == ["case_0001", "case_0003"]
    assert all(Path(item["image"]).is_file() for item in (*learned, *validated))


class TestRefusals:
    def test_names_that_the_dataset_does_not_have(self, tmp_path: Path) -> None:
        for task in ("classification", "detection", "landmarks"):
            cases, plan = of_task(task)
            with pytest.raises(VolumeError, match="not among those of the dataset"):
                FORM.write_case(cases[0], replace(plan, classes=("other",)), tmp_path)
            with pytest.raises(UsageError, match="name nothing"):
                FORM.check(replace(plan, classes=()))

    def test_two_points_of_one_name(self, tmp_path: Path) -> None:
        cases, plan = of_task("landmarks")
        points = cases[0].points or ()
        twice = replace(cases[0], points=(points[0], replace(points[1], name="top")))
        with pytest.raises(VolumeError, match="two points called 'top'"):
            FORM.write_case(twice, plan, tmp_path)

    def test_values_that_are_no_numbers(self, tmp_path: Path) -> None:
        cases, plan = of_task("reconstruction")
        assert cases[0].target is not None
        broken = replace(cases[0], target=cases[0].target.with_array(np.full(cases[0].target.array.shape, np.inf)))
        with pytest.raises(VolumeError, match="no numbers"):
            FORM.write_case(broken, plan, tmp_path)


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        data = json.loads((root / "datalist.json").read_text())
        change(data)
        (root / "datalist.json").write_text(json.dumps(data))

    return damage


def elsewhere(path: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        volume = read_volume(root / path)
        write_volume(Volume(volume.array, np.diag([1, 1, 1.3, 1]) @ volume.affine), root / path)

    return damage


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "label elsewhere": ("segmentation", elsewhere("labels/case_0002.nii.gz"), "lies at another place"),
    "target elsewhere": ("reconstruction", elsewhere("targets/case_0002.nii.gz"), "lies at another place"),
    "target gone": ("reconstruction", lambda root: (root / "targets/case_0002.nii.gz").unlink(), "cannot be read"),
    "other value": (
        "segmentation", edited(lambda d: d["labels"].update({"1": "spleen"})), "'labels'",
    ),
    "other class": ("classification", edited(lambda d: d["training"][0].update(label=1)), "tells of case_0001"),
    "moved box": ("detection", edited(lambda d: d["training"][0]["box_voxel"][0].reverse()), "tells of case_0001"),
    "moved point": ("landmarks", edited(lambda d: d["training"][0]["landmarks"].reverse()), "tells of case_0001"),
    "other order": ("landmarks", edited(lambda d: d["classes"].reverse()), "'classes'"),
    "case of both sides": (
        "segmentation", edited(lambda d: d["training"].append(d["validation"][0])), "case_0005 more than once",
    ),
    "unlisted": ("segmentation", edited(lambda d: d["test"].pop()), "case_0007 is in the dataset"),
    "no case": ("segmentation", edited(lambda d: d["training"].append({"image": "x"})), "does not list cases"),
    "no index": ("segmentation", lambda root: (root / "datalist.json").unlink(), "datalist.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_of(damage: str, tmp_path: Path) -> None:
    task, do, said = DAMAGES[damage]
    cases, plan = of_task(task)
    root, records = build(FORM, plan, cases, tmp_path)
    do(root)
    found = FORM.problems(root, plan, records)
    assert any(said in problem for problem in found), found
    assert all(str(tmp_path) not in problem for problem in found)
