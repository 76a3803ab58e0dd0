"""Phantoms for judging generators: slices of heads of people, each with a brain and details of its own."""

from __future__ import annotations

import math

import numpy as np
from meddl.synthesis import Examples, ExampleSource


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


SIZE = 32


def phantom(person: int, index: int, structures: int = 1, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A slice of a person: an ellipse with a skull and fine details that are that person's, and its label map."""
    from scipy.ndimage import gaussian_filter

    own, here = random(person), random(1000 * person + index)
    x, y = np.meshgrid(*(np.linspace(-1, 1, size),) * 2, indexing="ij")
    # From slice to slice the details change little by little, as in a person.
    one, other = own.normal(size=(2, size, size))
    share = index / 12 * math.pi / 2
    details = gaussian_filter(math.cos(share) * one + math.sin(share) * other, size / 26)
    wide, high = own.uniform(0.4, 0.55), own.uniform(0.5, 0.65)
    radius = np.hypot((x - own.uniform(-0.1, 0.1)) / wide, (y - own.uniform(-0.1, 0.1)) / high) * (1 + index / 60)
    image = np.where(radius < 1.25, 0.6, -1) + np.where(radius < 1, -0.5 + details / details.std() * 0.35, 0)
    labels = (radius < 1).astype(np.uint8)
    if structures == 2:
        labels[np.hypot(x - own.uniform(-0.2, 0.2), y - own.uniform(-0.2, 0.2)) < own.uniform(0.15, 0.25)] = 2
        image[labels == 2] += 0.5
    image = image + here.normal(0, 0.02, image.shape)
    return np.clip(image, -1, 1).astype(np.float32), labels


def phantoms(people, each: int = 8, split: str = "train", structures: int = 1, size: int = SIZE) -> Examples:
    made = [(person, index, *phantom(person, index, structures, size)) for person in people for index in range(each)]
    sources = tuple(ExampleSource(f"case_{p:03d}", f"patient_{p:03d}", split, (i,)) for p, i, _, _ in made)
    names = {0: "background", 1: "Brain", 2: "Lesion"}
    names = {value: names[value] for value in range(structures + 1)}
    images = np.stack([image for _, _, image, _ in made])[:, None]
    return Examples(images, np.stack([labels for *_, labels in made]), sources, names, 4.0, 0.0, 100.0, "MR")
