"""What kind of source the user gave, and the rules that hold for cases of all of them."""

from __future__ import annotations

from pathlib import Path

from meddl.datasets.case import Case
from meddl.datasets.collect.image_names import SCENE_SUFFIXES, suffix_of
from meddl.errors import UsageError, VolumeError


def cases_of(source: Path, pattern: str, exclude: tuple[Path, ...]) -> tuple[Case, ...]:
    """Return the cases of a source, see :func:`meddl.datasets.collect.collect_cases`."""
    try:
        if source.is_file():
            cases = _in_file(source)
        elif source.is_dir():
            from meddl.datasets.collect.folder import folder_cases

            cases = folder_cases(source, pattern, frozenset(path.resolve() for path in exclude))
        else:
            raise UsageError(f"There is no list or folder {source.name!r} of cases. Check its path.")
    except OSError as error:
        raise UsageError(f"{source.name} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except ValueError as error:  # a name that the system cannot have
        raise UsageError("There is no such list or folder of cases. Check its path.") from error
    except VolumeError as error:
        raise UsageError(error.message, error.details) from error
    if not cases:
        raise UsageError(f"{source.name} holds no cases. Give a folder of images with segmentations, of scenes (.mrb) "
                         "or of DICOM files, or a CSV list with a column 'image'.")  # fmt: skip
    _check_distinct(cases)
    return tuple(cases)


def _in_file(source: Path) -> list[Case]:
    if source.name.lower().endswith(SCENE_SUFFIXES):
        from meddl.datasets.collect.scene_file import one_channel_where_names_differ, scene_cases

        return one_channel_where_names_differ(scene_cases(source.absolute()))
    if suffix_of(source.name):
        raise UsageError(f"{source.name} is an image, not a list of cases. Give the folder it lies in, or a CSV list.")
    from meddl.datasets.collect.csv_list import listed_cases

    return listed_cases(source)


def _check_distinct(cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise UsageError(f"The case {case.id!r} is there twice. Give each a name of its own.")
        seen.add(case.id)
