"""Lesions put into all images of a case at one place, with their mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.datasets.structure_keys import folded
from meddl.errors import JobCancelled, UsageError
from meddl.jobs.progress import part_of
from meddl.randomness import Stream
from meddl.synthesis.label_matching import unknown_structures
from meddl.synthesis.lesion_options import Donor, LesionOptions
from meddl.synthesis.lesion_places import Place, body_of, find_place
from meddl.synthesis.lesion_shapes import ExampleShape, RandomShape, Shape
from meddl.synthesis.lesion_textures import blended, fitted, from_example, from_statistics, profile_of
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]
_COLOR = (0.9, 0.35, 0.2)


@dataclass(frozen=True, eq=False)
class WithLesions:
    """Images of a case with lesions; as :class:`meddl.synthesis.lesions.Inserted`."""

    images: Mapping[str, Volume]
    labels: Volume
    segments: tuple[Segment, ...]
    mask: Volume
    facts: Mapping[str, Any]


def insert_lesions(
    images: Mapping[str, Volume],
    labels: Volume | None,
    segments: Sequence[Segment],
    options: LesionOptions,
    donor: Donor | None,
    synthesizer: Synthesizer | None,
    key: str,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> WithLesions:
    """Return images, all on one grid, with lesions in them; arguments and errors of ``insert_lesion``."""
    first = next(iter(images.values()))
    _check(images, labels, first)
    labels = labels or Volume(np.zeros((1, *first.shape), np.uint8), first.affine)
    lesion, segments = _lesion_segment(options.name, labels, tuple(segments))
    source, notes = _texture(options, lesion, donor, synthesizer, images)
    allowed, taken = _room(first, labels, segments, lesion, options)
    places = []
    for number in range(options.count):
        if cancelled():
            raise JobCancelled("Putting lesions in was cancelled.")
        progress(0.3 * number / options.count, f"Placing lesion {number + 1} of {options.count}")
        stream = Stream("meddl lesion", options.seed, key, number)
        low, high = options.volume_ml
        volume = math.exp(stream.uniform(math.log(low), math.log(high)))
        shape = _shape(options, donor, source, stream)
        what = options.inside or "the body"
        place = find_place(first, allowed, taken, volume, shape, stream, what)
        taken[place.box] |= place.lesion
        places.append((place, stream))
    mask = np.zeros(first.shape, bool)
    for place, _ in places:
        mask[place.box] |= place.lesion
    made_labels = _with_mask(labels, lesion, mask)
    generated = None
    if source == "generator":
        assert synthesizer is not None
        seed = int(Stream("meddl lesion texture", options.seed, key).token()[:8], 16)
        step = part_of(progress, 0.3, 0.9)
        # One name for each value: a value of two structures that overlap has theirs too.
        named = tuple({(each.layer, each.label): each for each in reversed(segments)}.values())
        (generated,) = synthesizer.sample(
            seed=seed, labels=made_labels, segments=named, progress=step, cancelled=cancelled
        )
        notes += [note for note in generated.facts["notes"] if note not in notes]
    made, told = {}, [_facts(place, first, lesion.name) for place, _ in places]
    for name, image in images.items():
        array = image.array.copy()
        now = image
        for (place, stream), facts in zip(places, told, strict=True):
            values, how = _values(now, name, place, stream, source, donor, generated, options)
            array[0][place.box], _ = blended(array[0][place.box], values, place, options.border_mm)
            now = image.with_array(array)
            facts["texture"] = {**facts.get("texture", {}), name: how}
        made[name] = image.with_array(array)
    progress(1.0, "Lesions are in")
    facts = {
        "name": lesion.name,
        "inside": options.inside,
        "border_mm": options.border_mm,
        "seed": options.seed,
        "key": key,
        "lesions": told,
        "notes": notes,
    }
    only = Volume(mask[None].astype(np.uint8), first.affine)
    return WithLesions(made, made_labels, segments, only, facts)


def _check(images: Mapping[str, Volume], labels: Volume | None, first: Volume) -> None:
    for image in images.values():
        if image.channels != 1:
            raise UsageError("The image has several values in each voxel, such as colors. Lesions are put into gray "
                             "images.")  # fmt: skip
        if not image.grid.same_as(first.grid):
            raise UsageError("The images of the case are not on one grid.")
    if labels is not None and not labels.grid.same_as(first.grid):
        raise UsageError("The labels are not on the image's grid. Bring them there first.")
    if labels is not None and labels.array.dtype.kind not in "iub":
        raise UsageError("The labels are no label map: their values are no whole numbers.")


def _lesion_segment(name: str, labels: Volume, segments: tuple[Segment, ...]) -> tuple[Segment, tuple[Segment, ...]]:
    """Return the lesion's segment, and all with it: one of that name, else a new value in the first layer."""
    for each in segments:
        if folded(each.name) == folded(name):
            return each, segments
    used = [each.label for each in segments if each.layer == 0]
    value = 1 + max([*used, int(labels.array[0].max())])
    lesion = Segment(value, name.strip(), _COLOR)
    return lesion, (*segments, lesion)


def _texture(
    options: LesionOptions,
    lesion: Segment,
    donor: Donor | None,
    synthesizer: Synthesizer | None,
    images: Mapping[str, Volume],
) -> tuple[str, list[str]]:
    """Return what the texture is taken from, and notes."""
    wanted, notes = options.texture, list[str]()
    reason = ""
    if synthesizer is None or not synthesizer.facts.conditioned:
        reason = "a generator that was trained with labels is needed"
    elif unknown_structures([lesion], synthesizer.facts, synthesizer.segments):
        reason = f"the generator '{synthesizer.bundle.name}' has not learned what {lesion.name} looks like"
    elif len(images) > 1:
        reason = f"a generator makes one image, and the case has {len(images)}"
    if wanted == "generator" or (wanted == "auto" and not reason):
        if reason:
            raise UsageError(f"The lesion's texture cannot be generated: {reason}.")
        return "generator", notes
    if wanted == "auto" and synthesizer is not None:
        notes.append(f"The texture is not generated: {reason}.")
    if wanted == "example" or (wanted == "auto" and donor is not None and options.shape != "random"):
        if donor is None:
            raise UsageError("There is no real lesion that the texture could be taken from. Give an example.")
        return "example", notes
    if donor is None:
        notes.append("No real lesion was given: the lesion is even, as bright as the contrast says, with grain.")
    return "statistics", notes


def _shape(options: LesionOptions, donor: Donor | None, source: str, stream: Stream) -> Shape:
    is_examples = options.shape == "example" or source == "example" or (options.shape == "auto" and donor is not None)
    if is_examples:
        if donor is None:
            raise UsageError("There is no real lesion that the shape could be taken from. Give an example.")
        return ExampleShape(donor.mask, stream.child("turn"), donor.name)
    return RandomShape(stream.child("shape"), options.irregularity)


def _room(
    image: Volume, labels: Volume, segments: Sequence[Segment], lesion: Segment, options: LesionOptions
) -> tuple[np.ndarray, np.ndarray]:
    same = [each for each in segments if folded(each.name) == folded(lesion.name)]
    taken = np.any([labels.array[each.layer] == each.label for each in same], axis=0)
    if not options.inside:
        return body_of(image), taken
    found = [each for each in segments if folded(each.name) == folded(options.inside)]
    if not found:
        names = ", ".join(each.name for each in segments if each is not lesion) or "none"
        raise UsageError(f"There is no structure {options.inside!r} that a lesion could lie in. There are: {names}.")
    allowed = np.any([labels.array[each.layer] == each.label for each in found], axis=0)
    if not allowed.any():
        raise UsageError(f"{options.inside} is not in this image, so no lesion can lie in it.")
    # A lesion that is there already lies in it too, and leaves a hole where it is labeled.
    return allowed, taken


def _with_mask(labels: Volume, lesion: Segment, mask: np.ndarray) -> Volume:
    array = labels.array.copy() if labels.array.dtype.kind != "b" else labels.array.astype(np.uint8)
    if lesion.label > np.iinfo(array.dtype).max:
        array = array.astype(np.uint16)
    array[lesion.layer][mask] = lesion.label
    return Volume(array, labels.affine, labels.name, labels.meta)


def _values(
    image: Volume,
    name: str,
    place: Place,
    stream: Stream,
    source: str,
    donor: Donor | None,
    generated: Any,
    options: LesionOptions,
) -> tuple[np.ndarray, dict[str, Any]]:
    if source == "generator":
        made = generated.image
        values = fitted(made.array[0][place.box].astype(np.float32), image, made, place)
        told = {key: generated.facts[key] for key in ("generator", "generator_sha256", "seed")}
        return values, {"from": "generator", **told}
    if source == "example":
        assert donor is not None
        return from_example(image, place, donor.images[name]), {"from": "example", "example": donor.name}
    profile = profile_of(donor.images[name], donor.mask) if donor is not None else None
    values, told = from_statistics(image, place, stream.child("texture", name), profile, options.contrast)
    return values, {**told, "example": donor.name} if donor is not None else told


def _facts(place: Place, image: Volume, name: str) -> dict[str, Any]:
    voxels = int(np.count_nonzero(place.lesion))
    index = np.argwhere(place.lesion).mean(axis=0) + [side.start for side in place.box]
    center = image.affine[:3, :3] @ index + image.affine[:3, 3]
    return {
        "structure": name,
        "center_mm": [round(float(each), 2) for each in center],
        "volume_ml": round(voxels * image.voxel_volume_ml, 4),
        "voxels": voxels,
        "shape": dict(place.shape.facts),
    }


def combined(before: Volume, made: Volume, mask: Volume, table: Mapping[int, int]) -> Volume:
    """Return a made label map in which what a lesion lies on has the value for both, where ``table`` has one."""
    if not table:
        return made
    where = mask.array[0] > 0
    array = made.array.copy()
    for value, both in table.items():
        array[0][where & (before.array[0] == value)] = both
    return replace(made, array=array)
