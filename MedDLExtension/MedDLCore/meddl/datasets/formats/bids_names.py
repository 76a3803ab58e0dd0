"""What BIDS calls things: subjects, sessions, and images by their MR contrast."""

from __future__ import annotations

import hashlib
import re

_SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio", "UNIT1")
_GIVEN = re.compile(
    rf"(acq-[a-zA-Z0-9]+_)?(ce-[a-zA-Z0-9]+_)?(rec-[a-zA-Z0-9]+_)?(run-[0-9]+_)?({'|'.join(_SUFFIXES)})"
)
_CONTRAST = ("ce", "c", "gd", "gad", "gado", "gadolinium", "post", "contrast", "enhanced", "km", "t1ce", "t1c", "t1gd",
             "t1post")  # fmt: skip
_WORDS = (
    ("FLAIR", ("flair", "t2flair", "t2f")),
    ("T2starw", ("t2star", "t2starw", "t2s", "gre", "t2*", "t2*w")),
    ("angio", ("angio", "tof", "mra", "angiography")),
    ("T1w", ("t1", "t1w", "mprage", "t1n", "t1ce", "t1c", "t1gd", "t1post", "spgr", "bravo")),
    ("T2w", ("t2", "t2w", "t2tse")),
    ("PDw", ("pd", "pdw", "proton")),
)


def label_of(name: str, kind: str) -> str:
    """Return a name as one of BIDS's labels, which are letters and digits; a name that had to be changed gets a mark.

    Args:
        kind: of the thing, which MedDL's numbers begin with: "patient" or "case".

    Example:
        >>> label_of("patient_0003", "patient"), label_of("Müller 7", "patient")
        ('0003', 'Mller75cbbedf9')
    """
    if numbered := re.fullmatch(rf"{kind}_([0-9]+)", name):
        return numbered[1]
    plain = re.sub(r"[^a-zA-Z0-9]", "", name)
    if plain == name and not plain.isdigit():
        return plain
    return plain[:40] + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def contrast_of(channel: str) -> str | None:
    """Return entities and suffix of a channel's file, or None if its name does not tell the contrast.

    Example:
        >>> contrast_of("T1"), contrast_of("t1 post contrast"), contrast_of("acq-fast_T2w"), contrast_of("image")
        ('T1w', 'ce-gadolinium_T1w', 'acq-fast_T2w', None)
    """
    if _GIVEN.fullmatch(channel):
        return channel
    words = set(re.findall(r"[a-z0-9*]+", channel.casefold()))
    for suffix, names in _WORDS:
        if words & set(names):
            enhanced = suffix == "T1w" and words & set(_CONTRAST)
            return f"ce-gadolinium_{suffix}" if enhanced else suffix
    return None
