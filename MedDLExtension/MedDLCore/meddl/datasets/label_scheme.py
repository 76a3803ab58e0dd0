"""The labels of a dataset: which structures of the cases become which value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Overlaps: TypeAlias = Literal["order", "regions"]


@dataclass(frozen=True)
class Structure:
    """One structure of a dataset.

    Attributes:
        name: in the dataset.
        color: red, green, blue in 0..1.
        terminology: Slicer's serialized terminology entry, or "".
        sources: keys (:func:`meddl.datasets.structure_key`) of the cases' segments that become it.
    """

    name: str
    color: tuple[float, float, float]
    terminology: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelScheme:
    """The labels of a dataset.

    The values of the label maps: 0 is background; the structures have 1, 2, ... in their order; combinations of
    structures that overlap follow; the ignore label is the last.

    Attributes:
        structures: in the order of their values; where they overlap, an earlier one covers a later one ("order").
        overlaps: "order", or "regions": overlaps are kept, each combination having a value of its own.
        combinations: of "regions": sets of structures (0-based indices, sorted) that occur together.
        ignore: sources of the label that says "nobody knows what is here"; empty for none.
        dropped: sources that are left out.
    """

    structures: tuple[Structure, ...] = ()
    overlaps: Overlaps = "order"
    combinations: tuple[tuple[int, ...], ...] = ()
    ignore: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def ignore_value(self) -> int | None:
        """Value of the ignore label, if there is one."""
        return 1 + len(self.structures) + len(self.combinations) if self.ignore else None

    def values_of(self, index: int) -> tuple[int, ...]:
        """Return all values of the label map that lie in structure ``index``: its own, and its combinations'."""
        first = 1 + len(self.structures)
        return (index + 1, *(first + n for n, members in enumerate(self.combinations) if index in members))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelScheme:
        """Return what :meth:`to_dict` described."""
        structures = tuple(
            Structure(each["name"], tuple(each["color"]), each.get("terminology", ""), tuple(each.get("sources", ())))
            for each in data["structures"]
        )
        return cls(
            structures,
            data.get("overlaps", "order"),
            tuple(tuple(each) for each in data.get("combinations", ())),
            tuple(data.get("ignore", ())),
            tuple(data.get("dropped", ())),
        )
