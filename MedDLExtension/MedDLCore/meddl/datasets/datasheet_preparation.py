"""Answers of a datasheet about how its cases were prepared: parts, names taken away, grids."""

from __future__ import annotations

from collections import Counter

from meddl.datasets import markdown
from meddl.datasets.manifest import Manifest

_CROPS = {
    "none": "",
    "foreground": "cropped to what is brighter than the background",
    "label": "cropped to what is labeled",
    "roi": "cropped to a region chosen by the maker",
}
_DEFACED = {
    "template": "Faces were removed by a mask that was registered to each head.",
    "brain": "Faces were removed: all that is far from the brain.",
}


def split_answer(manifest: Manifest) -> str:
    """Return how the cases were divided."""
    split = manifest.plan.options.split
    folds = Counter(record.case.fold for record in manifest.done() if record.case.fold is not None)
    by = " and ".join({"label": "labels", "site": "sites"}[name] for name in split.stratify) or "nothing"
    parts = [
        "Yes: by patient, never by image; cases with an image in common are on one side. "
        f"Wanted: {split.validation:.0%} of the patients for validation, {split.test:.0%} for test, unless the maker "
        f"chose otherwise for a case. Balanced over {by}; seed {split.seed}."
    ]
    if folds:
        parts.append(f"The training part has {len(folds)} folds for cross-validation.")
        parts.append(markdown.table(("fold", "cases"), sorted(folds.items())))
    return "\n\n".join(parts)


def deidentification_answer(manifest: Manifest) -> str:
    """Return what was done so that nobody is known by the data, and what that cannot do."""
    options = manifest.plan.options.deidentify
    if options.profile == "none":
        return "**Nothing was done to hide who the patients are**: names of cases, patients and sites were kept."
    found = [
        "Cases, patients and sites have numbers instead of names. Files were written anew, with nothing of the "
        "original files' headers but geometry and values; DICOM files follow the Basic Application Confidentiality "
        "Profile of DICOM PS3.15 Annex E.",
    ]
    chosen = {
        "dates shifted by a number of days per patient": options.shift_dates,
        "descriptions kept without what identifies": options.clean_descriptors,
        "burned-in text blanked": options.clean_pixels,
        "private attributes kept that are known to be safe": options.keep_safe_private,
    }
    if names := [name for name, is_on in chosen.items() if is_on]:
        found.append(f"Options: {', '.join(names)}.")
    found.append(_DEFACED.get(options.deface, "Faces were **not** removed: from head images a face can be rebuilt."))
    found.append(
        "Whoever has the original images can recognize them here; the key of the numbers, if one was made, is not part "
        "of the dataset."
    )
    return " ".join(found)


def preprocessing_answer(manifest: Manifest) -> str:
    """Return what was done to images and labels."""
    plan, grid = manifest.plan, manifest.plan.options.grid
    steps = [f"Images and label of a case lie on one grid: that of its channel {markdown.inline(_reference(manifest))}"]
    if grid.orientation:
        steps.append(f"axes turned towards {markdown.inline(grid.orientation)}, voxels only reordered")
    if grid.spacing_mm:
        steps.append(f"resampled to {' x '.join(f'{length:g}' for length in grid.spacing_mm)} mm")
    if _CROPS.get(grid.crop):
        steps.append(f"{_CROPS[grid.crop]}, with a margin of {grid.margin_mm:g} mm")
    text = [", ".join(steps) + ". What was on another grid was resampled: images linearly, labels by structure."]
    if plan.scheme is not None:
        merged = sum(len(each.sources) > 1 for each in plan.scheme.structures)
        if merged:
            text.append(f"{merged} structure{'s were' if merged > 1 else ' was'} merged from several.")
        if dropped := len(plan.scheme.dropped):
            text.append(f"{dropped} structure{'s' if dropped > 1 else ''} of the originals "
                        f"{'were' if dropped > 1 else 'was'} left out.")  # fmt: skip
    made = Counter(str(record.facts["made"].get("title", "")) for record in manifest.done() if record.facts.get("made"))
    for title, count in sorted(made.items()):
        text.append(f"**The images of {count} cases were not acquired but simulated** ({markdown.inline(title)}) "
                    "out of others; how, with the seed, is told with each case in the manifest.")  # fmt: skip
    if notes := sum(bool(record.facts.get("notes")) for record in manifest.done()):
        text.append(f"Remarks on {notes} cases are in the manifest.")
    return " ".join(text)


def _reference(manifest: Manifest) -> str:
    plan = manifest.plan
    return plan.options.grid.reference or (plan.channels[0] if plan.channels else "")
