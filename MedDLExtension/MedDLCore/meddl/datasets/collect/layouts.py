"""Images and the segmentations that belong to them, by what their names have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    ImageSource,
    Label,
    LandmarksLabel,
    SegmentationLabel,
    Split,
)
from meddl.datasets.collect.dicom_folder import with_dicom_facts
from meddl.datasets.collect.entries import LABEL_FOLDERS, SPLIT_WORDS, Entry
from meddl.datasets.collect.finding_files import read_boxes, read_points
from meddl.errors import UsageError, VolumeError

_CHANNEL_WORDS = frozenset(
    ("t1", "t1w", "t1n", "t1c", "t1ce", "t1gd", "t2", "t2w", "t2f", "t2star", "flair", "pd", "pdw", "adc", "dwi", "swi",
     "dce", "ct", "pet", "suv", "mr", "mri")
)  # fmt: skip
_MOST_CHANNELS = 12
Words = tuple[str, ...]


def matched_cases(entries: Sequence[Entry], name: str) -> list[Case]:
    """Return the cases of images and labels that lie beside one another, or in folders for cases or classes.

    Args:
        name: of the folder, for a case that has no name of its own.

    Raises:
        UsageError: two images are the same case and channel.
    """
    entries = _with_mask_folders(entries)
    if not any(entry.kind != "image" for entry in entries) and are_classes(entries):
        return _in_parts(entries, [_of_class(entry) for entry in entries])
    places: dict[Words, list[Entry]] = defaultdict(list)
    for entry in entries:
        places[entry.place].append(entry)
    lonely = _case_folders(places)
    cases = []
    for place, group in places.items():
        cases += _in_place(place, group, place in lonely, name)
    return cases


def label_of(entry: Entry) -> Label:
    """Return the label that a file holds.

    Raises:
        UsageError: it is damaged.
    """
    if entry.kind == "label":
        return SegmentationLabel(entry.source)
    path = entry.source.path
    try:
        if path.name.lower().endswith(".mrk.json") and (boxes := read_boxes(path)):
            return BoxesLabel(boxes)
        return LandmarksLabel(read_points(path))
    except VolumeError as error:
        raise UsageError(error.message, error.details) from error


def one_or_more(name: str, images: dict[str, ImageFile], labels: Sequence[Entry]) -> list[Case]:
    """Return the case of some channels; where several labels belong to them, a case for each that says so."""
    sources: dict[str, ImageSource] = dict(images)
    if len(sources) == 1:
        sources = {"image": next(iter(sources.values()))}
    if not labels:
        note = "No segmentation belongs to it by its name: the case has no label."
        return [with_dicom_facts(Case(name, sources, notes=(note,)))]
    if len(labels) == 1:
        return [with_dicom_facts(Case(name, sources, label_of(labels[0])))]
    cases = []
    for number, entry in enumerate(labels, start=1):
        note = (f"Label {number} of {len(labels)} of the same image: a case each. Masks of one case belong into a "
                "folder of their own beside the image, one for each structure.")  # fmt: skip
        case = with_dicom_facts(Case(f"{name}_{number}", sources, label_of(entry), notes=(note,)))
        cases.append(case if case.patient else replace(case, patient=f"case {name}"))
    return cases


def channel_added(channels: dict[str, ImageFile], channel: str, entry: Entry, case: str) -> None:
    """Put an image into its channel.

    Raises:
        UsageError: there is one already.
    """
    if channel in channels:
        raise UsageError(f"{channels[channel].path.name!r} and {entry.source.path.name!r} are both the image "
                         f"{channel!r} of the case {case!r}. Keep one, or tell by a pattern how files are "
                         "named.")  # fmt: skip
    channels[channel] = entry.source


def _in_parts(entries: Sequence[Entry], cases: Sequence[Case]) -> list[Case]:
    """Return the cases in the parts that their folders are named after, where folders name several parts."""
    if len({entry.split for entry in entries}) < 2:
        return list(cases)
    return [replace(case, split=entry.split) for case, entry in zip(cases, entries, strict=True)]


def _with_mask_folders(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with the masks of a case, one for each structure in a folder of their own, as one label."""
    by_folder: dict[Words, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_folder[entry.folders].append(entry)
    result = []
    for folders, group in by_folder.items():
        beside = [each for each in by_folder.get(folders[:-1], ()) if each.kind == "image"] if folders else []
        # Labels of several images have the images' names; masks of one image have their structures'.
        many = folders and folders[-1].lower() in LABEL_FOLDERS and all(each.kind == "label" for each in group)
        if many and beside and not {each.key for each in group} & {each.key for each in beside}:
            folder = group[0].source.path.parent
            result.append(Entry(ImageFile(folder), "label", folders[:-1], folders[-1]))
        else:
            result += group
    return result


def are_classes(entries: Sequence[Entry]) -> bool:
    """Say whether folders stand for classes: several images in each, and not the same few in all, as channels are."""
    folders: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if not entry.place or entry.place[-1].lower() in SPLIT_WORDS:
            return False
        folders[entry.place[-1]].add(entry.stem.lower())
    stems = set().union(*folders.values()) if folders else set()
    named = all(any(c.isalpha() for c in stem) for stem in stems)
    alike = len(stems) <= _MOST_CHANNELS and named and all(len(each) * 2 >= len(stems) for each in folders.values())
    return len(folders) > 1 and max(len(each) for each in folders.values()) > 1 and not alike


def _of_class(entry: Entry) -> Case:
    name = entry.place[-1]
    note = f"Its folder is taken for its class: {name!r}."
    case = Case("_".join((*entry.place, entry.stem)), {"image": entry.source}, ClassLabel((name,)), notes=(note,))
    return with_dicom_facts(case)


def _case_folders(places: dict[Words, list[Entry]]) -> set[Words]:
    """Return the folders that are a case each: one label at most, and images that no label has the name of."""
    found = set()
    several = sum(1 for place in places if place) > 1
    for place, group in places.items():
        images = [entry for entry in group if entry.kind == "image"]
        labels = [entry for entry in group if entry.kind != "image"]
        if not images or len(labels) > 1 or len(images) > _MOST_CHANNELS:
            continue
        if labels:
            key = _folded(labels[0].key)
            named = [entry for entry in images if key and _go_together(_folded(entry.key), key)]
            if not named or (place and several and len(named) == len(images)):
                found.add(place)
        elif place and several:
            found.add(place)
    return found


def _go_together(image: Words, label: Words) -> bool:
    """Say whether one name goes on where the other ends."""
    shared = min(len(image), len(label))
    return shared > 0 and image[:shared] == label[:shared]


def _in_place(place: Words, group: Sequence[Entry], is_case: bool, name: str) -> list[Case]:
    images = [entry for entry in group if entry.kind == "image"]
    labels = [entry for entry in group if entry.kind != "image"]
    if is_case:
        title = "_".join(place) or name
        cases = one_or_more(title, _channels_of(images, title), labels)
    else:
        cases = _by_names(place, images, labels)
    split: Split | Literal[""] = next((entry.split for entry in group if entry.split), "")
    return [replace(case, split=split) if split and not case.split else case for case in cases]


def _channels_of(images: Sequence[Entry], case: str) -> dict[str, ImageFile]:
    """Return the images of one case by channel: what their names do not have in common."""
    keys = [entry.key for entry in images]
    shared = 0
    while len(images) > 1 and all(len(key) > shared + 1 and key[shared] == keys[0][shared] for key in keys):
        shared += 1
    channels: dict[str, ImageFile] = {}
    for entry, key in zip(images, keys, strict=True):
        channel_added(channels, "_".join(key[shared:]) or entry.stem, entry, case)
    return channels


def _by_names(place: Words, images: Sequence[Entry], labels: Sequence[Entry]) -> list[Case]:
    same = _comparison([*images, *labels])
    label_keys = {same(entry.key) for entry in labels}
    groups: dict[Words, dict[str, ImageFile]] = defaultdict(dict)
    titles: dict[Words, str] = {}
    rest = []
    for entry in images:
        key = same(entry.key)
        known = next((each for each in (key, key[:-1]) if each and each in label_keys), None)
        if known is None:
            rest.append(entry)
            continue
        titles.setdefault(known, "_".join(entry.key[: len(known)]))
        channel_added(groups[known], "_".join(entry.key[len(known) :]) or "image", entry, titles[known])
    for known, entry, channel in _unlabeled(rest, same):
        titles.setdefault(known, "_".join(entry.key[: len(known)]) or entry.stem)
        channel_added(groups[known], channel, entry, titles[known])
    owned: dict[Words, list[Entry]] = defaultdict(list)
    orphans = 0
    for entry in labels:
        key = same(entry.key)
        # "case7_liver_mask" belongs to "case7".
        shorter = (key[:end] for end in range(len(key) - 1, 0, -1) if "image" in groups.get(key[:end], ()))
        known = key if key in groups else next(shorter, None)
        if known is None:
            orphans += 1
        else:
            owned[known].append(entry)
    cases = []
    for known, channels in groups.items():
        # "B_001/B_001_t1" is "B_001".
        folders = place[:-1] if place and place[-1] == titles[known] else place
        cases += one_or_more("_".join((*folders, titles[known])), channels, owned.get(known, ()))
    if orphans and cases:
        note = f"{orphans} label{'s' * (orphans > 1)} of the folder belong{'s' * (orphans == 1)} to no image: left out."
        cases[0] = replace(cases[0], notes=(*cases[0].notes, note))
    return cases


def _unlabeled(images: Sequence[Entry], same: Callable[[Words], Words]) -> Iterable[tuple[Words, Entry, str]]:
    """Yield (case, image, channel) of images without labels: those that differ only in a channel's word are a case."""
    bases: dict[Words, set[str]] = defaultdict(set)
    for entry in images:
        if len(entry.key) > 1 and _is_channel(entry.key[-1]):
            bases[same(entry.key[:-1])].add(entry.key[-1].lower())
    for entry in images:
        base = same(entry.key[:-1])
        if len(entry.key) > 1 and _is_channel(entry.key[-1]) and len(bases[base]) > 1:
            yield base, entry, entry.key[-1]
        else:
            yield same(entry.key) or (entry.stem,), entry, "image"


def _is_channel(word: str) -> bool:
    return word.lower() in _CHANNEL_WORDS or (len(word) == 4 and word.isascii() and word.isdecimal() and word < "0064")


def _comparison(entries: Sequence[Entry]) -> Callable[[Words], Words]:
    """Return how names are compared: without regard to case, unless some of them differ in nothing else."""
    names = {(entry.kind, entry.key, entry.source.path.suffix.lower()) for entry in entries}
    folded = {(kind, _folded(key), suffix) for kind, key, suffix in names}
    return (lambda key: key) if len(folded) < len(names) else _folded


def _folded(key: Words) -> Words:
    return tuple(word.casefold() for word in key)
