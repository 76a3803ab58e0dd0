"""Whether label maps can be made by a scheme."""

from __future__ import annotations

from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.structure_keys import folded
from meddl.errors import UsageError

MAX_VALUE = 65535
"""Label maps are of uint16 at most."""


def check_scheme(scheme: LabelScheme) -> LabelScheme:
    """Return the scheme if label maps can be made by it.

    Raises:
        UsageError: it has no or equal names, a source in two places, or more values than a label map holds.
    """
    names: set[str] = set()
    for structure in scheme.structures:
        if not structure.name.strip():
            raise UsageError("A structure has no name. Give it one in the table of labels.")
        if folded(structure.name) in names:
            raise UsageError(
                f"Two structures are called '{structure.name}' (upper and lower case count alike). "
                "Merge them, or rename one."
            )
        if folded(structure.name) == "background":
            raise UsageError("A structure is called 'background', which is what label 0 is. Rename or drop it.")
        names.add(folded(structure.name))
        if len(structure.color) != 3 or not all(0 <= part <= 1 for part in structure.color):
            raise UsageError(f"The color of '{structure.name}' is not three numbers from 0 to 1.")
    places = [*(each.sources for each in scheme.structures), scheme.ignore, scheme.dropped]
    seen: set[str] = set()
    for key in (key for place in places for key in sorted(set(place))):
        if key in seen:
            raise UsageError(f"'{key}' is a source of two labels, or of one and dropped. Leave it in one place.")
        seen.add(key)
    for members in scheme.combinations:
        if len(members) < 2 or sorted(set(members)) != list(members) or members[-1] >= len(scheme.structures):
            raise UsageError("The combinations of overlapping structures do not fit the structures. Make them anew.")
    if len(set(scheme.combinations)) < len(scheme.combinations) or (scheme.combinations and scheme.overlaps == "order"):
        raise UsageError("The combinations of overlapping structures do not fit the structures. Make them anew.")
    highest = len(scheme.structures) + len(scheme.combinations) + bool(scheme.ignore)
    if highest > MAX_VALUE:
        raise UsageError(f"The dataset would have {highest} labels; a label map holds {MAX_VALUE}. Merge or drop some.")
    return scheme
