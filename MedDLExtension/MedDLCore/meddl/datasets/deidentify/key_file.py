"""The key of a de-identified dataset: who is who. It lies outside of the dataset, or is never written at all."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from meddl.datasets.options import key_outside
from meddl.errors import UnwritableDataset, UsageError
from meddl.spreadsheet import safe_cell

_TITLE = "MedDL key"
_WARNING = "Whoever has this file can tell who the cases of the dataset are. Keep it apart from the dataset."
_SECRET = "secret"
_COLUMNS = ("name", "patient in dataset", "case", "patient", "study", "files")
_BETWEEN_FILES = " | "
_BYTES = 32
_LARGEST = 1 << 28


@dataclass(frozen=True)
class KeyRow:
    """Who one case of the dataset is.

    Attributes:
        name: in the dataset, for instance "case_0007".
        dataset_patient: in the dataset, for instance "patient_0003".
        case: the case's own id.
        patient, study: as they were collected, "" where nobody knew.
        files: the files that it was made from.
    """

    name: str
    dataset_patient: str
    case: str
    patient: str = ""
    study: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """What undoes the de-identification of a dataset.

    Attributes:
        secret: 32 bytes; made-up UIDs and shifts of dates are derived from it, so that a second run makes the same.
        rows: of the cases, in the order of their names in the dataset.
    """

    secret: bytes = field(repr=False)
    rows: tuple[KeyRow, ...] = ()

    def with_rows(self, rows: Iterable[KeyRow]) -> Key:
        """Return the key with ``rows`` added; a row takes the place of one of the same name."""
        merged = {row.name: row for row in (*self.rows, *rows)}
        return Key(self.secret, tuple(merged[name] for name in sorted(merged)))


def new_key() -> Key:
    """Return a key with a secret that nobody can guess, and no case yet."""
    return Key(secrets.token_bytes(_BYTES))


def secret_of(texts: Iterable[str]) -> bytes:
    """Return a secret for a dataset without a key: derived from what identifies its cases, which it does not hold.

    The same cases give the same secret, so that a second run makes the same bytes. It is as good as ``texts`` are hard
    to guess: give names and IDs together with the UIDs of the studies. Where that is not enough, keep a key file.
    """
    digest = hashlib.sha256()
    for text in sorted(set(texts)):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def derived(secret: bytes, purpose: str, text: str) -> bytes:
    """Return 32 bytes that depend on ``text`` and tell nothing about it to those who do not have the secret."""
    data = text.encode("utf-8", "surrogatepass")
    return hmac.new(secret, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


def write_key(key: Key, path: Path, dataset: Path) -> None:
    """Write the key file, a table that people can open; on systems that know owners only the owner may read it.

    Args:
        dataset: folder of the dataset, in which the key must not lie.

    Raises:
        UsageError: it lies there.
        UnwritableDataset: the file cannot be written; one that was there is left as it was.
    """
    key_outside(path, dataset)
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow([_TITLE, "1", _WARNING])
    table.writerow([_SECRET, f"hex:{key.secret.hex()}"])
    table.writerow(_COLUMNS)
    for row in key.rows:
        cells = (row.name, row.dataset_patient, row.case, row.patient, row.study, _BETWEEN_FILES.join(row.files))
        table.writerow([_written(cell) for cell in cells])
    # utf-8-sig: without the mark, spreadsheets take names for another encoding.
    _write_privately(text.getvalue().encode("utf-8-sig", "surrogateescape"), path)


def read_key(path: Path) -> Key:
    """Return the key that :func:`write_key` wrote.

    Raises:
        UsageError: there is no such file, or it is no key.
    """
    no_key = UsageError("The file chosen as the key is no key of a MedDL dataset, or it was changed. Choose another "
                        "one, or a new name for a new key.")  # fmt: skip
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > _LARGEST):
            raise no_key
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UsageError(f"The key file could not be read: {error.strerror}. Choose another one.") from error
    try:
        # A spreadsheet that has saved it may have changed the separator.
        dialect = ";" if text.startswith(f"{_TITLE};") else ","
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect, strict=True))
        secret = bytes.fromhex(lines[1][1].removeprefix("hex:"))
        known = lines[0][0] == _TITLE and lines[1][0] == _SECRET and tuple(lines[2][: len(_COLUMNS)]) == _COLUMNS
    except (csv.Error, IndexError, ValueError) as error:
        raise no_key from error
    if not known or len(secret) != _BYTES:
        raise no_key
    rows = []
    for line in lines[3:]:
        if not any(line):
            continue
        if len(line) < len(_COLUMNS) or not line[0] or set("/\\") & {*line[0], *line[1]}:  # they become paths
            raise no_key
        name, patient_in_dataset, case, patient, study, files = (_read(cell) for cell in line[: len(_COLUMNS)])
        each = tuple(file for file in files.split(_BETWEEN_FILES) if file)
        rows.append(KeyRow(name, patient_in_dataset, case, patient, study, each))
    return Key(secret, tuple(rows))


def _written(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; one that begins like a guarded one is guarded too."""
    return f"'{cell}" if cell.startswith("'") else str(safe_cell(cell))


def _read(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell


def _write_privately(data: bytes, path: Path) -> None:
    """Write a file in one step that nobody but its owner could ever read, not even while it was written."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = "its folder does not exist" if not path.parent.is_dir() else error.strerror or "the system refused it"
        raise UnwritableDataset(f"The key file could not be written: {reason}. Choose another place.") from error
