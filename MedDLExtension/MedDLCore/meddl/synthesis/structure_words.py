"""Names of structures as sets of words: "kidney_right", "Right Kidney" and the code of a right kidney are one."""

from __future__ import annotations

from functools import lru_cache

from meddl.datasets.structure_keys import folded
from meddl.volume.terminology import parse_terminology

_LEFT_OUT = frozenset({"the", "of", "and", "urinary"})
_WORDS = {
    "vertebra": "vertebrae",
    "vena": "vein",
    "clavicle": "clavicula",
    "oesophagus": "esophagus",
    "tumour": "tumor",
    "suprarenal": "adrenal",
}
_NAMES = {
    "body": ("body outline", "body contour", "body surface", "body trunk", "body trunc", "body extremities",
             "whole body", "external", "patient outline"),
    "hepatic tumor": ("liver tumor", "liver lesion", "hepatic lesion", "tumor liver"),
    "pancreatic tumor": ("pancreas tumor", "pancreas lesion", "pancreatic lesion"),
    "lung tumor": ("lung lesion", "lung nodule", "pulmonary nodule", "lung cancer"),
    "colon cancer primaries": ("colon cancer", "colon tumor"),
    "hepatic vessel": ("hepatic vessels", "liver vessels"),
    "small bowel": ("small intestine",),
    "colon": ("large intestine", "large bowel"),
    "gallbladder": ("gall bladder",),
    "left hip": ("left hip bone",),
    "right hip": ("right hip bone",),
    "heart": ("heart myocardium", "heart atrium left", "heart atrium right", "heart ventricle left",
              "heart ventricle right", "left atrium", "right atrium", "left ventricle", "right ventricle"),
}  # fmt: skip
"""What one structure is called elsewhere, parts of it among them where it is never divided here."""


@lru_cache(maxsize=4096)
def structure_words(name: str) -> tuple[str, ...]:
    """Return the words of a structure's name, in no order and with one spelling; () for no name.

    Example:
        >>> structure_words("lung_upper_lobe_left") == structure_words("Left upper lobe of the lung")
        True
    """
    words = _plain_words(name)
    return _known_names().get(words, words)


def words_of_code(terminology: str) -> str:
    """Return what a terminology entry says in words, with side and region; "" where it says nothing of a structure."""
    if not terminology:
        return ""
    codes = parse_terminology(terminology)
    said = (codes.modifier, codes.type, codes.region_modifier, codes.region)
    return " ".join(each.meaning for each in said if each is not None)


@lru_cache(maxsize=1)
def _known_names() -> dict[tuple[str, ...], tuple[str, ...]]:
    return {_plain_words(other): _plain_words(name) for name, others in _NAMES.items() for other in others}


def _plain_words(name: str) -> tuple[str, ...]:
    words = folded(name).replace("-", " ").replace(",", " ").split()
    return tuple(sorted({_WORDS.get(word, word) for word in words} - _LEFT_OUT))
