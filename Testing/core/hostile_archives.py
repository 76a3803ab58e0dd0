"""Attacks by archives, and by links and pipes in folders."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.hostile_bundles import attack, write_bundle, zip_of
from core.hostile_weights import saved


def _zip_attack(name: str, change: Callable[[zipfile.ZipFile, Path], None]) -> None:
    @attack(f"zip_{name}")
    def build(root: Path, canary: Path) -> Path:
        archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as zipped:
            change(zipped, canary)
        return archive


def _entry(name: str, data: bytes = b"evil") -> Callable[[zipfile.ZipFile, Path], None]:
    return lambda zipped, canary: zipped.writestr(name.replace("{canary}", str(canary)), data)


def _symlink(name: str, target: str) -> Callable[[zipfile.ZipFile, Path], None]:
    def change(zipped: zipfile.ZipFile, canary: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, target.replace("{canary}", str(canary)).replace("{folder}", str(canary.parent)))

    return change


def _link_then_write(zipped: zipfile.ZipFile, canary: Path) -> None:
    _symlink("bundle/out", "{folder}")(zipped, canary)
    zipped.writestr(f"bundle/out/{canary.name}", b"evil")


def _special(mode: int) -> Callable[[zipfile.ZipFile, Path], None]:
    def change(zipped: zipfile.ZipFile, canary: Path) -> None:
        info = zipfile.ZipInfo("bundle/special")
        info.external_attr = (mode | 0o666) << 16
        zipped.writestr(info, b"x")

    return change


def _many(zipped: zipfile.ZipFile, canary: Path) -> None:
    for number in range(20_001):
        zipped.writestr(zipfile.ZipInfo(f"bundle/n/{number}"), b"")


def _overlap(zipped: zipfile.ZipFile, canary: Path) -> None:
    info = zipfile.ZipInfo("bundle/a")
    info.compress_type = zipfile.ZIP_STORED
    zipped.writestr(info, bytes(200_000))
    for number in range(50):
        copy = zipfile.ZipInfo(f"bundle/copy{number}")
        for field in (
            "header_offset",
            "file_size",
            "compress_size",
            "CRC",
            "compress_type",
            "flag_bits",
            "create_version",
        ):
            setattr(copy, field, getattr(info, field))
        zipped.filelist.append(copy)


def _lie(zipped: zipfile.ZipFile, canary: Path) -> None:
    zipped.writestr("bundle/big", bytes(1 << 20))
    zipped.filelist[-1].file_size = 10


def _encrypted(zipped: zipfile.ZipFile, canary: Path) -> None:
    zipped.writestr("bundle/secret", b"x")
    zipped.filelist[-1].flag_bits |= 1


_ZIPS: dict[str, Callable[[zipfile.ZipFile, Path], None]] = {
    "slip": _entry("../../canary"),
    "slip_deep": _entry("bundle/a/../../../canary"),
    "slip_backslash": _entry("bundle\\..\\..\\canary"),
    "slip_only_dots": _entry(".."),
    "absolute": _entry("{canary}"),
    "drive": _entry("C:\\canary"),
    "drive_slash": _entry("C:/canary"),
    "network_share": _entry("//server/share/canary"),
    "stream": _entry("bundle/configs/inference.json:evil"),
    "device_name": _entry("bundle/configs/CON.json"),
    "device_name_port": _entry("bundle/com1"),
    "trailing_dot": _entry("bundle/configs/inference.json."),
    "empty_part": _entry("bundle//canary"),
    "control_character": _entry("bundle/a\nb"),
    "duplicate": _entry("bundle/configs/inference.json"),
    "case_collision": _entry("bundle/Configs/Inference.JSON"),
    "file_as_folder": _entry("bundle/models/model.pt/evil"),
    "long_path": _entry("bundle/" + "/".join(["x" * 100] * 10)),
    "long_name": _entry("bundle/" + "x" * 300),
    "symlink": _symlink("bundle/models/link.pt", "/etc/passwd"),
    "symlink_relative": _symlink("bundle/link", "../../.."),
    "symlink_then_write": _link_then_write,
    "fifo": _special(stat.S_IFIFO),
    "device": _special(stat.S_IFBLK),
    "bomb": _entry("bundle/zeros", bytes(80 << 20)),
    "bomb_count": _many,
    "bomb_overlap": _overlap,
    "size_lie": _lie,
    "encrypted": _encrypted,
}
for _name, _change in _ZIPS.items():
    _zip_attack(_name, _change)


@attack("zip_with_nul_in_name")
def _nul(root: Path, canary: Path) -> Path:
    archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("bundle/evil_XX.py", b"x")
    archive.write_bytes(archive.read_bytes().replace(b"evil_XX.py", b"evil_X\0.py"))
    return archive


@attack("zip_in_zip", inert=True)
def _nested(root: Path, canary: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../../canary", bytes(60 << 20))
    archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("bundle/nested.zip", inner.getvalue())
    return archive


def _link_attack(name: str, link: str, target: str) -> None:
    @attack(f"folder_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root / "bundle")
        outside = write_bundle(
            root / "outside", {"network_def": {"_target_": "os.system", "command": f"touch {canary}"}}
        )
        (root / "outside" / "models" / "model.pt").write_bytes(saved(canary))
        place = root / "bundle" / link
        if place.exists():
            place.unlink()
        place.symlink_to(target.replace("{outside}", str(outside)))
        return root / "bundle"


_link_attack("symlink_config", "configs/inference.json", "{outside}/configs/inference.json")
_link_attack("symlink_metadata", "configs/metadata.json", "{outside}/configs/metadata.json")
_link_attack("symlink_weights", "models/model.pt", "{outside}/models/model.pt")
_link_attack("symlink_relative", "models/model.pt", "../../outside/models/model.pt")
_link_attack("symlink_folder", "extra", "{outside}")
_link_attack("symlink_to_parent", "loop", "..")
_link_attack("symlink_dangling", "models/other.pt", "/nowhere/at/all")
_link_attack("symlink_circle", "models/circle.pt", "circle.pt")


@attack("folder_fifo")
def _fifo(root: Path, canary: Path) -> Path:
    write_bundle(root)
    os.mkfifo(root / "models" / "pipe.pt")
    return root
