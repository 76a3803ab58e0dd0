"""The key file, and the check that no name of a dataset tells who its patients are."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from meddl.datasets.deidentify import Key, KeyRow, check_plan, find_identifiers, new_key, read_key, secret_of, write_key
from meddl.datasets.facts import CaseFacts
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan, PlannedCase
from meddl.errors import UsageError, VolumeError

ROWS = (
    KeyRow("case_0001", "patient_0001", "Doe, Jane; 'x'", "=1+1", "s\u00fcd", ("/a/b | c.nrrd", "C:\\x,y.dcm")),
    KeyRow("case_0002", "patient_0002", "'quoted", "+49 30", '"study"\nof two lines', ()),
)


def test_a_key_comes_back_as_it_was_written(tmp_path: Path) -> None:
    key = Key(b"\x00\xff" * 16, ROWS[1:])
    write_key(key, tmp_path / "key.csv", tmp_path / "dataset")

    assert read_key(tmp_path / "key.csv") == key
    text = (tmp_path / "key.csv").read_bytes().decode("utf-8-sig")
    assert "+49" not in text.replace("'+49", "") and "Keep it apart" in text


def test_cells_are_no_formulas_and_come_back(tmp_path: Path) -> None:
    write_key(Key(b"k" * 32, ROWS), tmp_path / "key.csv", tmp_path / "dataset")

    back = read_key(tmp_path / "key.csv")

    assert back.rows[0].patient == "=1+1" and back.rows[0].case == ROWS[0].case and back.rows[0].study == "s\u00fcd"
    assert ",=1" not in (tmp_path / "key.csv").read_text("utf-8-sig")


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_only_the_owner_may_read_it_and_another_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "key.csv"
    write_key(Key(b"k" * 32, ROWS), path, tmp_path / "dataset")
    path.chmod(0o644)

    write_key(Key(b"k" * 32, ROWS[:1]), path, tmp_path / "dataset")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key.csv"]


def test_a_key_is_refused_inside_of_the_dataset_and_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="outside"):
        write_key(new_key(), tmp_path / "dataset" / "sub" / "key.csv", tmp_path / "dataset")
    with pytest.raises(VolumeError, match="folder does not exist"):
        write_key(new_key(), tmp_path / "none" / "key.csv", tmp_path / "dataset")


@pytest.mark.parametrize("content", [b"", b"name,patient\n", b"MedDL key,1\nsecret,hex:zz\n", bytes(range(256)) * 9])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.csv").write_bytes(content)

    with pytest.raises(UsageError, match="key"):
        read_key(tmp_path / "key.csv")
    with pytest.raises(UsageError, match="could not be read"):
        read_key(tmp_path / "none.csv")


def test_a_key_saved_with_semicolons_is_read(tmp_path: Path) -> None:
    key = Key(b"k" * 32, (KeyRow("case_0001", "patient_0001", "a", "b", "c", ("d",)),))
    write_key(key, tmp_path / "key.csv", tmp_path / "dataset")
    (tmp_path / "key.csv").write_bytes((tmp_path / "key.csv").read_bytes().replace(b",", b";"))

    assert read_key(tmp_path / "key.csv") == key


def test_secrets_are_hard_to_guess_or_the_same_for_the_same_cases() -> None:
    assert new_key().secret != new_key().secret and len(new_key().secret) == 32
    assert secret_of(["a", "b"]) == secret_of(["b", "a", "a"]) != secret_of(["ab"])
    assert "secret" not in repr(new_key()).lower()


def test_rows_are_added_in_the_order_of_their_names() -> None:
    key = Key(b"k" * 32, ROWS[1:]).with_rows([ROWS[0], KeyRow("case_0002", "patient_0002", "new")])

    assert [(row.name, row.case) for row in key.rows] == [("case_0001", ROWS[0].case), ("case_0002", "new")]


SEEN = (
    "M\u00fcller-L\u00fcdenscheidt^Anna Maria", "19610512", "PAT-00815", "/data/brain/images/Doe_Jane/ct_0001.nrrd",
    "1.2.840.113619.2.55.3.604688", "Charit\u00e9 Campus Mitte", "4711",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Tumor (M\u00fcller)", "mu\u0308ller", "MULLER left", "annaTumor", "Liver_Anna", "pat00815", "PAT 00815 kidney",
        "born 12.05.1961", "1961-05-12", "12May1961", "doe", "JaneDoe", "scan of 4711", "2.55.3.604688".replace(".", "")
        and "1.2.840.113619.2.55.3.604688", "Charite liver", "ludenscheidt",
    ],
)  # fmt: skip
def test_what_identifies_is_found_however_it_is_written(text: str) -> None:
    assert find_identifiers([text], SEEN) == (text,)


@pytest.mark.parametrize(
    "text",
    ["Liver", "left lung", "Brain", "CT", "Tumor core", "case_0001", "ct", "data", "images", "Kidney 2", "KiTS 2023",
     "", "Segment_1", "T1w", "May", "Vertebra L4", "14711", "Banana"],
)  # fmt: skip
def test_words_of_anatomy_and_of_files_identify_nobody(text: str) -> None:
    assert find_identifiers([text], SEEN) == ()


def planned(count: int, **names: object) -> tuple[ExportPlan, list[CaseFacts]]:
    cases = tuple(
        PlannedCase(f"id{n}", f"case_{n:04}", f"patient_{n:04}", "", "train", None, str(n)) for n in range(count)
    )
    people = ("Doe^Jane", "Smith^Robert", "Rossi^Chiara", "Schmidt^Hans")
    facts = [
        CaseFacts(f"id{n}", "segmentation", {}, seen=(people[n], f"/lab/BRATS/{people[n]}_7")) for n in range(count)
    ]
    structure = Structure(str(names.get("structure", "Liver")), (1.0, 0.0, 0.0))
    options = ExportOptions(name=str(names.get("name", "Livers")), description=str(names.get("description", "")))
    scheme = LabelScheme((structure,))
    plan = ExportPlan(options, "segmentation", (str(names.get("channel", "CT")),), scheme=scheme, cases=cases)
    return plan, facts


def test_a_plan_with_a_patients_name_is_refused_and_told_where_without_the_name() -> None:
    for names, place in (
        ({"structure": "Tumor Smith"}, "structure 1"), ({"name": "Doe liver"}, "dataset's name"),
        ({"channel": "CT_doe"}, "channel 1"), ({"description": "Thanks to Robert"}, "description"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=place) as caught:
            check_plan(*planned(2, **names))
        assert not any(word in str(caught.value) for word in ("Smith", "Doe", "doe", "Robert"))
    check_plan(*planned(2))


def test_what_all_of_several_patients_share_names_none_of_them() -> None:
    check_plan(*planned(4, name="BRATS livers"))
    with pytest.raises(UsageError):
        check_plan(*planned(2, name="BRATS livers"))
    with pytest.raises(UsageError):
        check_plan(*planned(4, name="BRATS Rossi"))


def test_importing_it_needs_numpy_only() -> None:
    heavy = ("pydicom", "torch", "SimpleITK", "scipy", "PIL", "dicomanonymizer", "monai")
    code = f"import sys, meddl.datasets.deidentify; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)

    assert found.stdout.strip() == "[]"
