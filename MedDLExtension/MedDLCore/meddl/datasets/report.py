"""The report of a dataset's quality: a page, its plots and its tables, made of what the manifest knows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from meddl.datasets import markdown
from meddl.datasets.facts import CaseFacts
from meddl.datasets.quality import (
    FEWEST,
    duplicates,
    mixtures,
    outliers,
    quality_rows,
    volume_rows,
)
from meddl.spreadsheet import safe_cell

FOLDER = "report"
_MOST = 200


def report_files(facts: Sequence[CaseFacts]) -> dict[str, bytes]:
    """Return the files of the report: contents by path in the dataset.

    The same facts give the same bytes (with one version of matplotlib, which draws the plots).

    Args:
        facts: of the cases under their names in the dataset (:func:`meddl.datasets.looking.public_facts`): they are
            written as they are.
    """
    from meddl.datasets.plots import intensity_plot, spacing_plot, volumes_plot

    if not facts:
        return {}
    files = {"spacing.png": spacing_plot(facts), "intensity.png": intensity_plot(facts)}
    has_structures = any(each.voxels for fact in facts for each in fact.structures)
    if has_structures:
        files |= {"volumes.png": volumes_plot(facts), "volumes.csv": _csv(volume_rows(facts))}
    files |= {"cases.csv": _csv(quality_rows(facts)), "quality.md": _page(facts, has_structures).encode("utf-8")}
    return {f"{FOLDER}/{name}": files[name] for name in sorted(files)}


def structure_rows(facts: Sequence[CaseFacts]) -> list[dict[str, str | float | int]]:
    """Return a row for each structure: in how many cases it is, and its volumes."""
    volumes: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    debris: dict[str, int] = {}
    for fact in facts:
        for each in fact.structures:
            names.setdefault(each.key, each.name)
            volumes.setdefault(each.key, {})
            debris[each.key] = debris.get(each.key, 0) + (each.debris_voxels > 0)
            if each.voxels:
                volumes[each.key][fact.id] = volumes[each.key].get(fact.id, 0.0) + each.volume_ml
    marked = [each.column for each in outliers(facts) if not each.image]
    labeled = sum(fact.task == "segmentation" for fact in facts)
    rows: list[dict[str, str | float | int]] = []
    for key, by_case in volumes.items():
        ordered = sorted(by_case.values())
        median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2 if ordered else 0.0
        shown = {name: float(f"{value:.4g}") for name, value in
                 (("least (ml)", min(ordered, default=0.0)), ("median (ml)", median),
                  ("most (ml)", max(ordered, default=0.0)))}  # fmt: skip
        rows.append(
            {
                "structure": names[key],
                "cases": len(by_case),
                "missing or empty": labeled - len(by_case),
                **shown,
                "outliers": marked.count(key),
                "cases with pieces of one voxel": debris[key],
            }
        )
    return rows


def _page(facts: Sequence[CaseFacts], has_structures: bool) -> str:
    parts = [
        "# Quality of the images and labels",
        f"{len(facts)} cases, as they were before they were brought to one grid. `cases.csv` has all figures"
        + (", `volumes.csv` those of the structures." if has_structures else "."),
        "## What to look at",
        _list([*mixtures(facts), *_duplicates(facts), *_outliers(facts), *_labels(facts)]) or "Nothing stands out.",
        "## Images",
        "![Voxel sizes](spacing.png)",
        "![Intensities](intensity.png)",
        _table(quality_rows(facts), without=("remarks",)),
    ]
    if has_structures:
        parts += ["## Structures", "![Volumes](volumes.png)", _table(structure_rows(facts))]
    parts += [
        "## How values are compared",
        f"By robust z-scores (median and median absolute deviation, above 3.5; Iglewicz and Hoaglin 1993), where there "
        f"are {FEWEST} cases or more: voxel sizes and volumes by their logarithms and only where they differ by half, "
        "intensities within a modality. What stands out is to be looked at, not to be thrown away.",
    ]
    return "\n\n".join(parts) + "\n"


def _duplicates(facts: Sequence[CaseFacts]) -> list[str]:
    return [f"The same image is in {', '.join(group)}." for group in duplicates(facts)]


def _outliers(facts: Sequence[CaseFacts]) -> list[str]:
    return [f"{each.case}: {each.sentence}" for each in outliers(facts)]


def _labels(facts: Sequence[CaseFacts]) -> list[str]:
    found = []
    for fact in facts:
        if fact.label_outside > 0:
            found.append(f"{fact.id}: {max(fact.label_outside, 0.001):.1%} of the label lay outside of the image.")
        if fact.task == "segmentation" and not any(each.voxels for each in fact.structures):
            found.append(f"{fact.id}: The label is empty.")
    return found


def _list(sentences: Sequence[str]) -> str:
    lines = [f"- {markdown.inline(sentence)}" for sentence in sentences[:_MOST]]
    more = [f"- and {len(sentences) - _MOST} more"] if len(sentences) > _MOST else []
    return "\n".join([*lines, *more])


def _table(rows: Sequence[Mapping[str, str | float | int]], without: Sequence[str] = ()) -> str:
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in without]
    more = f"\n\n{len(rows) - _MOST} more rows are in the file." if len(rows) > _MOST else ""
    return markdown.table(columns, [[row.get(name, "") for name in columns] for row in rows[:_MOST]]) + more


def _csv(rows: Sequence[Mapping[str, str | float | int]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerow({name: safe_cell(name) for name in columns})
    writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8")
