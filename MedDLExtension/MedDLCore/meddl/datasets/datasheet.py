"""The datasheet of a dataset: what people need to know before they use it, in Markdown.

Its questions are those of Gebru et al. (2021), "Datasheets for Datasets", Communications of the ACM 64(12). It answers
from the manifest and from what the user typed. What nobody told is said to be not stated, never made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meddl.datasets import markdown
from meddl.datasets.case import SPLITS
from meddl.datasets.datasheet_preparation import deidentification_answer, preprocessing_answer, split_answer
from meddl.datasets.facts import CaseFacts
from meddl.datasets.formats.known import make_format
from meddl.datasets.manifest import MANIFEST, Manifest
from meddl.datasets.quality import duplicates, mixtures, outliers
from meddl.datasets.report import FOLDER, structure_rows

PATH = "datasheet.md"
NOT_STATED = "*Not stated.*"
_MOST = 12
_TASKS = {
    "segmentation": "outlining structures in images (segmentation)",
    "classification": "telling kinds of images apart (classification)",
    "detection": "finding things in images, as boxes (detection)",
    "landmarks": "finding anatomical points in images (landmarks)",
    "reconstruction": "making one image out of another (reconstruction)",
}


def datasheet(manifest: Manifest, facts: Sequence[CaseFacts]) -> str:
    """Return the datasheet of the dataset that ``manifest`` describes.

    Args:
        facts: of its cases under their names in the dataset.
    """
    plan, options = manifest.plan, manifest.plan.options
    form = make_format(options.format)
    versions = ", ".join(f"{name} {version}" for name, version in manifest.made_with.items()) or NOT_STATED
    parts = [
        f"# Datasheet: {markdown.inline(options.name) or 'dataset'}",
        f'After Gebru et al. (2021), "Datasheets for Datasets". Written by MedDL from `{MANIFEST}`, and from what the '
        "dataset's maker typed (set off as quotations). What nobody told is not stated here.",
        "## Motivation",
        _answer("For what purpose was the dataset created?", f"To train and judge models for {_TASKS[plan.task]}."),
        markdown.quote(options.description) if options.description.strip() else f"More: {NOT_STATED}",
        _answer("Who created the dataset, and for whom? Who funded it?", _typed(options.contact)),
        "## Composition",
        _answer("What do the instances represent, and how many are there?", _instances(manifest)),
        _answer("Does it contain all possible instances, or a sample?", NOT_STATED),
        _answer("What data does each instance consist of?", _data(manifest)),
        _answer("Is there a label or target associated with each instance?", _labels(manifest, facts)),
        _answer("Is any information missing from individual instances?", _missing(manifest, facts)),
        _answer("Are relationships between instances made explicit?",
                "Cases of one patient have the same `patient` in the manifest."),
        _answer("Are there recommended data splits?", split_answer(manifest)),
        _answer("Are there errors, sources of noise, or redundancies?", _errors(facts)),
        _answer("Is the dataset self-contained?", "Yes."),
        _answer("Does it contain data that might be considered confidential? Can individuals be identified?",
                deidentification_answer(manifest)),
        "## Collection process",
        _answer("How was the data acquired, by whom, over what timeframe?", NOT_STATED),
        _answer("Were ethical reviews conducted? Were the individuals notified, and did they consent?",
                _typed(options.consent)),
        "## Preprocessing, cleaning, labeling",
        _answer("Was any preprocessing done?", preprocessing_answer(manifest)),
        _answer("Who labeled the data, and how?", NOT_STATED),
        _answer("Was the raw data saved too?", "Not in this dataset."),
        _answer("Is the software available?", f"MedDL wrote the dataset. Versions: {versions}."),
        "## Uses",
        _answer("Has it been used already? What else could it be used for?", NOT_STATED),
        _answer("Are there tasks for which it should not be used?", NOT_STATED),
        "## Distribution",
        _answer("In what form is it distributed?", f"{markdown.inline(form.title)}."),
        _answer("Under what license or terms of use?", _typed(options.license)),
        "## Maintenance",
        _answer("Who maintains it, and how can they be reached?", _typed(options.contact)),
        _answer("Will it be updated?", f"{NOT_STATED} Cases can be added by a second export to the same folder; "
                "those that are there keep their numbers and their parts."),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _answer(question: str, answer: str) -> str:
    return f"**{question}**\n\n{answer}"


def _typed(text: str) -> str:
    return markdown.quote(text) if text.strip() else NOT_STATED


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _instances(manifest: Manifest) -> str:
    cases = [record.case for record in manifest.done()]
    patients = len({case.patient for case in cases})
    sites = len({case.site for case in cases} - {""})
    where = f", of {_count(sites, 'site')}" if sites else "; sites: not stated"
    rows = []
    for split in SPLITS:
        own = [case for case in cases if case.split == split]
        if own:
            rows.append((split, len(own), len({case.patient for case in own})))
    start = f"{_count(len(cases), 'case')} of {_count(patients, 'patient')}{where}."
    missing = len(manifest.plan.cases) - len(cases)
    if missing:
        start += f" {_count(missing, 'planned case')} could not be written, or not yet."
    if sites:
        counts = Counter(case.site for case in cases if case.site)
        rows_of_sites = sorted(counts.items())
        return "\n\n".join([start, markdown.table(("part", "cases", "patients"), rows),
                            markdown.table(("site", "cases"), rows_of_sites)])  # fmt: skip
    return "\n\n".join([start, markdown.table(("part", "cases", "patients"), rows)])


def _data(manifest: Manifest) -> str:
    plan = manifest.plan
    rows = [(name, plan.modality.get(name) or "not stated, or several") for name in plan.channels]
    return "Images, on one grid per case.\n\n" + markdown.table(("channel", "modality"), rows)


def _labels(manifest: Manifest, facts: Sequence[CaseFacts]) -> str:
    plan = manifest.plan
    if plan.scheme is not None:
        known = {row["structure"]: row for row in structure_rows(facts)}
        rows: list[tuple[object, ...]] = []
        for index, structure in enumerate(plan.scheme.structures):
            row = known.get(structure.name, {})
            values = ", ".join(map(str, plan.scheme.values_of(index)))
            rows.append((values, structure.name, row.get("cases", 0), row.get("median (ml)", "")))
        if plan.scheme.ignore_value is not None:
            rows.append((plan.scheme.ignore_value, "ignored: nobody knows what is here", "", ""))
        how = (
            "Where structures overlap, the one further up in this list covers the others."
            if plan.scheme.overlaps == "order"
            else "Structures may overlap: combinations have values of their own, given with each structure."
        )
        return f"Label maps. {how}\n\n" + markdown.table(("values", "structure", "cases", "median volume (ml)"), rows)
    if plan.task in ("classification", "detection"):
        field = "classes" if plan.task == "classification" else "boxes"
        counts = Counter(name for fact in facts for name in getattr(fact, field))
        what = "cases" if plan.task == "classification" else "boxes"
        return markdown.table(("class", what), [(name, counts[name]) for name in plan.classes])
    if plan.task == "landmarks":
        counts = Counter(name for fact in facts for name in fact.points)
        return markdown.table(("point", "cases"), [(name, counts[name]) for name in plan.classes])
    return "A target image for each case."


def _missing(manifest: Manifest, facts: Sequence[CaseFacts]) -> str:
    found = []
    if unlabeled := sum(not fact.task for fact in facts):
        found.append(f"{_count(unlabeled, 'case')} without a label.")
    if manifest.plan.scheme is not None:
        rows = {row["structure"]: row for row in structure_rows(facts)}
        labeled = sum(fact.task == "segmentation" for fact in facts)
        names = [each.name for each in manifest.plan.scheme.structures]
        lacking = [(name, labeled - int(rows[name]["cases"]) if name in rows else labeled) for name in names]
        sentences = [f"{name} is in all but {_count(count, 'labeled case')}." for name, count in lacking if count]
        if len(sentences) > _MOST:
            sentences = [f"{len(sentences)} of {len(names)} structures are not in every labeled case, see the labels."]
        found += sentences
    return _list(found) or "Not as far as MedDL can tell."


def _errors(facts: Sequence[CaseFacts]) -> str:
    found = [*mixtures(facts)]
    if groups := duplicates(facts):
        found.append(f"The same image is in several cases {_count(len(groups), 'time')}; these stay in one part.")
    if far := {each.case for each in outliers(facts)}:
        found.append(f"{_count(len(far), 'case')} with values far from those of the others.")
    if outside := sum(fact.label_outside > 0 for fact in facts):
        found.append(f"{_count(outside, 'case')} whose label reached beyond the image.")
    if debris := sum(any(each.debris_voxels for each in fact.structures) for fact in facts):
        found.append(f"{_count(debris, 'case')} with pieces of one voxel in the label.")
    found = found or ["MedDL's checks found none."]
    return _list(found) + f"\n\nSee `{FOLDER}/quality.md`. Who is right in a label, no program can tell."


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {markdown.inline(sentence)}" for sentence in sentences)
