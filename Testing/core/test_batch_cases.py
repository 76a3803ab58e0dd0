"""Which cases a list or a folder holds, and what their results are called."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from core.dicom_writer import write_series
from core.test_volume_pictures import written
from meddl.batch import naming
from meddl.batch.cases import cases_from
from meddl.batch.naming import safe_name, safe_names
from meddl.batch.records import fingerprint
from meddl.errors import UsageError
from meddl.inference import files
from meddl.models.channels import Channel
from meddl.volume import Volume, reading, terminology, to_sitk

CHANNELS = (
    Channel("T1c", "MR", ("t1ce", "t1gd", "t1c")),
    Channel("T1", "MR", ("t1",)),
    Channel("FLAIR", "MR", ("flair",)),
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(source: Path, channels: tuple[Channel, ...] = (), **more: object) -> dict[str, dict[str, str]]:
    cases = cases_from(source, channels, **more)  # type: ignore[arg-type]
    return {case.id: {name: path.name for name, path in case.inputs.items()} for case in cases}


class TestFolders:
    def test_each_image_and_each_subfolder_is_a_case(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "a.nii.gz", "b.nrrd", "c.png", "notes.txt", "a.seg.nrrd", ".hidden.nrrd", "sub/x.mha",
            "several/1.nii", "several/2.nii", "empty/readme.md", "out/result.nrrd",
        )  # fmt: skip
        write_series(tmp_path / "series", Volume(np.zeros((1, 4, 4, 3), np.int16), np.eye(4)), name="IM{}".format)
        assert found(tmp_path, exclude=[tmp_path / "out"]) == {
            "a": {"image": "a.nii.gz"},
            "b": {"image": "b.nrrd"},
            "c": {"image": "c.png"},
            "series": {"image": "series"},
            "several_1": {"image": "1.nii"},
            "several_2": {"image": "2.nii"},
            "sub": {"image": "x.mha"},
        }

    @pytest.mark.parametrize(
        "names",
        [
            ("p1_t1ce.nii.gz", "p1_t1.nii.gz", "p1_flair.nii.gz", "p2_t1ce.nii.gz", "p2_t1.nii.gz", "p2_flair.nii.gz"),
            ("p1_0000.nii.gz", "p1_0001.nii.gz", "p1_0002.nii.gz", "p2-0000.nii", "p2-0001.nii", "p2-0002.nii"),
            ("p1/T1Gd.nrrd", "p1/T1.nrrd", "p1/FLAIR.nrrd", "p2/t1c.nrrd", "p2/t1.nrrd", "p2/flair.nrrd"),
            ("p1/a-T1GD-x.nii", "p1/a-T1-x.nii", "p1/a-flair-x.nii", "p2/T1c.nii", "p2/T1.nii", "p2/FLAIR.nii"),
        ],
    )  # fmt: skip
    def test_files_of_one_image_are_brought_together(self, names: tuple[str, ...], tmp_path: Path) -> None:
        touch(tmp_path, *names)
        cases = cases_from(tmp_path, CHANNELS)
        assert [case.id for case in cases] == ["p1", "p2"]
        for case, own in zip(cases, (names[:3], names[3:]), strict=True):
            assert {name: path.relative_to(tmp_path).as_posix() for name, path in case.inputs.items()} == dict(
                zip(("T1c", "T1", "FLAIR"), own, strict=True)
            )

    def test_a_folder_of_slices_is_one_case_and_one_of_radiographs_many(self, tmp_path: Path) -> None:
        write_series(tmp_path / "ct", Volume(np.zeros((1, 4, 4, 3), np.int16), np.eye(4)))
        assert found(tmp_path / "ct") == {"ct": {"image": "ct"}}
        (tmp_path / "dx").mkdir()
        for name in ("pa", "lateral"):
            written(tmp_path / "dx" / f"{name}.dcm", np.zeros((4, 5), np.uint8))
        assert found(tmp_path / "dx") == {"lateral": {"image": "lateral.dcm"}, "pa": {"image": "pa.dcm"}}
        written(tmp_path / "result.dcm", np.zeros((4, 5), np.uint8), Modality="SEG")
        assert list(found(tmp_path)) == ["ct", "dx_lateral", "dx_pa"]
        (tmp_path / "ct" / "damaged.dcm").write_bytes(b"x")  # its case tells that
        assert list(found(tmp_path / "ct")) == ["ct"]

    def test_nothing_there(self, tmp_path: Path) -> None:
        for source in (tmp_path, tmp_path / "missing"):
            with pytest.raises(UsageError, match=r"no cases|no list or folder"):
                cases_from(source)

    def test_two_files_of_one_name(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.nii", "a.nrrd")
        with pytest.raises(UsageError, match="'a' is there twice"):
            cases_from(tmp_path)


class TestLists:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_list(self, delimiter: str, encoding: str, tmp_path: Path) -> None:
        lines = [
            "case,image,reference,model,series",
            "Müller,x/a.nii.gz,ref.nrrd,,",
            ",/data/b.nrrd,,brain,1.2.3",
            "",
            "",
        ]
        path = tmp_path / "list.csv"
        path.write_text("\r\n".join(line.replace(",", delimiter) for line in lines), encoding=encoding, newline="")
        first, second = cases_from(path)
        assert (first.id, first.inputs, first.reference) == (
            "Müller", {"image": tmp_path / "x/a.nii.gz"}, tmp_path / "ref.nrrd",
        )  # fmt: skip
        assert (second.id, second.inputs["image"], second.models, second.series_uid) == (
            "b", Path("/data/b.nrrd"), ("brain",), "1.2.3",
        )  # fmt: skip

    def test_channels_and_several_models(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "list.csv").write_text("case,T1c,FLAIR,model\np1,a.nii,b.nii,model; brain\np2,c.nii,,\n")
        first, second = cases_from(tmp_path / "list.csv")
        assert first.inputs == {"T1c": tmp_path / "a.nii", "FLAIR": tmp_path / "b.nii"}
        assert first.models == (str(tmp_path / "model"), "brain")
        assert second.inputs == {"T1c": tmp_path / "c.nii"}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no column of images"),
            ("case,model\na,b\n", "no column of images"),
            ("case,image\n", "no cases"),
            ("case,image\na,\n", "names no image"),
            ("case,image\na,x.nii,more\n", "more entries"),
            ("case,image\na,x.nii\na,y.nii\n", "there twice"),
            ("image,Image\na,b\n", "two columns"),
            ('image\n"x.nii\n', "damaged"),
            ("image\n~nobody-of-this-name/x.nii\n", "user who is not known"),
        ],
    )
    def test_broken_lists(self, text: str, says: str, tmp_path: Path) -> None:
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(UsageError, match=says):
            cases_from(tmp_path / "list.csv")
        (tmp_path / "list.csv").write_bytes(b"image\n\xff\xfe.nii\n")
        with pytest.raises(UsageError, match="UTF-8"):
            cases_from(tmp_path / "list.csv")


def test_names_of_files_are_safe_and_distinct() -> None:
    assert safe_name("Patient 7.b") == "Patient 7.b"
    for bad in (
        "../../x",
        "a/b",
        "a\\b",
        "",
        ".",
        "..",
        "CON",
        "nul.txt",
        "a\nb",
        "x" * 300,
        "-rf",
        "a:b",
        "\u202eabc",
        "ä" * 90,
    ):
        name = safe_name(bad)
        assert name and len(name) < 100 and not name.startswith((".", "-")) and name.isprintable(), bad
        assert not set(name) & set('/\\:*?"<>|\n') and not name.endswith((" ", "."))
    names = ["a/b", "a_b", "A_B", "a:b", "a b", "A b"]
    safe = safe_names(names)
    assert len({name.casefold() for name in safe}) == len(names)
    assert safe_names(reversed(names)) == safe[::-1]


def test_an_image_is_known_by_all_that_it_is_made_of(tmp_path: Path) -> None:
    volume = Volume(np.arange(60, dtype=np.int16).reshape(1, 5, 4, 3), np.eye(4))
    for name in ("x.nhdr", "x.mhd"):
        sitk.WriteImage(to_sitk(volume), str(tmp_path / name), False)
        before = fingerprint(tmp_path / name)
        data = tmp_path / "x.raw"
        data.write_bytes(bytes(reversed(data.read_bytes())))
        assert fingerprint(tmp_path / name) != before
    files = write_series(tmp_path / "ct", volume)
    before = fingerprint(files[0])
    assert before == fingerprint(tmp_path / "ct")
    files[0].rename(tmp_path / "ct" / "renamed")
    assert fingerprint(tmp_path / "ct") == before
    files[2].write_bytes(files[2].read_bytes() + b"\0\0")
    assert fingerprint(files[1]) != before


def test_the_examples_in_the_documentation_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (naming, files, reading, terminology):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
