"""What a panel shows of a result: read from its nodes, so that it comes back with a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from meddl_slicer import colors, maps, provenance, sequences, table, view_text
from meddl_slicer.classification import PLOT_ROLE
from meddl_slicer.evaluation_run import EVALUATION_ROLE
from meddl_slicer.runs import table_of

_PLACE = ("R [mm]", "A [mm]", "S [mm]")
_SIGNED = "Model"


@dataclass(frozen=True, eq=False)
class ResultView:
    """What is known of one result.

    Attributes:
        node: its main node.
        title: model and version.
        headings, rows: of its table, as texts; the columns that only repeat the title are left out.
        sentences: what the numbers say, and what was noted of the run.
        maps: volumes beside it: entropy, probabilities, difference.
        evaluation: the table that compares it with a reference, or None.
        chart: the plot of what the answer rests on, or None.
        sequence: the sequence that it shows a frame of, or None.
        viewText: what the slice views are to say.
    """

    node: slicer.vtkMRMLNode
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]
    maps: tuple[slicer.vtkMRMLVolumeNode, ...]
    evaluation: slicer.vtkMRMLTableNode | None
    chart: slicer.vtkMRMLPlotChartNode | None
    sequence: slicer.vtkMRMLSequenceNode | None
    viewText: str


def result_of(node: slicer.vtkMRMLNode | None) -> ResultView | None:
    """Return what is known of the result with this main node; None for a node that no run has written."""
    facts = provenance.read(node) if node is not None else None
    if facts is None:
        return None
    written = table_of(node)
    headings, rows = table.values(written) if written is not None else ([], [])
    shown = [index for index, heading in enumerate(headings) if heading != _SIGNED]
    sentence = (written.GetAttribute(table.SENTENCE) or "") if written is not None else ""
    roles = (maps.ENTROPY_ROLE, maps.DIFFERENCE_ROLE, maps.PROBABILITY_ROLE)
    charts = [one for one in maps.references(node, PLOT_ROLE) if isinstance(one, slicer.vtkMRMLPlotChartNode)]
    return ResultView(
        node,
        provenance.model_title(facts),
        tuple(headings[index] for index in shown),
        tuple(tuple(text_of(row[index]) for index in shown) for row in rows),
        tuple(dict.fromkeys(text for text in (sentence, *facts.get("domain", []), *facts.get("notes", [])) if text)),
        tuple(one for role in roles for one in maps.references(node, role)),
        node.GetNodeReference(EVALUATION_ROLE),
        charts[0] if charts else None,
        node.GetNodeReference(sequences.SEQUENCE_ROLE),
        view_text.text_of(node),
    )


def text_of(value: Any) -> str:
    """Return a cell as it is shown: numbers with four digits, at most three of them behind the point."""
    if isinstance(value, float):
        if value != value:
            return "\N{EN DASH}"
        digits = 3 if abs(value) < 10 else 1
        return f"{value:.{digits}f}"
    return str(value)


def place_of(result: ResultView, row: int) -> tuple[float, float, float] | None:
    """Return where in the world (RAS mm) a row of the result's table is, or None when it is nowhere."""
    node = result.node
    if isinstance(node, slicer.vtkMRMLSegmentationNode) and result.headings[:1] == ("Structure",):
        identifier = node.GetSegmentation().GetSegmentIdBySegmentName(result.rows[row][0])
        center = node.GetSegmentCenterRAS(identifier) if identifier else None
        return tuple(center) if center is not None else None
    headings, rows = table.values(table_of(node)) if table_of(node) is not None else ([], [])
    if not all(name in headings for name in _PLACE) or row >= len(rows):
        return None
    return tuple(float(rows[row][headings.index(name)]) for name in _PLACE)


def jump_to(place: tuple[float, float, float]) -> None:
    """Move all slice views to a place in the world."""
    slicer.modules.markups.logic().JumpSlicesToLocation(*place, True)


def show_row(result: ResultView, row: int) -> bool:
    """Bring what a row of the result's table is about into view; returns False for a row that is nowhere."""
    if result.sequence is not None or (result.headings and result.headings[0].startswith(("frame", "time"))):
        return _show_frame(result, row)
    place = place_of(result, row)
    if place is not None:
        jump_to(place)
    return place is not None


def _show_frame(result: ResultView, row: int) -> bool:
    written = table_of(result.node)
    source = written.GetNodeReference(table.INPUT_ROLE) if written is not None else None
    sequence = result.sequence or sequences.sequence_of(source)
    browser = sequences.browser_of(sequence) if sequence is not None else None
    if browser is None or row >= browser.GetNumberOfItems():
        return False
    browser.SetSelectedItemNumber(row)
    return True


def show_map(node: slicer.vtkMRMLVolumeNode | None, opacity: float = 0.5) -> None:
    """Lay a map over the slices, or take away the one that is there."""
    if getattr(slicer, "app", None) is None or slicer.app.layoutManager() is None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetForegroundVolumeID(node.GetID() if node is not None else None)
            composite.SetForegroundOpacity(opacity if node is not None else 0.0)
        return
    slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=opacity if node is not None else 0.0)
    if node is not None:
        colors.refresh_legend(node)


def show_chart(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show a plot in the layout."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)
