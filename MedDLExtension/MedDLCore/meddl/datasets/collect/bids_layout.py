"""Cases out of folders that are named as BIDS names them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meddl.datasets.case import Case, ImageFile
from meddl.datasets.collect.entries import Entry
from meddl.datasets.collect.layouts import channel_added, one_or_more

_LABELS = ("dseg", "mask", "msk", "seg", "roi")
_NO_STILLS = (
    "bold", "dwi", "sbref", "epi", "cbv", "phase", "magnitude", "magnitude1", "magnitude2", "phasediff", "asl",
    "probseg",
)  # fmt: skip
_NAME = re.compile(r"sub-[A-Za-z0-9+]+(?:_[A-Za-z0-9]+-[A-Za-z0-9+.]+)*_[A-Za-z0-9]+")


@dataclass(frozen=True)
class _Named:
    entry: Entry
    entities: tuple[tuple[str, str], ...]
    suffix: str

    @property
    def is_label(self) -> bool:
        return self.suffix.lower() in _LABELS


def is_bids(entries: Sequence[Entry]) -> bool:
    """Say whether all images are named after their subject, as in BIDS."""
    return bool(entries) and all(_NAME.fullmatch(entry.stem) for entry in entries)


def bids_cases(entries: Sequence[Entry]) -> list[Case]:
    """Return a case for each set of images of one subject and session that differ in their suffix only.

    A segmentation belongs to the images all of whose entities it has too. The subject is the patient, the session the
    study. Images in ``derivatives`` are taken only where there are no others.
    """
    named = [_named(entry) for entry in entries]
    images = [each for each in named if not each.is_label and each.suffix.lower() not in _NO_STILLS]
    raw = [each for each in images if "derivatives" not in each.entry.folders]
    groups: dict[tuple[tuple[str, str], ...], list[_Named]] = defaultdict(list)
    for each in raw or images:
        groups[each.entities].append(each)
    owned: dict[tuple[tuple[str, str], ...], list[Entry]] = defaultdict(list)
    for each in named:
        if each.is_label:
            fitting = [key for key in groups if set(key) <= set(each.entities)]
            if fitting:
                owned[max(fitting, key=len)].append(each.entry)
    cases = []
    for entities, group in groups.items():
        name = "_".join(f"{key}-{value}" for key, value in entities)
        channels: dict[str, ImageFile] = {}
        for each in group:
            channel_added(channels, each.suffix, each.entry, name)
        facts = dict(entities)
        study = f"sub-{facts['sub']}_ses-{facts['ses']}" if "ses" in facts else ""
        for case in one_or_more(name, channels, owned.get(entities, ())):
            cases.append(replace(case, patient=f"sub-{facts['sub']}", study=study))
    return cases


def _named(entry: Entry) -> _Named:
    *pairs, suffix = entry.stem.split("_")
    return _Named(entry, tuple((key, value) for key, _, value in (pair.partition("-") for pair in pairs)), suffix)
