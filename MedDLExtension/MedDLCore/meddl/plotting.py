"""Figures that look the same on every computer: settings of their own, no clock, no window."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#333333"


@contextmanager
def own_settings(**more: Any) -> Iterator[None]:
    """Draw with matplotlib's own settings, not with those of the user, of Slicer or of a notebook.

    Args:
        more: entries of matplotlib's rcParams, with "_" for ".".
    """
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        **mpl.rcParamsDefault, "font.family": ["DejaVu Sans"], "font.size": 8.0, "axes.titlesize": 9.0,
        "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False, "pdf.fonttype": 42,
        **{name.replace("_", ".", 1): value for name, value in more.items()},
    }  # fmt: skip
    settings.pop("backend", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old names among the defaults, and of letters that the font lacks
        with mpl.rc_context(settings):
            yield


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """Return a figure of a size in inches that draws to memory; use it within :func:`own_settings`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Figure) -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    file = io.BytesIO()
    metadata: Mapping[str, Any] = {"Software": None}
    figure.savefig(file, format="png", metadata=dict(metadata))
    return file.getvalue()
