"""The family of errors a user may see: each has a sentence for the user and details for the log."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any


class MedDLError(Exception):
    """Base of all errors MedDL raises on purpose.

    Args:
        message: one or two sentences for the user: what is wrong, why, what to do now.
        details: technical text for the log, for instance a traceback of the cause.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class VolumeError(MedDLError):
    """An image that cannot be read or cannot be placed in space."""


class UnwritableDataset(VolumeError):
    """A dataset's folder takes no more: disk full, no rights, drive gone. The next case fares no better."""


class ModelError(MedDLError):
    """A model that is broken, incomplete or not understood."""


class UntrustedModelError(ModelError):
    """A model that would run code of its own, which the user has not yet consented to.

    Args:
        reasons: one line per place that needs trust, naming the file and key.
    """

    def __init__(self, message: str, details: str = "", reasons: Sequence[str] = ()) -> None:
        super().__init__(message, details)
        self.reasons = tuple(reasons)


class DownloadError(MedDLError):
    """Something could not be fetched, or arrived with the wrong checksum."""


class UsageError(MedDLError):
    """Arguments that do not fit together; the command line exits with 2."""


class JobError(MedDLError):
    """A job failed."""


class JobCancelled(JobError):
    """A job was stopped on the user's request."""


class WorkerDied(JobError):
    """The worker process ended in the middle of a job."""


class OutOfMemory(JobError):
    """There was not enough memory on the device, whatever was tried."""


_TYPES: dict[str, type[MedDLError]] = {
    cls.__name__: cls
    for cls in (
        MedDLError, VolumeError, UnwritableDataset, ModelError, UntrustedModelError, DownloadError, UsageError,
        JobError, JobCancelled, WorkerDied, OutOfMemory,
    )
}  # fmt: skip


def to_dict(error: BaseException) -> dict[str, Any]:
    """Return ``error`` as JSON-able data; an error of a foreign type becomes a :class:`JobError` with its traceback."""
    if isinstance(error, MedDLError):
        data: dict[str, Any] = {
            "type": type(error).__name__ if type(error).__name__ in _TYPES else "MedDLError",
            "message": error.message,
            "details": error.details,
        }
        if isinstance(error, UntrustedModelError):
            data["reasons"] = list(error.reasons)
        return data
    out_of_memory = is_out_of_memory(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    unforeseen = f"Something failed that MedDL did not foresee ({what}). The log has the details."
    return {
        "type": "OutOfMemory" if out_of_memory else "JobError",
        "message": f"There was not enough memory ({what})." if out_of_memory else unforeseen,
        "details": "".join(traceback.format_exception(error)),
    }


def from_dict(data: Mapping[str, Any]) -> MedDLError:
    """Return the error that :func:`to_dict` described."""
    cls = _TYPES.get(str(data.get("type")), JobError)
    if cls is UntrustedModelError:
        return UntrustedModelError(str(data["message"]), str(data.get("details", "")), data.get("reasons", ()))
    return cls(str(data["message"]), str(data.get("details", "")))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether ``error`` is Python's, torch's or a driver's way of saying that memory ran out."""
    # torch's own class is known by its name: this module must not import torch. On the CPU it raises RuntimeError.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)
