"""What a report says, in the order in which it is read: answer, maps and where they point, how far to believe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meddl.inference.prediction import ClassificationPrediction, Prediction
from meddl.inference.words import in_words, place_in_words
from meddl.saliency.anatomy import anatomy_sentence
from meddl.saliency.attribution import AnatomyShare, Attribution, Measure
from meddl.saliency.colors import DEFAULT_THRESHOLD, scale_of
from meddl.saliency.explanation import Explanation
from meddl.saliency.report.agreement import MOST_PAIRS, agreement_table
from meddl.saliency.report.blocks import Block, Heading, Items, Picture, Table, Text
from meddl.saliency.report.outlines import Outline
from meddl.saliency.report.pictures import curves_picture, gray_window, planes_picture
from meddl.saliency.report.planes import is_oblique, peak_of
from meddl.saliency.report.words import (
    CAUTION,
    RESEARCH_ONLY,
    UNCHECKED,
    channel_shares,
    facts_in_words,
    figure,
    measure_question,
    measure_source,
    measure_title,
    method_source,
    method_title,
    plain,
    verdict_in_words,
)
from meddl.volume import Volume

_BY_ITSELF = ("block_mm", "finest_mm", "memory_mb")
"""Options that are found for each image where they are 0."""

_MOST_LINES = 12
_MOST_STRUCTURES = 40


def contents(
    explanation: Explanation,
    image: Volume,
    outlines: Sequence[Outline] = (),
    *,
    channels: Sequence[str] = (),
    threshold: float = DEFAULT_THRESHOLD,
) -> tuple[Block, ...]:
    """Return a report in blocks.

    Args:
        image: ``(C, I, J, K)`` that was explained, on the grid of the maps.
        outlines: drawn over the pictures.
        channels: names of the image's channels.
        threshold: share of the scale that is transparent.
    """
    provenance = explanation.prediction.provenance
    model = provenance.get("model")
    model = model if isinstance(model, Mapping) else {}
    name = f"{model.get('name', 'The model')} {model.get('version', '')}".strip()
    blocks: list[Block] = [
        Heading("Why did the model say so?", 1),
        Text(f"{name}, asked about {_targets(explanation)}.", "lead"),
        Text(RESEARCH_ONLY, "warning"),
        *_answer(explanation.prediction),
    ]
    warnings = [str(each) for each in provenance.get("domain") or ()]
    blocks += [Text(each, "warning") for each in warnings]
    for attribution in explanation.attributions:
        blocks += _one_map(attribution, image, outlines, channels, threshold)
    if explanation.left_out:
        said = " ".join(f"{method_title(id)}: {why}" for id, why in explanation.left_out.items())
        blocks.append(Text(f"No map of other methods: {said}", "small"))
    if explanation.agreement:
        blocks += [Heading("Do the methods agree?"), *_agreement(explanation.agreement)]
    if explanation.counterfactuals:
        blocks += [
            Heading("What would be without it?"),
            Text("Each structure was painted over with its surroundings, and the model was asked again."),
            _measures(explanation.counterfactuals, with_question=False),
        ]
    blocks += [Heading("How it was made"), _provenance(explanation, image), Text(CAUTION, "small")]
    return tuple(blocks)


def title_of(explanation: Explanation) -> str:
    """Return the title of a report."""
    model = explanation.prediction.provenance.get("model")
    name = str(model.get("name", "the model")) if isinstance(model, Mapping) else "the models"
    return f"Why did {name} say so?"


def _targets(explanation: Explanation) -> str:
    return " and ".join(dict.fromkeys(each.target for each in explanation.attributions)) or "nothing"


def _answer(prediction: Prediction) -> list[Block]:
    if isinstance(prediction, ClassificationPrediction) and not prediction.classes:
        return []  # it was not kept
    lines = in_words(prediction)
    more = (f"and {len(lines) - _MOST_LINES} more",) if len(lines) > _MOST_LINES else ()
    return [Heading("The answer", 3), Items((*lines[:_MOST_LINES], *more))]


def _one_map(
    attribution: Attribution, image: Volume, outlines: Sequence[Outline], channels: Sequence[str], threshold: float
) -> list[Block]:
    title, source = method_title(attribution.method), method_source(attribution.method)
    said = anatomy_sentence(attribution.anatomy) if attribution.anatomy else ""
    verdict = verdict_in_words(attribution.measures)
    blocks: list[Block] = [Heading(f"{title}: {attribution.target}", with_picture=True)]
    if said:
        blocks.append(Text(said, "lead"))
    bad = [each.sentence for each in attribution.measures if each.verdict == "bad" and each.sentence]
    blocks.append(Text(" ".join([verdict or UNCHECKED, *bad]), "warning" if bad else "plain"))
    blocks += [Text(note, "warning") for note in attribution.notes]
    blocks += _pictures(attribution, image, outlines, channels, threshold)
    if attribution.anatomy:
        blocks += [Heading("Where the evidence lies", 3), *_anatomy(attribution.anatomy, attribution.signed)]
    shares = channel_shares(attribution)
    if shares:
        names = [*channels, *(f"channel {n + 1}" for n in range(len(channels), len(shares)))]
        rows = tuple((names[n], f"{share:.1%}") for n, share in enumerate(shares))
        blocks += [Heading("Which channel it lies in", 3), Table(("Channel", "Share of the evidence"), rows, (1,))]
    if attribution.measures:
        blocks += [Heading("How far to believe it", 3), _measures(attribution.measures)]
        if sources := [measure_source(each.name) for each in attribution.measures if measure_source(each.name)]:
            blocks.append(Text(f"Checks after: {'; '.join(dict.fromkeys(sources))}.", "small"))
        if any(each.curve for each in attribution.measures):
            words = "Curves of " + ", ".join(measure_title(e.name).lower() for e in attribution.measures if e.curve)
            blocks.append(Picture(curves_picture(attribution.measures), f"{words}.", 0.85))
    score = ("Score that was explained, as the network gives it", figure(attribution.score))
    facts = (score, *_without_score(attribution.facts))
    blocks += [Heading("How the map was made", 3), Table((), (*facts, *((("Source", source),) if source else ())))]
    return blocks


def _pictures(
    attribution: Attribution, image: Volume, outlines: Sequence[Outline], channels: Sequence[str], threshold: float
) -> list[Block]:
    values = attribution.map.array[0]
    index = peak_of(values)
    peak = place_in_words(image.affine[:3, :3] @ index + image.affine[:3, 3])
    shown = channels[0] if len(channels) > 1 else "the image"
    low, high = gray_window(image.array[0])
    words = (
        f"Through the map's peak (yellow marks) at {peak}, value {figure(float(values[index]))}: first {shown} alone, "
        "then with the map."
    )
    more = (
        f"Gray from {figure(low)} to {figure(high)}. The scale ends at {figure(scale_of(values))}, beyond which lie "
        f"0.1 % of the values; below {threshold:.0%} of it the map is transparent. As radiologists look at it: the "
        "patient's right is on the left."
    )
    if is_oblique(image):
        more += " The image lies oblique in the patient: slices are along its voxels and only nearly axial and so on."
    if outlines:
        more += f" Outlined: {', '.join(each.name for each in outlines)}."
    png = planes_picture(image, attribution, outlines, threshold=threshold)
    return [Picture(png, words), Text(f"{words} {more}", "small")]


def _anatomy(shares: Sequence[AnatomyShare], signed: bool) -> list[Block]:
    signed = signed and any(each.negative for each in shares)
    *structures, outside = shares
    ordered = sorted(structures, key=lambda each: -max(each.positive, each.negative))
    rows = []
    for each in [*ordered[:_MOST_STRUCTURES], outside]:
        against = [f"{each.negative:.1%}"] if signed else []
        rows.append((each.name, f"{each.positive:.1%}", *against, f"{each.density:.1f}", f"{each.volume_ml:.1f}"))
    columns = (
        "Structure",
        "For the answer",
        *(["Against it"] if signed else []),
        "Density (1 is chance)",
        "Volume (ml)",
    )
    blocks: list[Block] = [Table(columns, tuple(rows), tuple(range(1, len(columns))))]
    if len(ordered) > _MOST_STRUCTURES:
        blocks.append(Text(f"{len(ordered) - _MOST_STRUCTURES} more structures hold less.", "small"))
    return blocks


def _agreement(agreement: Sequence[Measure]) -> list[Block]:
    sentence, rows = agreement_table(agreement)
    if len(agreement) <= MOST_PAIRS or not rows:
        return [_measures(agreement, with_question=False)]
    columns = ("", "Method", *(str(n + 1) for n in range(len(rows) - 1)))
    return [Text(sentence), Table(columns, rows, tuple(range(2, len(columns))))]


def _measures(measures: Sequence[Measure], with_question: bool = True) -> Table:
    rows = []
    for each in measures:
        asked = measure_question(each.name) if with_question else ""
        said = " ".join(part for part in (asked, each.sentence) if part)
        rows.append((measure_title(each.name), each.verdict, figure(each.value), figure(each.random), said))
    return Table(("Check", "Verdict", "Value", "Random map", "What it means"), tuple(rows), (2, 3), 1)


def _without_score(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return facts_in_words({key: value for key, value in facts.items() if key != "score"})


def _provenance(explanation: Explanation, image: Volume) -> Table:
    known = explanation.prediction.provenance
    model = known.get("model")
    rows: list[tuple[str, Any]] = []
    if isinstance(model, Mapping):
        rows += [("Model", f"{model.get('name', '')} {model.get('version', '')}"), ("License", model.get("license"))]
        rows += [("SHA-256 of the model", model.get("sha256"))]
    rows += [
        ("Task", known.get("task")),
        ("Image", f"{plain(list(image.shape))} voxels of {_millimeters(image)}, {image.orientation}"),
        ("Channels", image.channels if image.channels > 1 else None),
        ("Parameters", known.get("parameters") or None),
        ("Options", _options(explanation)),
        ("Device", (known.get("device") or {}).get("name")),
        ("Software", known.get("software")),
        ("Made", known.get("created")),
        ("Notes", "; ".join(str(each) for each in known.get("notes") or ()) or None),
    ]
    return Table((), tuple((name, plain(value)) for name, value in rows if value not in (None, "")))


def _millimeters(image: Volume) -> str:
    return " x ".join(f"{each:.3g}" for each in image.spacing) + " mm"


def _options(explanation: Explanation) -> Mapping[str, Any] | None:
    for each in explanation.attributions:
        how = each.provenance.get("explanation")
        if isinstance(how, Mapping):
            chosen = {key: value for key, value in how.items() if key not in ("method", "device") and value != ""}
            return {key: value for key, value in chosen.items() if value or key not in _BY_ITSELF}
    return None
