"""What a list or folder of cases cannot be, and how that is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from core.collected_files import put
from meddl.datasets.collect import collect_cases
from meddl.errors import MedDLError, UsageError


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "p1/a.nii.gz", "p1/a_seg.nii.gz")
    (root / "p1" / "loop").symlink_to(root)
    (root / "copy").symlink_to(root / "p1")
    (root / "gone.nii.gz").symlink_to(root / "nowhere.nii.gz")
    (root / "self").symlink_to(root / "self")

    assert len(collect_cases(root)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are those of POSIX")
def test_a_folder_without_rights_is_told_and_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.nii.gz", "a_seg.nii.gz", "closed/b.nii.gz")
    entries = Path.iterdir

    def refused(path: Path) -> object:
        if path.name == "closed":  # tests may run as root, whom nothing is closed to
            raise PermissionError(13, "Permission denied")
        return entries(path)

    monkeypatch.setattr(Path, "iterdir", refused)

    with pytest.raises(UsageError, match="The folder 'closed' cannot be read: Permission denied"):
        collect_cases(tmp_path)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5000])
def test_a_source_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedDLError):
        collect_cases(tmp_path / name)


def test_an_image_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an image, not a list of cases"):
        collect_cases(put(tmp_path, "a.nii.gz") / "a.nii.gz")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no cases"):
        collect_cases(tmp_path)
