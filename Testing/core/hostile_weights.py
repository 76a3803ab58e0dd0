"""Attacks by files of weights."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.hostile_bundles import Payload, attack, state_dict_bytes, write_bundle


def _weights_attack(name: str, file: str, content: Callable[[Path], bytes]) -> None:
    @attack(f"weights_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root, weights=False)
        (root / "models" / file).write_bytes(content(canary))
        return root


def _plain_pickle(canary: Path) -> bytes:
    return pickle.dumps(Payload(canary), protocol=2)


def saved(canary: Path) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(1)}, "evil": Payload(canary)}, buffer)
    return buffer.getvalue()


def _saved_legacy(canary: Path) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"evil": Payload(canary)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _whole_module(canary: Path) -> bytes:
    import torch
    from monai.networks.nets import UNet

    buffer = io.BytesIO()
    torch.save(UNet(3, 1, 2, [4, 8], [2]), buffer)
    return buffer.getvalue()


def _tar(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Payload(canary), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def torchscript_bytes(canary: Path) -> bytes:
    """A TorchScript program that writes the canary while it is loaded."""
    import torch

    class Evil(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path
            self.training = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.path = state[0]
            self.training = state[1]
            torch.save(torch.ones(1), state[0])

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Evil(str(canary))), buffer)
    return buffer.getvalue()


def _torchscript_renamed(canary: Path) -> bytes:
    """The same program with the entries' letters in another case, to slip past a check of names."""
    source, target = io.BytesIO(torchscript_bytes(canary)), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("constants.pkl", "CONSTANTS.PKL"), old.read(name))
    return target.getvalue()


def _pickle_before_zip(canary: Path) -> bytes:
    return _plain_pickle(canary) + state_dict_bytes()


def _zip_before_pickle(canary: Path) -> bytes:
    return state_dict_bytes() + _plain_pickle(canary)


def _sparse(canary: Path) -> bytes:
    """A tensor whose indices lead out of it."""
    import torch

    buffer = io.BytesIO()
    indices = torch.tensor([[10**9]])
    tensor = torch.sparse_coo_tensor(indices, torch.ones(1), (2 * 10**9,), check_invariants=True)
    torch.save({"a": tensor}, buffer)
    return buffer.getvalue()


def _two_pickles(canary: Path) -> bytes:
    buffer = io.BytesIO(state_dict_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data.pkl", _plain_pickle(canary))
        archive.writestr("evil/data.pkl", _plain_pickle(canary))
    return buffer.getvalue()


def _weights_bomb(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", state_dict_bytes()[:10])
        archive.writestr("archive/data/0", bytes(120 << 20))
    return buffer.getvalue()


for _file in ("model.pt", "model.pth", "model.ckpt", "model.safetensors", "model.bin", "model.pkl", "model.ts"):
    _weights_attack(f"pickle_{_file}", _file, _plain_pickle)
    _weights_attack(f"saved_{_file}", _file, saved)
_weights_attack("legacy", "model.pt", _saved_legacy)
_weights_attack("whole_module", "model.pt", _whole_module)
_weights_attack("tar", "model.pt", _tar)
_weights_attack("torchscript_as_pt", "model.pt", torchscript_bytes)
_weights_attack("torchscript_as_safetensors", "model.safetensors", torchscript_bytes)
_weights_attack("torchscript_renamed", "model.pt", _torchscript_renamed)
_weights_attack("pickle_before_zip", "model.pt", lambda canary: _plain_pickle(canary) + saved(canary))
_weights_attack("zip_before_pickle", "model.pt", lambda canary: saved(canary) + _plain_pickle(canary))
_weights_attack("two_pickles", "model.pt", _two_pickles)
_weights_attack("zip_bomb", "model.pt", _weights_bomb)
_weights_attack("pickle_steps", "model.pt", lambda canary: b"\x80\x02" + b"N0" * (8 << 20) + b"N.")
_weights_attack("sparse", "model.pt", _sparse)
_weights_attack("header_size", "model.safetensors", lambda canary: struct.pack("<Q", 2**62) + b"{" + bytes(100))


@attack("weights_torchscript_network")
def _torchscript_network(root: Path, canary: Path) -> Path:
    write_bundle(
        root, {"network_def": {"_target_": "torch.jit.load", "f": "$@bundle_root + '/models/model.ts'"}}, weights=False
    )
    (root / "models" / "model.ts").write_bytes(torchscript_bytes(canary))
    return root


@attack("weights_named_by_checkpoint_path")
def _checkpoint_path(root: Path, canary: Path) -> Path:
    write_bundle(root, {"ckpt_path": "$@bundle_root + '/models/other.pt'"})
    (root / "models" / "other.pt").write_bytes(saved(canary))
    return root
