"""The report of a judgement: a page, its figures as JSON, and pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from meddl.datasets.markdown import inline, table
from meddl.errors import UnwritableDataset, VolumeError
from meddl.synthesis.distances import Distance
from meddl.synthesis.judgement import Judgement
from meddl.synthesis.memorization import Memorization
from meddl.synthesis.own_maps import OwnMaps
from meddl.synthesis.usefulness import Usefulness

PAGE = "judgement.md"
FIGURES = "judgement.json"
_WORDS = {
    "samples.png": "Real training images over synthetic ones, what is labeled outlined",
    "pairs.png": "The synthetic images nearest to a training image, each over that image",
    "nearness.png": "Distances to the nearest training image",
    "usefulness.png": "Dice with and without synthetic images",
}


def check_report_folder(folder: Path) -> None:
    """Find out, before the work of an hour, whether a report could be written into a folder; nothing is made.

    Raises:
        UnwritableDataset: it could not.
    """
    try:
        place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    except OSError as error:
        raise UnwritableDataset(
            "The report's folder has a name that no folder can have. Choose another one."
        ) from error
    if not place.is_dir():
        raise UnwritableDataset(f"The report's folder cannot be made: {place.name} is a file. Choose another one.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UnwritableDataset("The report's folder cannot be written to. Choose another one.")


def write_report(judgement: Judgement, folder: Path) -> tuple[Path, ...]:
    """Write ``judgement.md``, ``judgement.json`` and pictures into a folder, each whole or not at all.

    Returns:
        The files, ``judgement.md`` first. The same judgement gives the same bytes.

    Raises:
        UnwritableDataset: the folder cannot be written to.
    """
    from meddl.volume import whole_file

    folder = Path(folder)
    files = {name: judgement.pictures[name] for name in sorted(judgement.pictures)}
    files[FIGURES] = (json.dumps(judgement.to_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    files[PAGE] = page_of(judgement).encode("utf-8")  # last: it names the others
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with whole_file(folder / name) as file:
                file.write(content)
    except (OSError, VolumeError) as error:
        raise UnwritableDataset(
            "The report could not be written into this folder. Choose another one, or make room on the disk.",
            details=str(error),
        ) from error
    return (folder / PAGE, folder / FIGURES, *(folder / name for name in sorted(judgement.pictures)))


def page_of(judgement: Judgement) -> str:
    """Return the page as Markdown."""
    return "\n\n".join(_parts(judgement)) + "\n"


def _parts(judgement: Judgement) -> Iterator[str]:
    generator = judgement.facts.get("generator", {})
    counts = judgement.facts.get("counts", {})
    yield f"# Judgement of the generator {inline(str(generator.get('name', '')))}".rstrip()
    for line in judgement.summary:
        yield f"**{inline(line)}**" if line in judgement.warnings else inline(line)
    if counts:
        yield (
            f"{counts['synthetic']} synthetic images against {counts['training']} real ones of "
            f"{_people(counts['training_people'])} that it has learned from, and {counts['held_out']} of "
            f"{_people(counts['held_out_people'])} that it has not. For research."
        )
    if "samples.png" in judgement.pictures:
        yield _picture("samples.png")
    if judgement.memorization is not None:
        yield from _memorization(judgement.memorization, "pairs.png" in judgement.pictures)
    if judgement.own_maps is not None:
        yield from _own_maps(judgement.own_maps)
    yield from _distances(judgement.distances)
    if judgement.usefulness is not None:
        yield from _usefulness(judgement.usefulness)
    notes = [*judgement.notes, *(judgement.memorization.notes if judgement.memorization else ())]
    if notes:
        yield "## What to know"
        yield _list(notes)
    yield "## How it was made"
    options = judgement.facts.get("options", {})
    trained = generator.get("trained_on", {})
    rows = [("generator", f"{generator.get('kind', '')}, SHA-256 {generator.get('sha256', '')}")] if generator else []
    rows += [(f"learned from: {key}", value) for key, value in sorted(trained.items()) if not isinstance(value, list)]
    rows += [("dataset", judgement.facts["dataset"])] if judgement.facts.get("dataset") else []
    rows += [(key.replace("_", " "), value) for key, value in sorted(options.items())]
    yield table(("what", "value"), [(key, str(value)) for key, value in rows])


def _memorization(found: Memorization, with_pictures: bool) -> Iterator[str]:
    yield "## Does it know people by heart?"
    yield f"**{inline(found.sentence)}**" if found.warnings else inline(found.sentence)
    rows = []
    for name, values in found.quantiles:
        if values:
            who = "synthetic" if name == "synthetic" else f"real: {found.baseline}"
            number = found.synthetic if name == "synthetic" else found.real
            rows.append((who, number, *(f"{each:.3f}" for each in values)))
    yield "Distance to the nearest training image:"
    yield table(("images", "number", "least", "25 %", "median", "75 %", "most"), rows)
    if found.near_threshold is not None and found.copy_threshold is not None:
        ratio = third = ""
        if found.ratio_threshold is not None:
            ratio = (
                f", and at less than {found.ratio_threshold:.2f} of the distance to any other training person's images "
                "(a blurred image, or one that shows little, is a little like everybody's)"
            )
            third = f", and below {found.ratio_threshold / 3:.2f} of that distance"
        yield (
            f"Near is what lies below {found.near_threshold:.3f}, nearer than the real images of {found.people} people "
            f"come{ratio}: {found.near} of {found.synthetic}, at most {found.expected_near:.1f} by chance "
            f"(p = {found.p_value:.2g} if images were independent). Of a real person's images, by the limits of the "
            f"other people, it is {found.real_near_share:.0%} at most. A copy is what lies below "
            f"{found.copy_threshold:.3f}{third}: {found.copies}."
        )
    yield (
        "The distance is 1 less the correlation of both images' details (between 1/64 and 1/16 of the size), at the "
        "best of shifts up to 1/8 of the size, mirrored copies, turns up to 15 degrees and scales up to 10 %: 0 is a "
        "copy, 1 nothing in common. Noise, brightness and contrast hardly change it. What it does not find: copies of "
        "parts of an image, and bent ones."
    )
    if with_pictures:
        yield _picture("nearness.png")
        yield _picture("pairs.png")
        yield "The lower row shows images of real people: keep this report as you keep the dataset."


def _own_maps(found: OwnMaps) -> Iterator[str]:
    yield "### With people's own label maps"
    yield f"**{inline(found.sentence)}**" if found.warning else inline(found.sentence)
    yield (
        "Label maps as they are, not moved, and the same distance, in place. A label map says "
        "much of its image by itself: a warning takes half the distance of the others, in each training person."
    )
    rows = [(name, "yes", f"{each:.3f}") for name, each in found.training.items()]
    rows += [(name, "no", f"{each:.3f}") for name, each in found.held_out.items()]
    yield table(("person", "learned from", "distance (median)"), rows)


def _distances(distances: Sequence[Distance]) -> Iterator[str]:
    if not distances:
        return
    yield "## How near to real images?"
    rows = [
        (
            each.measure,
            each.features,
            _figure(each.value, each.low, each.high),
            "-" if each.baseline is None else _figure(each.baseline, each.baseline_low, each.baseline_high),
            each.sentence,
        )
        for each in distances
    ]
    yield table(("measure", "compared by", "synthetic", "real", "what it means"), rows)
    yield (
        "KID, FID and MMD: distance between the synthetic images and the training images, lower is better; beside it "
        "that between other real images and the training images. Brackets: KID and MMD 95 % of random halves, FID the "
        "range of random subsets of equal size, MS-SSIM the bootstrap's 95 %. Synthetic images that are nearer than "
        "real people are no success by themselves: copies are nearest."
    )


def _usefulness(found: Usefulness) -> Iterator[str]:
    yield "## Is it of use?"
    yield inline(found.sentence)
    counts = dict(found.examples)
    yield (
        f"The same small segmenter, {found.seeds} times {found.steps} steps for each row, on {counts.get('real', 0)} "
        f"real and {counts.get('synthetic', 0)} synthetic examples; Dice on {counts.get('held_out', 0)} examples of "
        f"{_people(found.people)} held out:"
    )
    apart = {(each.arm, each.structure): each for each in found.differences}
    structures = list(dict.fromkeys(each.structure for each in found.scores))
    if len(structures) == 2:  # the mean of one structure is that structure
        structures = structures[1:]
    rows = []
    for score in (each for name in structures for each in found.scores if each.structure == name):
        difference = apart.get((score.arm, score.structure))
        shown = ("", "", "")
        if difference is not None:
            wide = "-"
            if difference.wide_low is not None and difference.wide_high is not None:
                wide = f"{difference.wide_low:+.3f} to {difference.wide_high:+.3f}"
            shown = (f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})", wide,
                     difference.verdict)  # fmt: skip
        dice = f"{score.mean:.3f} ({score.low:.3f} to {score.high:.3f})"
        rows.append((score.structure, score.arm, dice, score.people, *shown))
    columns = ("structure", "learned from", "Dice", "people", "less real only", "for people like them", "verdict")
    yield table(columns, rows)
    yield _picture("usefulness.png")
    yield _list(found.notes)


def _picture(name: str) -> str:
    return f"![{_WORDS.get(name, name)}]({name})"


def _figure(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4g}" if low is None or high is None else f"{value:.4g} ({low:.4g} to {high:.4g})"


def _people(count: int) -> str:
    return "one person" if count == 1 else f"{count} people"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {inline(each)}" for each in lines)
