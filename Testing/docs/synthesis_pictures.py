"""Makes the pictures of the demo generators: `python Testing/docs/synthesis_pictures.py`.

Each row is a label map, the real image it was made of, images of three seeds, and the image of the training that is
nearest to the first of them. The first rows are of the training, the others of a person whom the generator never saw.
"""

from __future__ import annotations

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent / "MedDLExtension" / "MedDLCore"), str(TESTING)]

import numpy as np  # noqa: E402
from demo_models import head_flow, head_gan, head_synthesis, head_tissues  # noqa: E402
from demo_models.bundle import load_network  # noqa: E402
from meddl.plotting import new_figure, own_settings, png_of  # noqa: E402

PICTURES = TESTING.parent / "Docs" / "pictures"
SEEDS = (1, 2, 3)
COLORS = np.array([(0.0, 0.0, 0.0), *head_tissues.COLORS])


def main() -> None:
    config = head_gan.CONFIG
    training = head_tissues.joined(
        head_tissues.slices_of(head, config) for head in head_tissues.training_heads().values()
    )
    held_out = head_tissues.slices_of(head_tissues.held_out_head(), config)
    for name, recipe in (("synthesis_gan", head_gan), ("synthesis_flow", head_flow)):
        network = load_network(recipe.DEFINITION)
        with own_settings():
            PICTURES.joinpath(f"{name}.png").write_bytes(_picture(network, training, held_out))


def _picture(network, training, held_out) -> bytes:
    rows = [("training", training, share) for share in (0.12, 0.3)]
    rows += [("held out", held_out, share) for share in (0.3, 0.5, 0.7)]
    titles = ["label map", "real", *(f"seed {seed}" for seed in SEEDS), "nearest in training"]
    figure = new_figure(9.2, 1.62 * len(rows), dpi=100)
    axes = figure.subplots(len(rows), len(titles))
    figure.subplots_adjust(left=0.03, right=0.995, bottom=0.01, top=0.96, wspace=0.04, hspace=0.04)
    for row, (who, examples, share) in zip(axes, rows, strict=True):
        index = int(share * len(examples))
        labels, real = examples.labels[index], examples.images[index, 0]
        made = [head_synthesis.made(network, labels[None], seed)[0] for seed in SEEDS]
        far = ((training.images[:, 0] - made[0]) ** 2).mean(axis=(1, 2))
        nearest = training.images[int(far.argmin()), 0]
        for place, picture in zip(row, [COLORS[labels], real, *made, nearest], strict=True):
            shown = np.swapaxes(picture, 0, 1)[::-1, ::-1]
            place.imshow(shown, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
        row[0].set_ylabel(who)
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=9)
    return png_of(figure)


if __name__ == "__main__":
    main()
