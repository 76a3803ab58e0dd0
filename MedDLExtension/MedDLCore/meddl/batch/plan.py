"""What a batch has to do, checked before it begins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl import computer
from meddl.batch.cases import BatchCase, cases_from
from meddl.batch.naming import safe_name, safe_names
from meddl.errors import UsageError, VolumeError
from meddl.inference.options import Engine, RunOptions
from meddl.volume import whole_file

if TYPE_CHECKING:
    from meddl.models import ModelBundle

MANY_CASES = 8
"""From so many on, the batch of a user who chose no engine converts its networks for OpenVINO, where that is there."""
SPARE_BYTES = 100_000_000
"""What is left free on the disk for others."""
_BATCH = "batch.json"
_LABELS_SHARE, _VOXELS_SHARE = 0.2, 2.0
"""Size of a result relative to its (mostly compressed) image: labels, and maps or images of float32."""


@dataclass(frozen=True)
class BatchUnit:
    """A case with the model, or the ensemble, that it is to be run with."""

    case: BatchCase
    title: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class BatchPlan:
    """What is to be done, checked as far as it can be without looking at the images."""

    units: tuple[BatchUnit, ...]
    folder: Path


def plan_batch(
    source: Path | Sequence[BatchCase],
    models: Sequence[str],
    output: Path,
    *,
    ensemble: bool = False,
    options: RunOptions | None = None,
    suffix: str = "",
    dicom_kind: str = "BINARY",
    trust_file: Path | None = None,
) -> BatchPlan:
    """Find out what a batch has to do, and whether it can: cases, models, names of results, room on the disk.

    The results of a model go to a folder of its name in ``output``, each named after its case.

    Args:
        source: a list or a folder (see :func:`cases_from`), or the cases.
        models: catalog ids or paths; a case may name others.
        ensemble: join the answers of all models into one, instead of one result for each.
        suffix: what to write, for instance ".nii.gz"; by default what is usual for the task.

    Raises:
        UsageError, ModelError, VolumeError: the batch cannot be run as it is.
    """
    from meddl.inference.files import SUFFIXES, suffix_for
    from meddl.inference.joining import check_joined
    from meddl.models import TrustStore, resolve_model, without_consent

    output = output.expanduser().absolute()
    bundles: dict[str, ModelBundle] = {model: resolve_model(model) for model in models}
    channels = next((bundle.channels for bundle in bundles.values()), ())
    cases = (
        cases_from(source.expanduser().absolute(), channels, exclude=[output])
        if isinstance(source, Path)
        else tuple(source)
    )
    lacking = next((case.id for case in cases if not case.models and not models), None)
    if lacking is not None:
        raise UsageError(f"The case {lacking!r} names no model, and none is given for all.")
    for case in cases:
        for model in case.models:
            if model not in bundles:
                bundles[model] = resolve_model(model)
    _check_columns(cases, bundles)
    trust = TrustStore(trust_file) if trust_file else TrustStore()
    for bundle in bundles.values():
        report = bundle.check()
        report.raise_if_broken()
        if report.needs_trust and not trust.is_trusted(bundle):
            raise without_consent(bundle, report.needs_trust)
        if suffix:
            suffix_for(Path(f"case{suffix}"), bundle.task)
    make_folder(output)
    folders = _folders(bundles)
    names = dict(zip((case.id for case in cases), safe_names(case.id for case in cases), strict=True))
    options = options or RunOptions()
    created, engine = _begun(output, len(cases), options.device)
    if options.engine == "auto":
        options = replace(options, engine=engine)
    units = []
    for case in cases:
        chosen = list(case.models or models)
        for group in [chosen] if ensemble else [[model] for model in chosen]:
            joined = len(group) > 1
            if joined:
                check_joined([bundles[model] for model in group])
            units.append(
                BatchUnit(
                    case,
                    " + ".join(dict.fromkeys(bundles[model].name for model in group)),
                    {
                        "case": case.id,
                        "name": names[case.id],
                        "inputs": {key: str(path) for key, path in case.inputs.items()},
                        "series_uid": case.series_uid,
                        "reference": str(case.reference) if case.reference else None,
                        "models": [_anywhere(model) for model in group],
                        "options": options.to_dict(),
                        "of": len(cases),
                        "folder": str(output / ("ensemble" if joined else folders[group[0]])),
                        "suffix": suffix or SUFFIXES[bundles[group[0]].task][0],
                        "dicom_kind": dicom_kind,
                        "created": created,
                        "trust_file": str(trust_file) if trust_file else None,
                    },
                )
            )
    _check_room(units, output, options, {bundle.task for bundle in bundles.values()})
    return BatchPlan(tuple(units), output)


def _check_columns(cases: Sequence[BatchCase], bundles: Mapping[str, ModelBundle]) -> None:
    """Refuse images under a name that is no model's channel: a column that is misspelled, or no image at all."""
    known = {channel.name.lower() for bundle in bundles.values() for channel in bundle.channels} | {"image"}
    for case in cases:
        for name in case.inputs:
            if name.lower() not in known:
                raise UsageError(
                    f"{name!r} is no image that the models take. Call the images {', '.join(sorted(known))}, and leave "
                    "other columns out of the list."
                )


def _folders(bundles: Mapping[str, ModelBundle]) -> dict[str, str]:
    """Return a folder name for each model, its id in the catalog where it has one; different models never share one."""
    digests = {model: bundle.digest for model, bundle in bundles.items()}
    plain = {model: safe_name(bundle.name if _is_path(model) else model) for model, bundle in bundles.items()}
    return {
        model: name
        if len({digests[other] for other in plain if plain[other].casefold() == name.casefold()}) == 1
        and name.casefold() != "ensemble"
        else f"{name}-{digests[model][:8]}"
        for model, name in plain.items()
    }


def _anywhere(model: str) -> str:
    """Return a model's name, or its path in full: workers may run in another folder."""
    path = Path(model).expanduser()
    try:
        return str(path.absolute()) if path.exists() and _is_path(model) else model
    except OSError:
        return model


def _is_path(model: str) -> bool:
    """Say whether a model that also exists as a path here is meant as one: the catalog's ids come first."""
    from meddl.models import Catalog

    return not any(entry.id == model for entry in Catalog.default().entries())


def make_folder(folder: Path) -> None:
    """Make a folder of results, and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VolumeError(
            f"The folder {folder.name} could not be made: {error.strerror}. Choose another place."
        ) from error


def _begun(output: Path, cases: int, device: str) -> tuple[str, Engine]:
    """Return when the batch in a folder was first started, and the engine it runs on where the user chose none.

    What is made again later has to be the same, to the byte: times in DICOM files, and the last bit of a score, in
    which engines differ.
    """
    path = output / _BATCH
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        created = datetime.fromisoformat(told["created"]).isoformat()
        if told["engine"] in ("torch", "openvino"):
            return created, told["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        created = datetime.now().replace(microsecond=0).isoformat()
    # Converting a network takes as long as some cases.
    on_processor = device == "cpu" or (device == "auto" and not computer.gpus())
    engine: Engine = "openvino" if cases >= MANY_CASES and on_processor and find_spec("openvino") else "torch"
    with whole_file(path) as file:
        file.write(json.dumps({"created": created, "engine": engine}).encode())
    return created, engine


def _check_room(units: Sequence[BatchUnit], output: Path, options: RunOptions, tasks: set[str]) -> None:
    """Refuse a batch whose results would not fit on the disk, by a rough but generous guess from the images' sizes."""
    share = _LABELS_SHARE
    if options.probabilities or options.uncertainty != "none" or "reconstruction" in tasks:
        share += _VOXELS_SHARE
    need = int(sum(_size(Path(path)) * share for unit in units for path in list(unit.params["inputs"].values())[:1]))
    free = shutil.disk_usage(output).free
    if free < need + SPARE_BYTES:
        raise UsageError(
            f"The results need about {(need + SPARE_BYTES) / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free where "
            "they are to go. Make room, or choose another disk."
        )


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
        return path.stat().st_size
    except OSError:
        return 0  # its case will tell
