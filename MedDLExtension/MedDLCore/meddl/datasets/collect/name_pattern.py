"""Cases by a pattern that tells how the files of a folder are named."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from meddl.datasets.case import Case, ClassLabel, ImageFile
from meddl.datasets.collect.entries import LABEL_WORDS, SPLIT_WORDS, Entry
from meddl.datasets.collect.layouts import channel_added, one_or_more
from meddl.errors import UsageError

FIELDS = ("case", "channel", "patient", "study", "site", "split", "class")
_TOKEN = re.compile(r"\{([^{}]*)\}|\*")
_MAX_LENGTH = 500


def pattern_cases(entries: Sequence[Entry], pattern: str) -> list[Case]:
    """Return the cases of the files that fit a pattern.

    The pattern is compared with a file's name without its suffix, or with its whole path in the folder if it has a
    "/". Its fields are ``{case}`` (needed), ``{channel}``, ``{patient}``, ``{study}``, ``{site}``, ``{split}`` and
    ``{class}``; ``*`` is anything but a "/". A second pattern after ";" is that of the segmentations; without one,
    those are known by their suffix (.seg.nrrd), their folder ("labels") or a channel called "seg", "label", "mask".

    Raises:
        UsageError: the pattern is not understood, fits no file, or gives two images one name.
    """
    image_text, _, label_text = pattern.partition(";")
    of_images, of_labels = _compiled(image_text), _compiled(label_text) if label_text.strip() else None
    groups: dict[str, dict[str, ImageFile]] = defaultdict(dict)
    facts: dict[str, dict[str, str]] = defaultdict(dict)
    labels: dict[str, list[Entry]] = defaultdict(list)
    waiting: list[Entry] = []
    unfit = 0
    for entry in entries:
        if of_labels is not None:
            found = _match(of_labels, label_text, entry)
            if found and (entry.kind != "image" or not _match(of_images, image_text, entry)):
                labels[found["case"]].append(replace(entry, kind="label" if entry.kind == "image" else entry.kind))
                continue
        found = _match(of_images, image_text, entry)
        if found is None:
            if entry.kind == "image":
                unfit += 1
            else:
                waiting.append(entry)
        elif of_labels is None and (entry.kind != "image" or found.get("channel", "").lower() in LABEL_WORDS):
            labels[found["case"]].append(replace(entry, kind="finding" if entry.kind == "finding" else "label"))
        elif entry.kind == "image":
            channel_added(groups[found["case"]], found.get("channel", "image"), entry, found["case"])
            _remember(facts[found["case"]], found)
    for entry in waiting:  # "case7.seg.nrrd" beside "case7_t1.nrrd"
        case = "_".join(entry.key)
        if case in groups:
            labels[case].append(entry)
    if not groups:
        raise UsageError(
            f"No image of the folder fits the pattern {image_text.strip()!r}. Correct it, or leave it out."
        )
    cases: list[Case] = []
    for name, channels in groups.items():
        cases += [_with_facts(case, facts[name]) for case in one_or_more(name, channels, labels.get(name, ()))]
    if unfit:
        note = f"{unfit} images of the folder do not fit the pattern: left out."
        cases[0] = replace(cases[0], notes=(*cases[0].notes, note))
    return cases


def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.strip()
    if len(pattern) > _MAX_LENGTH or "{case}" not in pattern:
        raise UsageError(f"The pattern {pattern[:60]!r} does not say where the case's name is. Put {{case}} into "
                         "it, for instance {case}_{channel}.")  # fmt: skip
    parts, seen, end = [], set(), 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[end : token.start()]))
        end = token.end()
        field = token[1]
        if field is None:
            parts.append("[^/]*")
        elif field not in FIELDS:
            listed = ", ".join(f"{{{each}}}" for each in FIELDS)
            raise UsageError(f"The pattern has a field {{{field[:40]}}} that there is none of. There are {listed}.")
        elif field in seen:
            parts.append(f"(?P={_group(field)})")
        else:
            seen.add(field)
            parts.append(f"(?P<{_group(field)}>[^/]+{'' if field == 'case' else '?'})")
    if pattern.count("*") + len(seen) > 12:
        raise UsageError("The pattern has too many fields. Twelve are enough.")
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _group(field: str) -> str:
    return f"field_{field}"


def _match(compiled: re.Pattern[str], pattern: str, entry: Entry) -> dict[str, str] | None:
    text = entry.stem if "/" not in pattern else str(PurePosixPath(*entry.folders, entry.stem))
    found = compiled.fullmatch(text)
    return {key.removeprefix("field_"): value for key, value in found.groupdict().items()} if found else None


def _remember(facts: dict[str, str], found: Mapping[str, str]) -> None:
    for field in ("patient", "study", "site", "split", "class"):
        value = found.get(field, "")
        if value and facts.setdefault(field, value) != value:
            raise UsageError(f"The files of the case {found['case']!r} differ in their {field}. Correct the pattern.")


def _with_facts(case: Case, facts: Mapping[str, str]) -> Case:
    split = facts.get("split", "").lower()
    if split and split not in SPLIT_WORDS:
        raise UsageError(
            f"The pattern takes {split[:40]!r} for a part of the dataset. Parts are train, validation, test."
        )
    label = case.label if case.label is not None or "class" not in facts else ClassLabel((facts["class"],))
    notes = case.notes if label is case.label else ()
    return replace(
        case,
        label=label,
        notes=notes,
        patient=facts.get("patient", case.patient),
        study=facts.get("study", case.study),
        site=facts.get("site", case.site),
        split=SPLIT_WORDS[split] if split else case.split,
    )
