"""What a catalog says of one model, and reading that with an eye on every field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from meddl.errors import ModelError
from meddl.models.archive import safe_member
from meddl.models.recognition import TASKS

ID = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_URL = re.compile(r"(https://|http://(localhost|127\.0\.0\.1)[:/])[^\s@]+")
_FIELDS = {"id", "name", "description", "task", "organ", "modality", "license", "version", "keywords", "homepage",
           "size_mb", "source", "files", "digest"}  # fmt: skip
_LARGEST = 1 << 40
_WORDS = {"mri": "mr", "xray": "x-ray", "radiograph": "x-ray", "radiography": "x-ray", "sonography": "ultrasound"}
"""What people type -> what catalogs write."""


@dataclass(frozen=True)
class PackageSource:
    """Where a model's weights are: members of a published package, which is checked by SHA-256 and never installed.

    Attributes:
        requirement: ``name==version``.
        sha256: of the package file.
        members: name in the package -> path in the bundle.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]


@dataclass(frozen=True)
class UrlSource:
    """Where a model's weights, or the whole bundle, are: one file at an address.

    Attributes:
        url: ``https://...``, or a path relative to the catalog's own folder.
        sha256: of the file.
        size: of the file in bytes.
        file: the path in the bundle, when the file is not an archive.
        members: name in the zip archive -> path in the bundle. Without ``file`` and ``members`` the archive is the
            whole bundle; the files of the definition, if there is one, replace its own.
    """

    url: str
    sha256: str
    size: int
    file: str = ""
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_bundle(self) -> bool:
        """Whether the file is a whole bundle."""
        return not self.file and not self.members

    @property
    def is_local(self) -> bool:
        """Whether the file lies beside the catalog."""
        return "://" not in self.url


@dataclass(frozen=True)
class CatalogEntry:
    """One model.

    Attributes:
        size_mb: what is downloaded, in 10^6 bytes.
        source: None when all files are on this computer already.
        files: SHA-256 of each weights file, by its path in the bundle.
        digest: SHA-256 over the whole bundle as ``models verify`` prints it, or "".
        installed: whether it can be run at once.
        origin: which catalog it is from, for people.
        built_in: whether that is MedDL's own, which vouches for exact bytes.
        catalog_folder: where its catalog lies; None when no catalog has it (any more).
        definition: the folder with its configs beside the catalog, if there is one.
        path: the folder of the whole model on this computer, if it is there.
    """

    id: str
    name: str
    description: str
    task: str
    organ: str
    modality: str
    license: str
    size_mb: float
    source: PackageSource | UrlSource | None
    files: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False
    version: str = ""
    keywords: tuple[str, ...] = ()
    homepage: str = ""
    digest: str = ""
    origin: str = ""
    built_in: bool = False
    catalog_folder: Path | None = None
    definition: Path | None = None
    path: Path | None = None

    @property
    def in_place(self) -> bool:
        """Whether it is used from where the catalog is, with nothing to download or remove."""
        return self.source is None and self.definition is not None

    @property
    def is_bundle(self) -> bool:
        """Whether what is fetched is a whole bundle and not only the weights that its definition lacks."""
        return self.definition is None or (isinstance(self.source, UrlSource) and self.source.is_bundle)

    def matches(self, text: str = "", *, organ: str = "", modality: str = "", task: str = "") -> bool:
        """Whether every word of ``text`` is found in what is said of the model, and the other texts in their field."""
        all_of_it = " ".join(
            (self.id.replace("_", " "), self.id, self.name, self.description, self.task, self.organ, self.modality,
             self.license, *self.keywords)
        )  # fmt: skip
        wanted = ((text, all_of_it), (organ, self.organ), (modality, self.modality), (task, self.task))
        return all(says(place, words) for words, place in wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts that travel with a model: all but its source and its places on this computer."""
        row: dict[str, Any] = {"id": self.id, "name": self.name, "task": self.task, "license": self.license}
        for name in ("description", "organ", "modality", "version", "homepage", "digest"):
            if getattr(self, name):
                row[name] = getattr(self, name)
        if self.keywords:
            row["keywords"] = list(self.keywords)
        if self.files:
            row["files"] = dict(self.files)
        return {**row, "size_mb": self.size_mb}


def parse_entry(row: Any, where: str) -> CatalogEntry:
    """Return one entry of a catalog's ``models``.

    Args:
        row: plain data.
        where: what to call it in messages, such as ``catalog.json: models[3]``.

    Raises:
        ModelError: names the field that is missing or wrong.
    """
    fields = _Fields(row, where)
    id = fields.text("id", pattern=ID, hint="small letters, digits and '_'")
    fields.where = f"{where} ({id})"
    fields.only(_FIELDS)
    source = fields.values.get("source")
    entry = CatalogEntry(
        id=id,
        name=fields.text("name"),
        description=fields.text("description", ""),
        task=fields.text("task", pattern=re.compile("|".join(TASKS)), hint=f"one of {', '.join(TASKS)}"),
        organ=fields.text("organ", ""),
        modality=fields.text("modality", ""),
        license=fields.text("license"),
        size_mb=float(fields.number("size_mb", 0)),
        source=None if source is None else _source(fields.inner("source")),
        files=fields.paths("files", values=_SHA256, hint="the SHA-256 of a file: 64 small hexadecimal digits"),
        version=fields.text("version", ""),
        keywords=fields.texts("keywords"),
        homepage=fields.text("homepage", "", pattern=_URL, hint="an address"),
        digest=fields.text("digest", "", pattern=_SHA256, hint="64 small hexadecimal digits"),
    )
    if isinstance(entry.source, UrlSource) and "size_mb" not in fields.values:
        return replace(entry, size_mb=entry.source.size / 1e6)
    return entry


def _source(fields: _Fields) -> PackageSource | UrlSource:
    sha256 = fields.text("sha256", pattern=_SHA256, hint="64 small hexadecimal digits")
    members = fields.members("members") if "members" in fields.values else {}
    if "requirement" in fields.values:
        fields.only({"requirement", "sha256", "members"})
        if not members:
            fields.refuse("members", "is missing: what is taken from the package")
        requirement = fields.text("requirement", pattern=_REQUIREMENT, hint="NAME==VERSION")
        return PackageSource(requirement, sha256, members)
    fields.only({"url", "sha256", "size", "file", "members"})
    url = fields.text("url")
    if "://" in url:
        if not _URL.fullmatch(url) or not urlsplit(url).hostname:
            fields.refuse("url", "should be an https:// address without user name")
    elif not _is_path(url):
        fields.refuse("url", "should be an https:// address, or a path below the catalog's own folder")
    file = fields.text("file", "")
    if file and (members or not _is_path(file)):
        fields.refuse("file", "should be a path in the bundle, and not go with 'members'")
    size = fields.number("size")
    if not isinstance(size, int) or not 0 < size <= _LARGEST:
        fields.refuse("size", "should be the file's size in bytes")
    return UrlSource(url, sha256, int(size), file, members)


class _Fields:
    """The fields of one object of the catalog; what is wrong with one is said with its name."""

    def __init__(self, values: Any, where: str, prefix: str = "") -> None:
        self.where, self.prefix = where, prefix
        if not isinstance(values, dict):
            raise ModelError(f"{where}: {prefix.rstrip('.') or 'the entry'} should be an object of names and values.")
        self.values: dict[str, Any] = values

    def refuse(self, name: str, why: str) -> NoReturn:
        raise ModelError(f"{self.where}: '{self.prefix}{name}' {why}.")

    def only(self, known: set[str]) -> None:
        for name in self.values:
            if name not in known:
                raise ModelError(f"{self.where}: '{self.prefix}{str(name)[:80]}' is no field that MedDL knows.")

    def inner(self, name: str) -> _Fields:
        return _Fields(self.values[name], self.where, f"{self.prefix}{name}.")

    def text(
        self, name: str, default: str | None = None, *, pattern: re.Pattern[str] | None = None, hint: str = ""
    ) -> str:
        if name not in self.values:
            if default is None:
                self.refuse(name, "is missing")
            return default
        value = self.values[name]
        if not isinstance(value, str) or not value.strip():
            self.refuse(name, "should be a text")
        if pattern is not None and not pattern.fullmatch(value):
            self.refuse(name, f"should be {hint}, and is {value[:80]!a}")
        if not value.isprintable():
            self.refuse(name, "holds characters that cannot be shown")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text.isprintable() for text in value):
            self.refuse(name, "should be a list of texts")
        return tuple(value)

    def number(self, name: str, default: float | None = None) -> float:
        value = self.values.get(name, default)
        if value is None:
            self.refuse(name, "is missing")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            self.refuse(name, "should be a number that is not negative")
        return value

    def paths(self, name: str, *, values: re.Pattern[str], hint: str) -> dict[str, str]:
        """Return an object with paths as names."""
        inner = self.inner(name) if name in self.values else _Fields({}, self.where)
        for path in inner.values:
            if not _is_path(path):
                inner.refuse(path[:80], "should be a path in the bundle")
            inner.text(path, pattern=values, hint=hint)
        return dict(inner.values)

    def members(self, name: str) -> dict[str, str]:
        """Return an object with paths as values."""
        inner = self.inner(name)
        for member in inner.values:
            if not _is_path(inner.text(member)):
                inner.refuse(member[:80], "should be a path in the bundle")
        return dict(inner.values)


def _is_path(text: object) -> bool:
    if not isinstance(text, str) or not _PATH.fullmatch(text) or ".." in text:
        return False
    try:
        safe_member(text)
    except ModelError:
        return False
    return True


def says(place: str, words: str) -> bool:
    """Tell whether all ``words`` are in the text ``place``, whatever their case and order."""
    return all(_has_word(place.casefold(), word) for word in words.casefold().split())


def _has_word(place: str, word: str) -> bool:
    other = _WORDS.get(word, word)
    # A short word has to be a whole one's beginning: "ct" is not in "detection" and "extraction".
    beginning = r"(?<!\w)" if len(other) < 4 else ""
    return any(re.search(beginning + re.escape(one), place) for one in (word, other))
