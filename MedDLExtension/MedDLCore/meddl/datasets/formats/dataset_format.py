"""What every format of a dataset can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from meddl.datasets.case import PreparedCase
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError


class DatasetFormat(ABC):
    """One way to lay out a dataset.

    It writes cases one by one into a folder of their own, from where the caller moves them into the dataset, and makes
    the index files (``dataset.json`` and the like) anew after each. So whenever the index says a case is there, it is.

    Attributes:
        name: as the command line and :class:`ExportOptions` call it.
        title: for people.
        tasks: kinds of labels it holds.
        endings: of image files, the usual one first; () where there is no choice.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    endings: ClassVar[tuple[str, ...]] = ()

    def folder(self, options: ExportOptions) -> str:
        """Return the name of the dataset's folder in the one that the user chose; "" for that one itself."""
        return ""

    def ending(self, options: ExportOptions) -> str:
        """Return the ending of the image files."""
        return options.file_ending or self.endings[0]

    def check(self, plan: ExportPlan) -> None:
        """Find out, before anything is written, whether the format holds what is planned.

        Raises:
            UsageError: it does not.
        """
        if plan.task not in self.tasks:
            held = ", ".join(self.tasks)
            raise UsageError(f"{self.title} holds labels for {held}, not for {plan.task or 'nothing'}. "
                             "Choose another format.")  # fmt: skip
        ending = plan.options.file_ending
        if ending and ending not in self.endings:
            choices = " or ".join(self.endings) or "left open"
            raise UsageError(f"{self.title} has no images ending in {ending}. The ending can be {choices}.")

    def neighbors(self, root: Path, plan: ExportPlan) -> tuple[str, ...]:
        """Return what the datasets beside this one keep its users from, in sentences, before anything is written."""
        return ()

    @abstractmethod
    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write the files of a case below ``folder``, by their paths in the dataset.

        Returns:
            JSON-able facts that :meth:`index` needs; they identify nobody.

        Raises:
            VolumeError: a file cannot be written.
        """

    @abstractmethod
    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return the files that list what is in the dataset, by path: only ``records``, which are there.

        The same records give the same bytes; they come in the order of the cases' names.
        """

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read the dataset back as its users will, and return what is wrong with it, in sentences.

        That files are there and unchanged is checked by the caller.
        """
        return ()
