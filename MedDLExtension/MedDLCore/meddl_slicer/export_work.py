"""An export of the panel's cases: what is known of them, the plan, and the steps that write it, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from meddl.datasets.facts import CaseFacts
from meddl.errors import MedDLError, UnwritableDataset, UsageError, VolumeError

from meddl_slicer import study
from meddl_slicer.export_cases import CaseRow, case_of, missing, planned_case, signature
from meddl_slicer.export_run import Step
from meddl_slicer.export_task import LOOK
from meddl_slicer.i18n import tr as _

if TYPE_CHECKING:
    from meddl.datasets.label_scheme import LabelScheme
    from meddl.datasets.options import ExportOptions
    from meddl.datasets.planning import Planning


class KnownCases:
    """What looking at cases has told, as long as they do not change.

    Attributes:
        pictures: thumbnails by the key of their row.
    """

    def __init__(self) -> None:
        self._facts: dict[int, tuple[tuple[Any, ...], CaseFacts]] = {}
        self.pictures: dict[int, np.ndarray] = {}

    def facts(self, row: CaseRow) -> CaseFacts | None:
        """Return what is known of a row as it is now, under its present name; None if it must be looked at."""
        told, facts = self._facts.get(row.key, ((), None))
        if facts is None or told != signature(row):
            return None
        return facts if facts.id == row.name else replace(facts, id=row.name)

    def forget(self, rows: Sequence[CaseRow]) -> None:
        """Keep nothing but what is known of these rows."""
        keys = {row.key for row in rows}
        self._facts = {key: value for key, value in self._facts.items() if key in keys}
        self.pictures = {key: value for key, value in self.pictures.items() if key in keys}

    def look_steps(self, rows: Sequence[CaseRow]) -> list[Step]:
        """Return the steps that look at all rows of which too little is known."""
        unknown = [row for row in rows if self.facts(row) is None]
        return [self._look_step(row, index, len(unknown)) for index, row in enumerate(unknown, 1)]

    def _look_step(self, row: CaseRow, index: int, count: int) -> Step:
        before = signature(row)

        def make() -> tuple[str, dict[str, Any]]:
            return LOOK, {"case": case_of(row).to_dict(), "picture": row.key not in self.pictures}

        def done(result: Mapping[str, Any]) -> None:
            facts = CaseFacts.from_dict(result["facts"])
            of_scene = {text for node in row.nodes for text in study.identifying_texts(node)}
            self._facts[row.key] = (before, replace(facts, seen=tuple(sorted({*facts.seen, *of_scene}))))
            if result.get("picture") is not None:
                self.pictures[row.key] = np.array(result["picture"])

        def failed(error: MedDLError) -> bool:
            facts = CaseFacts(row.name, row.task, {}, problems=(error.message,))
            self._facts[row.key] = (before, facts)
            return True

        return Step(make, _("Checking case {index} of {count}").format(index=index, count=count), done, failed)


class ExportWork:
    """One export.

    Attributes:
        planning: after :meth:`plan`: what is going to be written, and where.
        done, skipped: names in the dataset of what was written, and of what was there already.
        failed: why, by key of the row: rows that the plan has no place for, and those that could not be written.
        verification: what looking the dataset through has told, at the end.

    Args:
        rows: those that are to be exported.
        known: facts of all of them, see :meth:`KnownCases.look_steps`.
        folder: the one that the user chose.
        scheme: of a segmentation; None for what the cases propose.
        key: file that keeps who is who, outside of the dataset.
        review: folder for pictures of heads before and after defacing, outside of the dataset.
    """

    def __init__(
        self,
        rows: Sequence[CaseRow],
        known: KnownCases,
        options: ExportOptions,
        folder: Path,
        scheme: LabelScheme | None = None,
        key: Path | None = None,
        review: Path | None = None,
    ) -> None:
        self._rows = list(rows)
        self._known = known
        self._options, self._folder, self._scheme = options, folder, scheme
        self._key, self._review = key, review
        self._looked: list[CaseFacts] = []
        self._signatures: dict[str, tuple[Any, ...]] = {}
        self.planning: Planning | None = None
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.failed: dict[int, str] = {}
        self.verification: dict[str, Any] = {}

    def plan(self) -> Planning:
        """Settle what is going to be written. Nothing is.

        Raises:
            MedDLError: the cases make no dataset, the folder holds something else, or names would be given away.
        """
        from meddl.datasets.deidentify.key_file import read_key
        from meddl.datasets.options import key_outside
        from meddl.datasets.planning import plan_export

        self._looked = [self._facts(row) for row in self._rows]
        cases = [planned_case(row) for row in self._rows if not missing(row)]
        key = read_key(self._key) if self._key is not None and self._key.exists() else None
        self.planning = plan_export(
            cases,
            [facts for row, facts in zip(self._rows, self._looked, strict=True) if not missing(row)],
            self._options,
            self._folder,
            scheme=self._scheme,
            key=key,
        )
        key_outside(self._key, self.planning.root)
        key_outside(self._review, self.planning.root)
        by_name = {row.name: row for row in self._rows}
        self.failed = {by_name[name].key: reason for name, reason in self.planning.left_out.items()}
        self.failed |= {row.key: " ".join(self._facts(row).problems) for row in self._rows if missing(row)}
        self._signatures = {row.name: signature(row) for row in self._rows}
        return self.planning

    def lines(self) -> list[str]:
        """Return what is going to be written, in lines for people: the dry run."""
        from meddl.datasets.dry_run import describe

        planning = self.planning or self.plan()
        return list(describe(planning, self._looked))

    def write_steps(self) -> list[Step]:
        """Return the steps that write the cases and finish the dataset; one case is in memory at a time."""
        planning = self.planning or self.plan()
        by_name = {row.name: row for row in self._rows}
        wanted = [case for case in planning.plan.cases if case.id in by_name]
        plan = planning.plan.to_dict()
        steps = [
            self._write_step(by_name[case.id], plan, planning.root, index, len(wanted))
            for index, case in enumerate(wanted, 1)
        ]
        return [*steps, self._finish_step(plan, planning.root)]

    def _write_step(self, row: CaseRow, plan: Mapping[str, Any], root: Path, index: int, count: int) -> Step:
        from meddl.datasets.task import WRITE_CASE

        def make() -> tuple[str, dict[str, Any]]:
            if signature(row) != self._signatures[row.name]:
                raise VolumeError(_("It was changed while the export was running. Export again to take it in."))
            params = {"case": case_of(row).to_dict(), "facts": self._facts(row).to_dict(), "plan": plan, "root": root}
            return WRITE_CASE, {**params, "key": self._key, "review": self._review}

        def done(result: Mapping[str, Any]) -> None:
            (self.done if result["status"] == "done" else self.skipped).append(str(result["name"]))

        def failed(error: MedDLError) -> bool:
            self.failed[row.key] = error.message
            return not isinstance(error, UsageError | UnwritableDataset)  # then no other case fares better

        return Step(make, _("Case {index} of {count}").format(index=index, count=count), done, failed)

    def _finish_step(self, plan: Mapping[str, Any], root: Path) -> Step:
        from meddl.datasets.task import FINISH

        def done(result: Mapping[str, Any]) -> None:
            self.verification = dict(result["verification"])

        return Step(lambda: (FINISH, {"plan": plan, "root": root}), _("Datasheet and report"), done)

    def _facts(self, row: CaseRow) -> CaseFacts:
        lacking = missing(row)
        if lacking:
            return CaseFacts(row.name, row.task, {}, problems=(_("It still needs {what}.").format(what=lacking),))
        found = self._known.facts(row)
        if found is None:
            raise UsageError(_("A case has changed since it was looked at. Check the cases again."))
        return found
