"""Small plots of a dataset's cases as PNG: the same facts give the same bytes, whatever is set up on this computer."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meddl.datasets.facts import CaseFacts
from meddl.datasets.quality import outliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _DOT, _MARK, _GRID = "#333333", "#3b6ea5", "#c8442c", "#dddddd"
_MOST = 40
"""More rows than these nobody reads; those left out are counted in the plot's title."""
_LONGEST = 28


def spacing_plot(facts: Sequence[CaseFacts]) -> bytes:
    """Return a plot of the voxels' edges of all images, the smallest against the largest, in mm."""
    marked = {(each.case, each.image) for each in outliers(facts) if each.column == "spacing (mm)"}
    with _Plot(5.2, 3.6) as plot:
        axes = plot.axes
        points = [
            (min(c.spacing_mm), max(c.spacing_mm), (f.id, n) in marked) for f in facts for n, c in f.channels.items()
        ]
        for is_marked in (False, True):
            chosen = [(x, y) for x, y, mark in points if mark == is_marked]
            if chosen:
                _dots(axes, [x for x, _ in chosen], [y for _, y in chosen], is_marked)
        lengths = [length for x, y, _ in points for length in (x, y)] or [1.0]
        low, high = min(lengths) / 1.3, max(lengths) * 1.3
        axes.plot([low, high], [low, high], color=_GRID, linewidth=1, zorder=0)
        for axis, what in ((axes.xaxis, "smallest"), (axes.yaxis, "largest")):
            _logarithmic(axes, axis, low, high)
            axis.set_label_text(f"{what} voxel edge (mm)")
        axes.set_title(f"Voxel sizes of {len(points)} images", loc="left")
    return plot.png


def volumes_plot(facts: Sequence[CaseFacts]) -> bytes:
    """Return a plot of the volumes of all structures, a row each, in ml; those that stand out are marked."""
    marked = {(each.case, each.column) for each in outliers(facts) if not each.image}
    names: dict[str, str] = {}
    volumes: dict[str, list[tuple[float, bool]]] = {}
    for fact in facts:
        for each in fact.structures:
            if each.voxels:
                names.setdefault(each.key, each.name)
                volumes.setdefault(each.key, []).append((each.volume_ml, (fact.id, each.key) in marked))
    shown = list(volumes)[:_MOST]
    with _Plot(5.8, 1.0 + 0.2 * max(len(shown), 1)) as plot:
        axes = plot.axes
        for row, key in enumerate(shown):
            for is_marked in (False, True):
                values = [value for value, mark in volumes[key] if mark == is_marked]
                if values:
                    _dots(axes, values, [row] * len(values), is_marked)
        numbers = [value for key in shown for value, _ in volumes[key]] or [1.0]
        _logarithmic(axes, axes.xaxis, min(numbers) / 1.3, max(numbers) * 1.3)
        _rows(axes, [names[key] for key in shown])
        axes.set_xlabel("volume (ml)")
        more = f" ({len(volumes) - len(shown)} more are not shown)" if len(volumes) > len(shown) else ""
        axes.set_title(f"Volumes of structures{more}", loc="left")
    return plot.png


def intensity_plot(facts: Sequence[CaseFacts]) -> bytes:
    """Return a plot of the intensities of all images, a row each: 1st to 99th percentile, and the median."""
    marked = {(each.case, each.image) for each in outliers(facts) if each.image and each.column != "spacing (mm)"}
    several = len({name for fact in facts for name in fact.channels}) > 1
    rows = [(fact.id, name, channel) for fact in facts for name, channel in fact.channels.items()]
    rows.sort(key=lambda row: ((row[0], row[1]) not in marked,))  # those that stand out are always shown
    shown = rows[:_MOST]
    with _Plot(5.8, 1.0 + 0.2 * max(len(shown), 1)) as plot:
        axes = plot.axes
        for row, (case, name, channel) in enumerate(shown):
            color = _MARK if (case, name) in marked else _DOT
            axes.plot([channel.p1, channel.p99], [row, row], color=color, linewidth=3, solid_capstyle="butt")
            axes.plot([channel.p50], [row], color=_INK, marker="|", markersize=7)
        _rows(axes, [f"{case}, {name}" if several else case for case, name, _ in shown])
        axes.set_xlabel("intensity (1st to 99th percentile, median)")
        more = f" ({len(rows) - len(shown)} more are not shown)" if len(rows) > len(shown) else ""
        axes.set_title(f"Intensities{more}", loc="left")
    return plot.png


class _Plot:
    """A figure with one pair of axes under settings of its own; ``png`` is there when the block has ended."""

    png = b""

    def __init__(self, width: float, height: float) -> None:
        import matplotlib as mpl

        # Not those of the user, nor those of Slicer or a notebook: a dataset's files depend on the cases alone.
        settings: dict[Any, Any] = {
            **mpl.rcParamsDefault, "font.family": ["DejaVu Sans"], "font.size": 8.0, "axes.titlesize": 9.0,
            "axes.edgecolor": _INK, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK,
            "ytick.color": _INK, "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False,
        }  # fmt: skip
        settings.pop("backend", None)
        self._settings = mpl.rc_context(settings)
        self._size = (width, height)

    def __enter__(self) -> _Plot:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._settings.__enter__()
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=self._size, dpi=120, layout="constrained")
        FigureCanvasAgg(self._figure)
        self.axes: Axes = self._figure.add_subplot()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            if kind is None:
                file = io.BytesIO()
                with warnings.catch_warnings():  # of letters that the font lacks: a box stands for them
                    warnings.simplefilter("ignore")
                    self._figure.savefig(file, format="png", metadata={"Software": None})
                self.png = file.getvalue()
        finally:
            self._settings.__exit__(kind, *rest)


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float], is_marked: bool) -> None:
    axes.plot(
        x, y, linestyle="", marker="D" if is_marked else "o", markersize=5, markeredgewidth=0, alpha=0.7,
        color=_MARK if is_marked else _DOT,
    )  # fmt: skip


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _short(name: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in name)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _logarithmic(axes: Axes, axis: Any, low: float, high: float) -> None:
    """Let an axis reach from ``low`` to ``high`` by factors, with numbers that people read."""
    from matplotlib.ticker import FixedLocator, NullLocator

    which = axis.axis_name
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels([f"{tick:g}" for tick in ticks])
