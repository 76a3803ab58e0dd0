"""Cases out of datasets of nnU-Net (v1, v2) and of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from meddl.datasets.case import Case, ImageFile, SegmentationLabel, Split
from meddl.datasets.collect.entries import Entry
from meddl.datasets.collect.layouts import channel_added, one_or_more
from meddl.volume import Segment

_PARTS: dict[str, Split] = {"imagestr": "train", "imagesval": "validation", "imagests": "test"}
_LABELS: dict[str, Split] = {"labelstr": "train", "labelsval": "validation", "labelsts": "test"}
_MAX_INDEX = 64 << 20


def beside_raw(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that lie in no such dataset."""
    roots = _roots(entries)
    return [entry for entry in entries if not any(entry.folders[: len(root)] == root for root in roots)]


def raw_cases(entries: Sequence[Entry], root: Path) -> list[Case]:
    """Return the cases of each dataset among the entries; channels and labels are named as ``dataset.json`` does."""
    datasets: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    roots = _roots(entries)
    for entry in entries:
        if entry.folders and entry.folders[-1].lower() in (*_PARTS, *_LABELS) and entry.folders[:-1] in roots:
            datasets[entry.folders[:-1]].append(entry)
    cases = []
    for folders, group in datasets.items():
        index = _index(root.joinpath(*folders) / "dataset.json")
        cases += _dataset(folders, group, index)
    return cases


def _roots(entries: Sequence[Entry]) -> set[tuple[str, ...]]:
    """Return the folders in which images lie in ``imagesTr``."""
    return {entry.folders[:-1] for entry in entries if entry.folders and entry.folders[-1].lower() == "imagestr"}


def _dataset(folders: tuple[str, ...], entries: Sequence[Entry], index: Mapping[str, Any]) -> list[Case]:
    channels = _channels(index)
    segments = _segments(index)
    labels: dict[tuple[Split, str], list[Entry]] = defaultdict(list)
    groups: dict[tuple[Split, str], dict[str, ImageFile]] = defaultdict(dict)
    numbered = _are_numbered(entries)
    for entry in entries:
        folder = entry.folders[-1].lower()
        if folder in _LABELS:
            labels[_LABELS[folder], entry.stem].append(entry)
            continue
        found = re.fullmatch(r"(.+)_(\d{4})", entry.stem) if numbered else None
        case = found[1] if found else entry.stem
        into = groups[_PARTS[folder], case]
        if found or len(channels) < 2:
            number = int(found[2]) if found else 0
            channel_added(into, channels.get(number, str(number) if found else "image"), entry, case)
        else:  # the Decathlon keeps all channels in one 4-D file
            for number, name in channels.items():
                into[name] = replace(entry.source, frame=number)
    several = any(part != "train" for part, _ in groups)
    cases: list[Case] = []
    for (part, case), images in groups.items():
        name = "_".join((*folders, case))
        for each in one_or_more(name, images, labels.get((part, case), ())):
            label = each.label
            if isinstance(label, SegmentationLabel):
                label = SegmentationLabel(label.source, segments)
            cases.append(replace(each, label=label, split=part if several else ""))
    return cases


def _are_numbered(entries: Sequence[Entry]) -> bool:
    """Say whether all images end with the number of their channel, as nnU-Net's do.

    In the Decathlon, whose cases may end with numbers too, images and labels have the same names.
    """
    images = {entry.stem for entry in entries if entry.folders[-1].lower() in _PARTS}
    labels = {entry.stem for entry in entries if entry.folders[-1].lower() in _LABELS}
    return not images & labels and all(re.fullmatch(r".+_\d{4}", stem) for stem in images)


def _index(path: Path) -> Mapping[str, Any]:
    """Return what ``dataset.json`` says; nothing if it is not there or damaged: names only are taken from it."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_INDEX:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _channels(index: Mapping[str, Any]) -> dict[int, str]:
    named = index.get("channel_names") or index.get("modality")
    if not isinstance(named, dict):
        return {}
    channels = {
        int(key): " ".join(str(name).split())
        for key, name in named.items()
        if str(key).isascii() and str(key).isdecimal() and len(str(key)) < 5 and str(name).strip()
    }
    return channels if len(set(channels.values())) == len(channels) else {}


def _segments(index: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the labels that have one value each; regions of several are made of those."""
    import colorsys

    named = index.get("labels")
    segments = []
    for key, value in named.items() if isinstance(named, dict) else ():
        name, label = (key, value) if not str(key).isdecimal() else (value, key)
        if isinstance(label, bool) or not str(label).isdecimal() or not 0 < int(label) < 65536:
            continue
        segments.append(
            Segment(
                int(label), " ".join(str(name).split()), colorsys.hsv_to_rgb(int(label) * 0.618034 % 1.0, 0.55, 0.9)
            )
        )
    return tuple(segments)
