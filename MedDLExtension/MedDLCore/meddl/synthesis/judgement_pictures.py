"""Pictures of a judgement: samples, the nearest pairs, distances and Dice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.plotting import INK, new_figure, own_settings, png_of
from meddl.synthesis.cutting import SLICE_AXIS
from meddl.synthesis.examples import Examples
from meddl.synthesis.memorization import Memorization
from meddl.synthesis.usefulness import ALL, ARMS, Usefulness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SAMPLES = 8
_COLORS = {"real": "#4c72b0", "real + synthetic": "#55a868", "synthetic": "#c44e52"}
_MARKS = {"real": "o", "real + synthetic": "s", "synthetic": "^"}
_VERDICTS = {"copy": "a copy", "near": "near"}
_MOST_STRUCTURES = 12


def pictures_of(
    images: np.ndarray,
    labels: np.ndarray | None,
    training: Examples,
    memorized: Memorization | None,
    useful: Usefulness | None,
) -> dict[str, bytes]:
    """Return PNG by name. The same judgement gives the same bytes, with one version of matplotlib.

    Args:
        images: ``(N, 1, *size)`` synthetic ones, with their labels ``(N, *size)`` or None.
    """
    made = {"samples.png": samples_picture(images, labels, training)}
    if memorized is not None and memorized.pairs:
        made["pairs.png"] = pairs_picture(images, training, memorized)
        made["nearness.png"] = nearness_picture(memorized)
    if useful is not None:
        made["usefulness.png"] = usefulness_picture(useful)
    return made


def samples_picture(images: np.ndarray, labels: np.ndarray | None, training: Examples) -> bytes:
    """Return real training images over synthetic ones, what is labeled outlined."""
    rows = [("real", training.images, training.labels), ("synthetic", images, labels)]
    with own_settings():
        figure = new_figure(9.0, 2.5)
        figure.subplots_adjust(0.07, 0.01, 0.995, 0.99, 0.03, 0.03)
        for row, (name, shown, outlined) in enumerate(rows):
            chosen = np.linspace(0, len(shown) - 1, _SAMPLES).round().astype(int)
            for column, number in enumerate(chosen):
                axes = figure.add_subplot(2, _SAMPLES, row * _SAMPLES + column + 1)
                _show(axes, shown[number, 0], None if outlined is None else outlined[number])
                if not column:
                    axes.set_ylabel(name)
        return png_of(figure)


def pairs_picture(images: np.ndarray, training: Examples, memorized: Memorization) -> bytes:
    """Return the synthetic images that are nearest to a training image, each over that image."""
    pairs = memorized.pairs
    columns = min(8, len(pairs))
    blocks = -(-len(pairs) // columns)
    with own_settings(**{"axes_titlesize": 8.0}):
        figure = new_figure(9.0, 2.75 * blocks * 8 / max(columns, 6))
        figure.subplots_adjust(0.07, 0.01, 0.995, 1 - 0.11 / blocks, 0.05, 0.12 / blocks)
        for number, pair in enumerate(pairs):
            block, column = divmod(number, columns)
            for row, array in enumerate((images[pair.synthetic, 0], training.images[pair.training, 0])):
                axes = figure.add_subplot(2 * blocks, columns, (2 * block + row) * columns + column + 1)
                _show(axes, array, None)
                if not row:
                    told = f"{pair.distance:.3f}"
                    axes.set_title(f"{told}, {_VERDICTS[pair.verdict]}" if pair.verdict else told, pad=2)
                if not column:
                    axes.set_ylabel("training" if row else "synthetic")
        return png_of(figure)


def nearness_picture(memorized: Memorization) -> bytes:
    """Return how near synthetic and other people's images come to the training images."""
    named = {"synthetic": "synthetic", "real": "real, of other people"}
    spreads = [(named[name], values) for name, values in memorized.quantiles if values]
    with own_settings():
        height = 0.65 + 0.4 * len(spreads)
        figure = new_figure(6.0, height)
        axes = figure.add_axes((0.3, 0.5 / height, 0.67, 1 - 0.6 / height))
        for row, (_, (least, first, middle, third, most)) in enumerate(reversed(spreads)):
            color = _COLORS["synthetic"] if row == len(spreads) - 1 else _COLORS["real"]
            axes.plot([least, most], [row, row], color=color, lw=1)
            axes.plot([first, third], [row, row], color=color, lw=7, alpha=0.5, solid_capstyle="butt")
            axes.plot([middle], [row], "o", color=color, ms=5)
        for value, words, side in ((memorized.near_threshold, "near", 1), (memorized.copy_threshold, "copy", -1)):
            if value is not None:
                axes.axvline(value, color=INK, lw=0.8, ls="--")
                axes.annotate(
                    words,
                    (value, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(2 * side, -1),
                    textcoords="offset points",
                    ha="left" if side > 0 else "right",
                    va="top",
                    fontsize=7,
                )
        axes.set_yticks(range(len(spreads)), [name for name, _ in reversed(spreads)])
        axes.set_ylim(-0.6, len(spreads) - 0.2)
        axes.set_xlim(left=0)
        axes.set_xlabel("distance to the nearest training image (range, middle half, median)")
        return png_of(figure)


def usefulness_picture(useful: Usefulness) -> bytes:
    """Return Dice of the arms by structure, each seed a dot, with intervals."""
    names = list(dict.fromkeys(each.structure for each in useful.scores))
    if len(names) == 2:  # the mean of one structure is that structure
        names = names[1:]
    names = names[:_MOST_STRUCTURES]
    with own_settings():
        figure = new_figure(7.0, 0.9 + 0.55 * len(names))
        bottom = 0.5 / (0.9 + 0.55 * len(names))
        axes = figure.add_axes((0.25, bottom, 0.5, 1 - bottom - 0.03))
        for score in useful.scores:
            if score.structure not in names:
                continue
            place = ARMS.index(score.arm)
            row = len(names) - 1 - names.index(score.structure) + 0.22 * (1 - place)
            color = _COLORS[score.arm]
            axes.plot(score.by_seed, [row] * len(score.by_seed), ".", color=color, ms=4, alpha=0.5)
            axes.plot([score.low, score.high], [row, row], color=color, lw=1.2)
            label = score.arm if score.structure == names[0] else None
            axes.plot([score.mean], [row], _MARKS[score.arm], color=color, ms=5, label=label)
        axes.set_yticks(range(len(names)), [_words(name) for name in reversed(names)])
        axes.set_ylim(-0.5, len(names) - 0.5)
        axes.set_xlabel("Dice on held-out people (mean, 95 % over the seeds; dots: seeds)")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, title="learned from")
        return png_of(figure)


def _words(name: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in (name if name != ALL else "mean of all"))
    return shown if len(shown) <= 28 else shown[:27] + "\N{HORIZONTAL ELLIPSIS}"


def _show(axes: Axes, image: np.ndarray, labels: np.ndarray | None) -> None:
    """Draw an example as radiologists look at it: front up, the patient's right on the left; of a patch its middle."""
    flat, outlined = _flat(image), None if labels is None else _flat(labels)
    # Axes grow to the patient's right and front (or front and head, or right and head).
    axes.imshow(flat.T[::-1, ::-1], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    if outlined is not None and outlined.any():
        for number, value in enumerate(np.unique(outlined[outlined > 0])):
            inside: Any = (outlined == value).T[::-1, ::-1].astype(float)
            axes.contour(inside, levels=[0.5], colors=[f"C{(number + 1) % 10}"], linewidths=0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _flat(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 2 else array.take(array.shape[2] // 2, SLICE_AXIS["axial"])
