"""Which patients a model learns from, and which it is judged by.

Patients are divided, never images, and images that are stored twice stay together, so that nothing a model is judged by
was seen in training. Labels and sites are spread evenly by iterative stratification: the rarest one first, each patient
to the part that lacks it most (Sechidis et al. 2011, "On the stratification of multi-label data").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meddl.datasets.case import SPLITS, Split
from meddl.datasets.image_digest import telling_parts
from meddl.datasets.options import SplitOptions
from meddl.datasets.stratification import fair_counts, spread
from meddl.errors import UsageError

MAX_FOLDS = 100
_STRATA = ("label", "site")


@dataclass(frozen=True)
class SplitItem:
    """What the division needs to know of a case.

    Attributes:
        id: of the case, unique.
        patient: equal for all cases of one patient; "" for a patient of its own.
        site: hospital or scanner, or "".
        labels: names of the structures or classes that it has.
        digest: of its images (:attr:`meddl.datasets.facts.CaseFacts.digest`), or "". Cases that have an image in common
            stay together.
        counts: it is one of the cases that the fractions are meant of. Images of a test set that have no label are not.
    """

    id: str
    patient: str = ""
    site: str = ""
    labels: tuple[str, ...] = ()
    digest: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Group:
    """Cases that have to stay together: of one patient, or with images in common."""

    items: tuple[SplitItem, ...]

    @property
    def id(self) -> str:
        """The first of its cases' ids."""
        return self.items[0].id

    def strata(self, chosen: Sequence[str]) -> frozenset[tuple[str, str]]:
        """Return what is to be spread evenly: its labels and sites."""
        found = {("label", label) for item in self.items for label in item.labels}
        found |= {("site", item.site) for item in self.items if item.site}
        return frozenset(pair for pair in found if pair[0] in chosen)


def assign_splits(
    items: Sequence[SplitItem],
    options: SplitOptions,
    fixed: Mapping[str, tuple[Split, int | None]] | None = None,
) -> dict[str, tuple[Split, int | None]]:
    """Return the part of the dataset and the fold (only of training, from 0 on) by case id.

    The same items give the same answer in whatever order they come. Where there are fewer patients for training than
    folds, there are as many folds as patients; with one patient there is none (see :func:`split_notes`).

    Args:
        fixed: what is settled already, by case id. It is left as it is, and what is new is distributed so that the
            whole comes near to the fractions. A fold of None is open.

    Raises:
        UsageError: the options make no sense, or ``fixed`` tears cases apart that belong together.

    Example:
        >>> items = [SplitItem(f"case {n}", patient=f"patient {n // 2}") for n in range(20)]
        >>> parts = assign_splits(items, SplitOptions(test=0.2, folds=4))
        >>> sum(split == "test" for split, _ in parts.values())
        4
    """
    check_options(options)
    fixed = fixed or {}
    groups = groups_of(items)
    splits = _splits(groups, options, fixed)
    folds = _folds([group for group in groups if splits[group.id] == "train"], options, fixed)
    parts: dict[str, tuple[Split, int | None]] = {}
    for group in groups:
        split, fold = splits[group.id], folds.get(group.id)
        parts.update({item.id: (split, fold) for item in group.items})
    return {item.id: parts[item.id] for item in items}


def check_options(options: SplitOptions) -> None:
    """Raise UsageError if the options make no sense."""
    if not (0 <= options.validation < 1 and 0 <= options.test < 1 and options.validation + options.test < 1):
        raise UsageError(
            "The fractions for validation and test must be from 0 to below 1 and leave something for training: "
            f"not {options.validation:g} and {options.test:g}."
        )
    if options.folds != int(options.folds) or not 0 <= options.folds <= MAX_FOLDS:
        raise UsageError(f"The number of folds must be a whole number from 0 to {MAX_FOLDS}, not {options.folds!r}.")
    if unknown := [name for name in options.stratify if name not in _STRATA]:
        raise UsageError(f"Splits are balanced over {' and '.join(_STRATA)}, not over {unknown[0]!r}.")


def groups_of(items: Sequence[SplitItem]) -> list[Group]:
    """Return the items that have to stay together, in an order that does not depend on theirs."""
    if len({item.id for item in items}) < len(items):
        raise UsageError("Two cases have the same name. Give each case one of its own.")
    root: dict[str, str] = {item.id: item.id for item in items}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = name = root[root[name]]
        return name

    owners: dict[tuple[str, str], str] = {}
    for item in items:
        ties = [("image", part) for part in telling_parts(item.digest)]
        for tie in [*ties, *([("patient", item.patient)] if item.patient else [])]:
            root[find(item.id)] = find(owners.setdefault(tie, item.id))
    members: dict[str, list[SplitItem]] = {}
    for item in sorted(items, key=lambda each: each.id):
        members.setdefault(find(item.id), []).append(item)
    return [Group(tuple(each)) for each in members.values()]


def _splits(
    groups: Sequence[Group], options: SplitOptions, fixed: Mapping[str, tuple[Split, int | None]]
) -> dict[str, Split]:
    settled: dict[str, int] = {}
    for group in groups:
        found = {fixed[item.id][0]: item.id for item in group.items if item.id in fixed}
        if len(found) > 1:
            raise _torn(found)
        if found:
            settled[group.id] = SPLITS.index(next(iter(found)))
    shares = (1 - options.validation - options.test, options.validation, options.test)
    counted = [group for group in groups if any(item.counts for item in group.items)]
    others = [group for group in groups if group not in counted and group.id not in settled]
    parts = _divided(counted, shares, settled, options)
    parts.update(dict.fromkeys((group.id for group in others), SPLITS.index("test")))
    return {group.id: SPLITS[parts.get(group.id, settled.get(group.id, 0))] for group in groups}


def _folds(
    groups: Sequence[Group], options: SplitOptions, fixed: Mapping[str, tuple[Split, int | None]]
) -> dict[str, int]:
    settled: dict[str, int] = {}
    for group in groups:
        pairs = ((fixed[item.id][1], item.id) for item in group.items if item.id in fixed)
        found = {fold: name for fold, name in pairs if fold is not None}
        if len(found) > 1:
            raise _torn({f"fold {fold}": name for fold, name in found.items()})
        if found:
            settled[group.id] = next(iter(found))
    highest = max(settled.values(), default=-1)
    if highest >= max(options.folds, 1) or min(settled.values(), default=0) < 0:
        raise UsageError(
            f"There are cases in fold {highest} already, but {options.folds} folds are asked for. "
            f"Ask for at least {highest + 1}."
        )
    count = max(min(options.folds, len(groups)), highest + 1)
    if count < 2:
        return settled
    return _divided(groups, (1 / count,) * count, settled, options)


def _divided(
    groups: Sequence[Group], shares: Sequence[float], settled: Mapping[str, int], options: SplitOptions
) -> dict[str, int]:
    """Return the part (index of ``shares``) by group."""
    strata = {group.id: group.strata(options.stratify) for group in groups}
    known = {group.id: settled[group.id] for group in groups if group.id in settled}
    counts = fair_counts(len(groups), shares, [list(known.values()).count(part) for part in range(len(shares))])
    return spread(strata, counts, known, lambda name: _lot(options.seed, name))


def _lot(seed: int, name: str) -> str:
    """Draw a lot: chance that is the same on every computer and in every version of every library."""
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _torn(found: Mapping[Any, str]) -> UsageError:
    names = " and ".join(repr(name.lstrip("\0")) for name in list(found.values())[:2])
    return UsageError(
        f"The cases {names} are of one patient or have an image in common (perhaps by way of a third case), but are to "
        f"go to different parts: {' and '.join(list(found)[:2])}. Put them into one part, or leave one of them out."
    )


def split_notes(
    items: Sequence[SplitItem], options: SplitOptions, parts: Mapping[str, tuple[Split, int | None]]
) -> tuple[str, ...]:
    """Return what the user should know about a division that :func:`assign_splits` made, in sentences."""
    groups = groups_of(items)
    train = [group for group in groups if parts[group.id][0] == "train"]
    notes = []
    patients = [{item.patient or item.id for item in group.items} for group in groups]
    if joined := sum(len(each) > 1 for each in patients):
        notes.append(
            f"Images of {joined} patient{'s' if joined > 1 else ''} were found under another patient's name, too; "
            "all cases of both stay on one side."
        )
    wanted: tuple[tuple[Split, float], ...] = (("validation", options.validation), ("test", options.test))
    present = {split for split, _ in parts.values()}
    if empty := [name for name, fraction in wanted if fraction > 0 and name not in present]:
        notes.append(f"There are too few patients ({len(groups)}) to set some apart for {' and '.join(empty)}.")
    if not train and groups:
        notes.append("No patient is left for training.")
    folds = {parts[group.id][1] for group in train} - {None}
    if options.folds > 1 and train and len(folds) < options.folds:
        few = f"There are {len(train)} patients for training" if len(train) > 1 else "One patient is for training"
        made = f"{len(folds)} folds instead of {options.folds}" if folds else "no folds"
        notes.append(f"{few}, so there are {made}.")
    labels = {split: {label for item in items if parts[item.id][0] == split for label in item.labels}
              for split in SPLITS}  # fmt: skip
    missing = sorted((labels["validation"] | labels["test"]) - labels["train"])
    if missing and train:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        notes.append(f"Only outside of the training part there is: {', '.join(missing[:5])}{more}.")
    return tuple(notes)
