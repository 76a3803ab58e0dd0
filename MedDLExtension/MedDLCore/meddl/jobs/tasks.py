"""From a task's name to its result."""

from __future__ import annotations

import importlib
import os
import platform
import re
from collections.abc import Callable, Mapping
from typing import Any

import meddl
from meddl.errors import JobError, MedDLError, UsageError, from_dict, to_dict

from .context import JobContext

Task = Callable[[dict[str, Any], JobContext], dict[str, Any]]

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def check_task_name(name: str) -> None:
    """Raise :class:`UsageError` unless ``name`` reads like ``"package.module:function"``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"A task is named like 'package.module:function', not {name!r}.")


def run_task(name: str, params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Call the task ``name`` and return its result; errors of the task pass through unchanged.

    Raises:
        JobError: there is no such task, or it returned something else than a dict.
    """
    result = _find(name)(params, context)
    if not isinstance(result, Mapping):
        raise JobError(f"The task {name} returned a {type(result).__name__} where a dict is due.")
    return dict(result)


def as_meddl_error(error: Exception) -> MedDLError:
    """Return ``error`` itself, or for an error of another family what a worker would tell of it."""
    return error if isinstance(error, MedDLError) else from_dict(to_dict(error))


def about(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """A task that tells who runs it: process id, versions of Python and MedDL, number of models kept."""
    return {
        "process": os.getpid(),
        "python": platform.python_version(),
        "meddl": meddl.__version__,
        "cached_models": len(context.cache),
    }


def _find(name: str) -> Task:
    check_task_name(name)
    module_name, function_name = name.split(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise JobError(f"The task {name} could not be loaded: {error}") from error
