"""Running a batch: what is to be done, doing it whatever becomes of a case, and the summary."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl import computer
from meddl.batch.cases import BatchCase, cases_from
from meddl.batch.naming import safe_name, safe_names
from meddl.batch.records import forget_attempt, sweep
from meddl.batch.seats import InProcess, Seats, Work
from meddl.errors import JobCancelled, MedDLError, OutOfMemory, UsageError, VolumeError, WorkerDied
from meddl.inference.options import Engine, RunOptions
from meddl.volume import whole_file

if TYPE_CHECKING:
    from meddl.models import ModelBundle

logger = logging.getLogger(__name__)

SUMMARY = "summary.csv"
_BATCH = "batch.json"
MANY_CASES = 8
"""From so many on, the batch of a user who chose no engine converts its networks for OpenVINO, where that is there."""
_LOCK = ".batch.lock"
_SPARE_BYTES = 100_000_000
"""What is left free on the disk for others."""

_LABELS_SHARE, _VOXELS_SHARE = 0.2, 2.0
"""Size of a result relative to its (mostly compressed) image: labels, and maps or images of float32."""

Progress = Callable[[float, str], None]
__all__ = ["BatchPlan", "BatchSummary", "CaseResult", "InProcess", "plan_batch", "run_batch"]


@dataclass(frozen=True)
class CaseResult:
    """What became of one case with one model (or ensemble).

    Attributes:
        case: its name.
        model: the model's name.
        status: "done", "skipped" (it was done before), "failed", "cancelled" or "not run".
        record: of a case that is done, see :func:`meddl.batch.task.run_case`.
        error: the sentence for a case that failed.
    """

    case: str
    model: str
    status: str
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class BatchSummary:
    """All results in the order of the cases, and where they are.

    Attributes:
        results: one for each case and model.
        folder: of the results.
        stopped: why the batch ended early, or "".
    """

    results: tuple[CaseResult, ...]
    folder: Path
    stopped: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many cases came to which end."""
        return dict(Counter(result.status for result in self.results))

    @property
    def path(self) -> Path:
        """The table: :data:`SUMMARY` in the folder."""
        return self.folder / SUMMARY

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: a row per case and model, with all facts that any of them has."""
        rows = []
        for result in self.results:
            record = result.record
            model = (record.get("provenance") or {}).get("model") or {}
            rows.append(
                {
                    "case": result.case,
                    "model": result.model,
                    "model version": model.get("version", ""),
                    "status": result.status,
                    **dict(record.get("row") or {}),
                    "seconds": record.get("seconds", ""),
                    "warnings": " ".join(record.get("warnings") or ()),
                    "notes": " ".join(record.get("notes") or ()),
                    "error": result.error,
                    "files": " ".join(record.get("files") or ()),
                    "model sha256": model.get("sha256", ""),
                }
            )
        return rows

    def write(self) -> None:
        """Write the table to :attr:`path`, whole or not at all."""
        rows = self.rows()
        first = ["case", "model", "model version", "status"]
        last = ["seconds", "warnings", "notes", "error", "files", "model sha256"]
        facts = list(dict.fromkeys(key for row in rows for key in row if key not in (*first, *last)))
        text = io.StringIO()
        columns = [*first, *facts, *last]
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writerow({key: _cell(key) for key in columns})  # structures' names come from the model
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        with whole_file(self.path) as file:
            file.write(text.getvalue().encode("utf-8"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as the job's result carries it."""
        counts = self.counts
        return {
            "rows": self.rows(),
            "counts": counts,
            **{status: counts.get(status, 0) for status in ("done", "skipped", "failed")},
            "errors": [{"case": each.case, "message": each.error} for each in self.results if each.status == "failed"],
            "summary": self.path,
            "stopped": self.stopped,
            "cancelled": "cancelled" in counts,
        }


@dataclass(frozen=True)
class _Unit:
    """A case with the model, or the ensemble, that it is to be run with."""

    case: BatchCase
    title: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class BatchPlan:
    """What is to be done, checked as far as it can be without looking at the images."""

    units: tuple[_Unit, ...]
    folder: Path
    notes: tuple[str, ...] = ()


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
    trust = TrustStore(trust_file) if trust_file else TrustStore()
    for bundle in bundles.values():
        report = bundle.check()
        report.raise_if_broken()
        if report.needs_trust and not trust.is_trusted(bundle):
            raise without_consent(bundle, report.needs_trust)
        if suffix:
            suffix_for(Path(f"case{suffix}"), bundle.task)
    _make(output)
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
            units.append(
                _Unit(
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


def run_batch(
    plan: BatchPlan,
    *,
    seats: Seats | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    log: Callable[[str], None] | None = None,
) -> BatchSummary:
    """Work on all cases; what goes wrong with one is written down and never stops the others.

    Args:
        seats: where the work is done; by default in this process, one case after the other. They are closed at the end.
        progress: fraction of all cases, and one line of text, which names no case.
        cancelled: asked all the time. What is finished stays, and the same batch goes on from there later.
        log: one line for each case.

    Returns:
        The summary, which is written to the folder too, after each case anew.

    Raises:
        UsageError: another batch is writing to the folder.
    """
    from meddl.jobs import JobContext
    from meddl.models.file_lock import locked

    def busy() -> None:
        raise UsageError("Another batch is writing to this folder now. Choose another one, or wait until it is done.")

    seats = seats or InProcess(JobContext(is_cancelled=cancelled or _never))
    try:
        with locked(plan.folder / _LOCK, waiting=busy):
            for folder in {str(unit.params["folder"]) for unit in plan.units}:
                _make(Path(folder))
                sweep(Path(folder))
            return _Run(plan, seats, progress or _silent, cancelled or _never, log or _unlogged).work()
    finally:
        seats.close()


class _Run:
    """The state of a batch while it runs."""

    def __init__(
        self,
        plan: BatchPlan,
        seats: Seats,
        progress: Progress,
        cancelled: Callable[[], bool],
        log: Callable[[str], None],
    ) -> None:
        self._plan, self._seats = plan, seats
        self._progress, self._cancelled, self._log = progress, cancelled, log
        self._results: list[CaseResult | None] = [None] * len(plan.units)
        self._shares: dict[int, float] = {}

    def work(self) -> BatchSummary:
        pending, running = deque(range(len(self._plan.units))), dict[int, Work]()
        stopped = ""
        try:
            while pending or running:
                if self._cancelled():
                    raise JobCancelled("The batch was cancelled.")
                while pending and self._seats.free and not self._cancelled():
                    if shutil.disk_usage(self._plan.folder).free < _SPARE_BYTES:
                        stopped = "The disk of the results is full. Make room and start the batch again: it goes on."
                        pending.clear()
                        break
                    index = pending.popleft()
                    running[index] = self._seats.submit(dict(self._plan.units[index].params), self._teller(index))
                    self._collect(running)
                self._seats.turn()
                self._collect(running)
        except (JobCancelled, KeyboardInterrupt) as error:
            summary = self._summary("The batch was cancelled. Start it again, and it goes on.", "cancelled")
            summary.write()
            self._seats.close()
            for index in running:
                params = self._plan.units[index].params
                forget_attempt(Path(params["folder"]), str(params["name"]))
            if isinstance(error, KeyboardInterrupt):
                raise
            return summary
        summary = self._summary(stopped)
        summary.write()
        self._progress(1.0, "Done")
        return summary

    def _collect(self, running: dict[int, Work]) -> None:
        for index in [index for index, work in running.items() if work.done]:
            self._finish(index, running.pop(index))

    def _finish(self, index: int, work: Work) -> None:
        unit = self._plan.units[index]
        try:
            record = work.result()
            result = CaseResult(unit.case.id, unit.title, str(record["status"]), record)
        except JobCancelled:
            raise
        except MedDLError as error:
            result = CaseResult(unit.case.id, unit.title, "failed", error=_sentence(error))
            logger.debug("case %d: %s", index + 1, error.details)
        self._results[index] = result
        self._shares.pop(index, None)
        self._log(f"Case {index + 1} of {len(self._plan.units)}: {result.status}. {result.error}".rstrip())
        self._summary().write()
        self._tell("")

    def _teller(self, index: int) -> Progress:
        def tell(fraction: float, text: str) -> None:
            self._shares[index] = max(fraction, self._shares.get(index, 0.0))
            self._tell(f"Case {index + 1} of {len(self._plan.units)}: {text}")

        return tell

    def _tell(self, text: str) -> None:
        total = max(1, len(self._plan.units))
        done = sum(result is not None for result in self._results)
        self._progress((done + sum(self._shares.values())) / total, text or f"{done} of {total} cases are done")

    def _summary(self, stopped: str = "", missing: str = "not run") -> BatchSummary:
        results = (
            result or CaseResult(unit.case.id, unit.title, missing)
            for result, unit in zip(self._results, self._plan.units, strict=True)
        )
        return BatchSummary(tuple(results), self._plan.folder, stopped)


def _sentence(error: MedDLError) -> str:
    if isinstance(error, OutOfMemory | WorkerDied):
        return f"{error.message} The other cases went on."
    return error.message


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; names of cases and models come from anywhere."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _folders(bundles: Mapping[str, ModelBundle]) -> dict[str, str]:
    """Return a folder name for each model; different models never share one."""
    digests = {model: bundle.digest for model, bundle in bundles.items()}
    plain = {model: safe_name(bundle.name) for model, bundle in bundles.items()}
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


def _make(folder: Path) -> None:
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


def _check_room(units: Sequence[_Unit], output: Path, options: RunOptions, tasks: set[str]) -> None:
    """Refuse a batch whose results would not fit on the disk, by a rough but generous guess from the images' sizes."""
    share = _LABELS_SHARE
    if options.probabilities or options.uncertainty != "none" or "reconstruction" in tasks:
        share += _VOXELS_SHARE
    need = int(sum(_size(Path(path)) * share for unit in units for path in list(unit.params["inputs"].values())[:1]))
    free = shutil.disk_usage(output).free
    if free < need + _SPARE_BYTES:
        raise UsageError(
            f"The results need about {(need + _SPARE_BYTES) / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free where "
            "they are to go. Make room, or choose another disk."
        )


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
        return path.stat().st_size
    except OSError:
        return 0  # its case will tell


def _silent(fraction: float, text: str) -> None:
    """Tell nobody."""


def _unlogged(line: str) -> None:
    """Write nothing down."""


def _never() -> bool:
    return False
