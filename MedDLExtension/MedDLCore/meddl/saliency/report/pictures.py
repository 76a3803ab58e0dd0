"""Pictures of a map over its image, and of curves, as PNG: the same values give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import UsageError
from meddl.plotting import INK, new_figure, own_settings, png_of
from meddl.saliency.attribution import Attribution, Measure
from meddl.saliency.colors import DEFAULT_THRESHOLD, map_colors, scale_of
from meddl.saliency.report.outlines import Outline
from meddl.saliency.report.planes import Plane, peak_of, planes_through
from meddl.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.4
_BAR, _LEFT, _BOTTOM, _TITLE, _GAP, _LEGEND = 0.95, 0.02, 0.03, 0.2, 0.04, 0.24
"""Inches: the room for the scale, at the edges, above the pictures, between them, and below for names of outlines."""

_HIGHEST = 2.6
_UNDER = 0.45
"""Gray behind the scale: as a middle gray of the image looks."""

_LINE_COLORS = ("#3b6ea5", "#c8442c", "#2e8b57", "#8e5ea2")
_AXES = {
    "deletion": ("share of voxels blurred away", "share of the score"),
    "insertion": ("share of voxels brought back", "share of the score"),
    "randomization": ("share of layers randomized", "rank correlation"),
}
_LONGEST = 28
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def planes_picture(
    image: Volume,
    attribution: Attribution,
    outlines: Sequence[Outline] = (),
    *,
    channel: int = 0,
    threshold: float = DEFAULT_THRESHOLD,
) -> bytes:
    """Return slices through the map's peak: above (or left) the image alone, below (or right) with the map; the scale.

    Where only one slice has a map, as of networks that look at single slices, it is shown alone.

    Args:
        image: ``(C, I, J, K)`` that was explained, on the map's grid.
        outlines: drawn on both.
        channel: of the image, shown in gray.
        threshold: share of the scale that is transparent.

    Raises:
        UsageError: image and map do not lie on the same grid.
    """
    if not image.grid.same_as(attribution.map.grid):
        raise UsageError("The map belongs to another image: it does not lie on this one's grid.")
    values = attribution.map.array[0]
    planes = shown_planes(image, values)
    if not planes:
        raise UsageError("The image is a line of voxels, of which there is no picture.")
    gray, greatest = image.array[channel], scale_of(values)
    low, high = gray_window(gray)
    with own_settings():
        figure, cells, bar = _layout(planes, bool(outlines))
        for column, plane in enumerate(planes):
            below = np.clip((plane.of(gray).astype(np.float64) - low) / (high - low), 0.0, 1.0)
            shown = map_colors(plane.of(values) / greatest, attribution.signed, threshold)
            points = plane.points(image.shape) if outlines else np.empty(0)
            for row in (0, 1):
                axes = cells[row][column]
                _slice(axes, plane, _over(below, shown) if row else below)
                for outline in outlines:
                    _outline(axes, plane, outline, points)
                if row == 0:
                    axes.set_title(f"{plane.name}, {plane.place}", fontsize=7.5, pad=3)
                    _length_bar(axes, plane)  # all are of one height, but not of one scale
        _scale(bar, greatest, attribution.signed, threshold)
        if outlines:
            _names(figure, outlines)
        return png_of(figure)


def shown_planes(image: Volume, values: np.ndarray) -> tuple[Plane, ...]:
    """Return the slices that a picture of a map ``(I, J, K)`` shows."""
    planes = planes_through(image, peak_of(values))
    flat = [axis for axis in range(3) if np.count_nonzero(values.any(axis=tuple({0, 1, 2} - {axis}))) == 1]
    alone = tuple(plane for plane in planes if plane.through in flat)
    return alone if len(alone) == 1 else planes


def curves_picture(measures: Sequence[Measure]) -> bytes:
    """Return the curves of measures that have one."""
    drawn = [each for each in measures if each.curve]
    columns = min(max(len(drawn), 2), 3)
    rows = max(1, -(-len(drawn) // columns))
    with own_settings():
        figure = new_figure(_WIDTH, 1.9 * rows, 150)
        figure.set_layout_engine("constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, measure, color in zip(grid, drawn, _LINE_COLORS * len(drawn), strict=False):
            x, y = zip(*measure.curve, strict=True)
            axes.fill_between(x, y, min(0.0, *y), color=color, alpha=0.12, linewidth=0)
            axes.plot(x, y, color=color, linewidth=1.8)
            random = "" if measure.random is None else f", random map {measure.random:.2g}"
            value = "" if measure.value is None else f": {measure.value:.2g}"
            axes.set_title(f"{short(measure.name.replace('_', ' ').capitalize())}{value}{random}", loc="left")
            across, up = _AXES.get(measure.name, ("share", "value"))
            axes.set_xlabel(across)
            axes.set_ylabel(up)
            axes.set_xlim(0.0, 1.0)
        for axes in grid[len(drawn) :]:
            axes.set_visible(False)
        return png_of(figure)


def gray_window(gray: np.ndarray) -> tuple[float, float]:
    """Return which values of an image are shown black and white: all but the outermost 0.5 % at both ends."""
    values = gray[np.isfinite(gray)].astype(np.float64)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values[:: max(1, values.size // 2_000_000)], (0.5, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return float(low), float(high if high > low else low + 1.0)


def short(name: str, longest: int = _LONGEST) -> str:
    """Return a name as it fits into a picture."""
    shown = "".join(c if c.isprintable() else " " for c in name)
    return shown if len(shown) <= longest else shown[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _layout(planes: Sequence[Plane], with_names: bool) -> tuple[Figure, list[list[Axes]], Axes]:
    """Return a figure with two rows of axes, a column for each plane, all of one height, and axes for the scale."""
    shapes = [min(max(plane.size_mm[0] / plane.size_mm[1], 0.4), 2.5) for plane in planes]
    across = 2 if len(planes) == 1 else 1  # a single slice: side by side
    room = _WIDTH - _BAR - _LEFT - _GAP * len(planes) * across
    height = min(room / (across * sum(shapes)), _HIGHEST * across)
    names = _LEGEND if with_names else 0.0
    rows = 2 // across
    total = rows * height + _TITLE + _GAP + _BOTTOM + names
    figure = new_figure(_WIDTH, total, 150)
    cells: list[list[Axes]] = [[], []]
    wide = height * sum(shapes) * across
    start = _LEFT + (room - wide) / 2
    for row in (0, 1):
        left = start + (row * (height * shapes[0] + _GAP) if across == 2 else 0.0)
        bottom = _BOTTOM + names + (0.0 if across == 2 else (1 - row) * (height + _GAP))
        for shape in shapes:
            place = (left / _WIDTH, bottom / total, shape * height / _WIDTH, height / total)
            cells[row].append(figure.add_axes(place))
            left += shape * height + _GAP
    end = start + wide + _GAP * len(planes) * across
    bottom, high = _BOTTOM + names + 0.25 / across * height, (1.5 if across == 1 else 0.7) * height
    bar = figure.add_axes(((end + 0.08) / _WIDTH, bottom / total, 0.16 / _WIDTH, high / total))
    return figure, cells, bar


def _over(gray: np.ndarray, colors: np.ndarray) -> np.ndarray:
    opacity = colors[..., 3:]
    return np.asarray(gray[..., None] * (1 - opacity) + colors[..., :3] * opacity)


def _slice(axes: Axes, plane: Plane, pixels: np.ndarray) -> None:
    from matplotlib.patheffects import withStroke

    axes.set_facecolor("black")
    how: dict[str, Any] = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0} if pixels.ndim == 2 else {}
    width, height = plane.size_mm
    axes.imshow(pixels, extent=(0.0, width, height, 0.0), interpolation="nearest", **how)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    box = axes.get_position()
    figure = axes.figure
    shape = box.width * figure.get_figwidth() / (box.height * figure.get_figheight())  # type: ignore[union-attr]
    # The whole cell is black: a narrow slice stands in its middle.
    wide, high = max(width, height * shape), max(height, width / shape)
    axes.set_xlim(width / 2 - wide / 2, width / 2 + wide / 2)
    axes.set_ylim(height / 2 + high / 2, height / 2 - high / 2)
    outline = [withStroke(linewidth=1.6, foreground="black")]
    for letter, x, y in zip(plane.sides, (0.06, 0.94, 0.5, 0.5), (0.5, 0.5, 0.94, 0.06), strict=True):
        axes.text(
            x, y, letter, color="white", fontsize=7, transform=axes.transAxes, path_effects=outline,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="top" if y > 0.9 else "bottom" if y < 0.1 else "center",
        )  # fmt: skip
    rows, columns = pixels.shape[:2]
    x, y = (plane.at[0] + 0.5) * width / columns, (plane.at[1] + 0.5) * height / rows
    # Where the peak is: marks at the edges, so that nothing hides it.
    for begin, end in ((0.0, 0.05), (0.95, 1.0)):
        marks: dict[str, Any] = {"color": "#ffe14d", "linewidth": 1.0, "path_effects": outline}
        axes.plot([x, x], [begin, end], transform=axes.get_xaxis_transform(), **marks)
        axes.plot([begin, end], [y, y], transform=axes.get_yaxis_transform(), **marks)


def _outline(axes: Axes, plane: Plane, outline: Outline, points: np.ndarray) -> None:
    inside = np.pad(outline.contains(points), 1).astype(np.float32)  # a shape at the image's edge is closed there
    if not inside.any() or inside[1:-1, 1:-1].all():
        return
    rows, columns = inside.shape[0] - 2, inside.shape[1] - 2
    width, height = plane.size_mm
    x = (np.arange(columns + 2) - 0.5) * width / columns
    y = (np.arange(rows + 2) - 0.5) * height / rows
    axes.contour(x, y, inside, levels=[0.5], colors=[outline.color], linewidths=0.8)


def _length_bar(axes: Axes, plane: Plane) -> None:
    from matplotlib.patheffects import withStroke

    lengths = [length for length in (1, 2, 5, 10, 20, 50, 100) if length <= plane.size_mm[0] / 3]
    if not lengths:
        return
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = low + 0.06 * (high - low), bottom + 0.06 * (top - bottom)
    outline = [withStroke(linewidth=2.4, foreground="black")]
    axes.plot([x, x + lengths[-1]], [y, y], color="white", linewidth=1.6, solid_capstyle="butt", path_effects=outline)
    text = f"{lengths[-1]} mm"
    axes.text(x, y + 0.02 * (top - bottom), text, color="white", fontsize=6.5, va="bottom", path_effects=outline)


def _scale(axes: Axes, greatest: float, signed: bool, threshold: float) -> None:
    """Draw the scale: the colors as they look over a middle gray."""
    low = -1.0 if signed else 0.0
    share = np.linspace(low, 1.0, 512)
    colors = _over(np.full((512, 1), _UNDER), map_colors(share, signed, threshold)[:, None])
    axes.imshow(colors, extent=(0.0, 1.0, low, 1.0), origin="lower", aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    ticks = [-1.0, -0.5, 0.0, 0.5, 1.0] if signed else [0.0, 0.25, 0.5, 0.75, 1.0]
    power = round(math.floor(math.log10(greatest) + 1e-9)) if not 1e-2 <= greatest < 1e4 else 0
    labels = [f"{tick * greatest / 10.0**power:.3g}".replace("-", "\N{MINUS SIGN}") for tick in ticks]
    labels[-1] = "\N{GREATER-THAN OR EQUAL TO}" + labels[-1]
    if signed:
        labels[0] = "\N{LESS-THAN OR EQUAL TO}" + labels[0]
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.yaxis.tick_right()
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_linewidth(0.6)
    times = f"\n\N{MULTIPLICATION SIGN} 10{str(power).translate(_RAISED)}" if power else ""
    _beside(axes, f"for the\nanswer{times}" if signed else f"evidence{times}", above=True)
    if signed:
        _beside(axes, "against it", above=False)
    edges = {threshold, -threshold} if signed else {threshold}
    for edge in sorted(edges):
        axes.axhline(edge, color=INK, linewidth=0.5, linestyle=(0, (2, 2)))


def _beside(axes: Axes, text: str, *, above: bool) -> None:
    """Write beyond an end of the scale, clear of the number at it."""
    axes.annotate(
        text, (0.0, 1.0 if above else 0.0), (0, 5 if above else -5), xycoords="axes fraction",
        textcoords="offset points", fontsize=7, ha="left", va="bottom" if above else "top", annotation_clip=False,
    )  # fmt: skip


def _names(figure: Figure, outlines: Sequence[Outline]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    dark = [withStroke(linewidth=2.6, foreground=INK)]  # pale colors are to be seen on the page, too
    lines = [Line2D([], [], color=each.color, linewidth=1.6, path_effects=dark) for each in outlines]
    figure.legend(
        lines, [short(each.name, 22) for each in outlines], loc="lower center", ncols=min(len(outlines), 5),
        frameon=False, fontsize=7, handlelength=1.4, columnspacing=1.2, borderpad=0.0, borderaxespad=0.2,
    )  # fmt: skip
