"""An explanation as files: maps as images, all that is known of them as JSON and as tables.

The files hold no times: the same explanation gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import UsageError, VolumeError
from meddl.inference.files import LASTING, SUFFIXES, VOLUME_SUFFIXES, write_prediction
from meddl.inference.prediction import Prediction
from meddl.saliency.anatomy import anatomy_sentence
from meddl.saliency.attribution import Attribution
from meddl.saliency.colors import scale_of
from meddl.saliency.explanation import Explanation
from meddl.spreadsheet import safe_cell
from meddl.volume import whole_file, write_volume

INDEX = "explanation.json"
"""Written last: where it is, the other files are whole."""

TABLES = ("anatomy.csv", "measures.csv")
REPORTS = ("report.html", "report.pdf")

_VOXELS = ("labels", "probabilities", "image", "difference", "segments", "provenance")
_PASSING = ("seconds",)


def write_explanation(explanation: Explanation, folder: Path, *, suffix: str = ".nrrd") -> tuple[Path, ...]:
    """Write an explanation into a folder; files of an earlier one of the same names are replaced.

    - ``METHOD.nrrd``: each map, on the grid of the image; ``METHOD_channels.nrrd`` by input channel where there are
      several.
    - ``answer.*``: what the model answered, as ``meddl infer`` writes it.
    - ``anatomy.csv`` and ``measures.csv``: shares of structures, and how far to believe the maps, where they are known.
    - ``explanation.json``: all of it but the voxels.

    What an earlier explanation has left in the folder and this one does not write again is removed; tables and reports
    that nobody knows of are left alone.

    Args:
        folder: is made where it is missing; its parent has to be there.
        suffix: of the maps, one of :data:`meddl.inference.files.VOLUME_SUFFIXES`.

    Returns:
        The files, the maps first.

    Raises:
        UsageError: another suffix, or the folder holds files of these names that are no explanation's.
        VolumeError: a file cannot be written.
    """
    check_suffix(suffix)
    folder = Path(folder)
    check_folder(folder)
    _make(folder)
    _forget_former(folder)
    written: list[Path] = []
    maps: dict[str, str] = {}
    for attribution in explanation.attributions:
        maps[attribution.method] = f"{attribution.method}{suffix}"
        written.append(folder / maps[attribution.method])
        write_volume(attribution.map, written[-1], facts=_header(attribution))
        if attribution.channels is not None:
            written.append(folder / f"{attribution.method}_channels{suffix}")
            write_volume(attribution.channels, written[-1], facts=_header(attribution), channels=_kind(suffix))
    answer = folder / f"answer{SUFFIXES[explanation.prediction.task][0]}"
    written += write_prediction(explanation.prediction, answer)
    try:
        for name, table in zip(TABLES, (_anatomy(explanation), _measures(explanation)), strict=True):
            if len(table) > 1:
                written.append(folder / name)
                _write(written[-1], _csv(table))
        written.append(folder / INDEX)
        facts = {**facts_of(explanation), "files": {"maps": maps, "answer": answer.name}}
        _write(written[-1], json.dumps(facts, indent=1, sort_keys=True, default=str) + "\n")
    except BaseException:
        for name in TABLES:  # without an index nobody would know whose they are
            (folder / name).unlink(missing_ok=True)
        raise
    return tuple(written)


def check_suffix(suffix: str) -> None:
    """Find out, before long work, whether maps can be written with a suffix.

    Raises:
        UsageError: they cannot.
    """
    if suffix not in VOLUME_SUFFIXES:
        raise UsageError(f"Maps cannot be written as {suffix!r}. Choose one of {', '.join(VOLUME_SUFFIXES)}.")


def check_folder(folder: Path) -> None:
    """Find out, before long work, whether an explanation can be written into a folder.

    Raises:
        UsageError: it is no folder, cannot be made or written to, or holds files of these names that are no
            explanation's.
    """
    try:
        if not folder.is_dir():
            if _is_there(folder):
                raise UsageError(f"{folder.name} is a file. Choose a folder.")
            if not folder.absolute().parent.is_dir():
                raise UsageError(f"The folder for {folder.name} does not exist. Make it first.")
        exists = folder.is_dir()
        if not os.access(folder if exists else folder.absolute().parent, os.W_OK | os.X_OK):
            raise UsageError(f"{folder.name or 'This folder'} cannot be written to. Choose another one.")
        is_ours = (folder / INDEX).exists()
        foreign = [name for name in (*TABLES, *REPORTS) if not is_ours and (folder / name).exists()]
    except (OSError, ValueError) as error:
        raise UsageError("There can be no folder of that name. Choose another one.") from error
    if foreign:
        raise UsageError(
            f"{folder.name or 'The folder'} holds a file {foreign[0]} that is not of a finished explanation, and would "
            "be overwritten. Remove it, or choose another folder."
        )


def facts_of(explanation: Explanation, *, times: bool = False) -> dict[str, Any]:
    """Return all of an explanation but the voxels, as JSON data.

    Args:
        times: with the times that it took, and when it was made.
    """
    prediction = explanation.prediction
    provenance = prediction.provenance
    return {
        "prediction": _answer(prediction),
        "attributions": [attribution_facts(each, times=times) for each in explanation.attributions],
        "agreement": [asdict(each) for each in explanation.agreement],
        "counterfactuals": [asdict(each) for each in explanation.counterfactuals],
        "left_out": dict(explanation.left_out),
        "provenance": {key: provenance[key] for key in provenance if times or key in LASTING},
    }


def attribution_facts(attribution: Attribution, *, times: bool = False) -> dict[str, Any]:
    """Return all of a map but the voxels: what was explained, how, where it lies and how far to believe it."""
    from meddl.saliency.report.planes import peak_of

    values = attribution.map.array[0]
    index = peak_of(values)
    place = attribution.map.affine[:3, :3] @ index + attribution.map.affine[:3, 3]
    how = attribution.provenance.get("explanation")
    return {
        "method": attribution.method,
        "target": attribution.target,
        "score": float(attribution.score),
        "signed": attribution.signed,
        "peak": {"ras_mm": [round(float(each), 4) for each in place], "value": float(values[index])},
        "scale_end": scale_of(values),
        "positive": float(values.clip(min=0).sum(dtype=np.float64)),
        "negative": float(values.clip(max=0).sum(dtype=np.float64)),
        "facts": {key: value for key, value in attribution.facts.items() if times or key not in _PASSING},
        "notes": list(attribution.notes),
        "measures": [asdict(each) for each in attribution.measures],
        "anatomy": [asdict(each) for each in attribution.anatomy],
        "anatomy_sentence": anatomy_sentence(attribution.anatomy) if attribution.anatomy else "",
        "options": dict(how) if isinstance(how, Mapping) else {},
    }


def _is_there(path: Path) -> bool:
    """Tell whether there is anything, even a link to nothing.

    Raises:
        OSError, ValueError: nothing can have this name.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = error.strerror or "the system refused it"
        raise VolumeError(f"The folder {folder.name} could not be made: {reason}. Choose another place.") from error


def _forget_former(folder: Path) -> None:
    """Remove the files of an earlier explanation, its index first: without one, nothing else counts."""
    index = folder / INDEX
    try:
        known = json.loads(index.read_text("utf-8"))["files"]
        named = [known["answer"], *known["maps"].values()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        named = []
    former = [name for name in named if isinstance(name, str) and Path(name).name == name]
    former += [f"{name[: -len(end)]}_channels{end}" for name in former for end in VOLUME_SUFFIXES if name.endswith(end)]
    try:
        if index.exists():
            for name in (INDEX, *TABLES, *REPORTS, *former):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or "the system refused it"
        raise VolumeError(f"An earlier explanation could not be replaced: {reason}. Choose another folder.") from error


def _answer(prediction: Prediction) -> dict[str, Any]:
    data = {key: value for key, value in prediction.to_dict().items() if key not in _VOXELS and value is not None}
    if data.get("uncertainty"):
        data["uncertainty"].pop("entropy", None)
    return data


def _header(attribution: Attribution) -> dict[str, str]:
    model = attribution.provenance.get("model")
    model = model if isinstance(model, Mapping) else {}
    software = attribution.provenance.get("software")
    facts = {
        "MedDL.Explanation": attribution.method,
        "MedDL.Target": attribution.target,
        "MedDL.Score": repr(float(attribution.score)),
        "MedDL.Model": model.get("name"),
        "MedDL.ModelVersion": model.get("version"),
        "MedDL.ModelSha256": model.get("sha256"),
        "MedDL.Version": software.get("meddl") if isinstance(software, Mapping) else None,
    }
    return {key: str(value) for key, value in facts.items() if value}


def _kind(suffix: str) -> Any:
    return "vector" if suffix == ".mha" else "list"


def _anatomy(explanation: Explanation) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = [("method", "structure", "positive", "negative", "density", "volume (ml)")]
    for attribution in explanation.attributions:
        for each in attribution.anatomy:
            numbers = (each.positive, each.negative, each.density, each.volume_ml)
            rows.append((attribution.method, each.name, *(_rounded(number) for number in numbers)))
    return rows


def _measures(explanation: Explanation) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = [("method", "measure", "value", "random map", "verdict", "in words")]
    listed = [(each.method, measure) for each in explanation.attributions for measure in each.measures]
    listed += [("", measure) for measure in (*explanation.agreement, *explanation.counterfactuals)]
    for method, each in listed:
        value, random = ("" if number is None else _rounded(number) for number in (each.value, each.random))
        rows.append((method, each.name, value, random, each.verdict, each.sentence))
    return rows


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[safe_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))
