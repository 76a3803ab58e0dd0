"""What a scene that Slicer saved (.mrb, .mrml) says of itself: its nodes, read from its XML without Slicer.

The XML may come from anybody. It is parsed without document types, so that no entity grows or reaches for files.
"""

from __future__ import annotations

import logging
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from meddl.datasets.case import ImageFile
from meddl.datasets.scene_archive import MAX_TEXT_BYTES, member_file, member_names, read_text_member
from meddl.errors import VolumeError

logger = logging.getLogger(__name__)

_MAX_ELEMENTS = 500_000
_MAX_DEPTH = 200
_MAX_ATTRIBUTE = 1 << 20
_BARE_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9A-Fa-f]{1,6});)")
_OLD_REFERENCES = {"transformNodeRef": "transform", "storageNodeRef": "storage", "volumeNodeID": "volume"}


@dataclass(frozen=True)
class SceneNode:
    """One node of a scene: its kind (the XML tag), ID, name, XML attributes and the IDs it refers to by role."""

    kind: str
    id: str
    name: str
    values: Mapping[str, str]
    references: Mapping[str, tuple[str, ...]]

    def refers_to(self, role: str) -> str:
        """Return the first ID of a role, or ""."""
        return next(iter(self.references.get(role, ())), "")


@dataclass(frozen=True)
class HierarchyItem:
    """One row of the subject hierarchy."""

    id: str
    name: str
    parent: str
    node: str
    level: str
    uid: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Scene:
    """A scene.

    Attributes:
        path: of the bundle (.mrb), or of the scene file (.mrml) that has its data beside it.
        nodes: by ID.
        items: rows of the subject hierarchy by ID.
        folder: where in the bundle the scene lies.
        members: the files of the bundle, or those beside the scene file.
    """

    path: Path
    nodes: Mapping[str, SceneNode]
    items: Mapping[str, HierarchyItem] = field(default_factory=dict)
    folder: str = ""
    members: tuple[str, ...] = ()

    @property
    def is_bundle(self) -> bool:
        """Whether its data lie in one archive with it."""
        return is_bundle(self.path)

    def source(self, member: str, transform: tuple[float, ...] = ()) -> ImageFile:
        """Return where an image is that is kept in ``member``."""
        if self.is_bundle:
            return ImageFile(self.path, member=member, transform=transform)
        return ImageFile(self.path.parent / member, transform=transform)

    def file(self, member: str) -> AbstractContextManager[Path]:
        """Give a member as a file for as long as a block lasts.

        Raises:
            VolumeError: it is damaged, or made to fill the disk.
        """
        return member_file(self.path, member) if self.is_bundle else nullcontext(self.path.parent / member)

    def text(self, member: str, limit: int = MAX_TEXT_BYTES) -> bytes:
        """Return the bytes of a small member.

        Raises:
            VolumeError: it is damaged, or larger than ``limit``.
        """
        if self.is_bundle:
            return read_text_member(self.path, member, limit)
        return _read_text(self.path.parent / member, limit)

    def of_kind(self, *kinds: str) -> tuple[SceneNode, ...]:
        """Return the nodes of some kinds, in the scene's order."""
        return tuple(node for node in self.nodes.values() if node.kind in kinds)

    def member_of(self, node: SceneNode) -> str:
        """Return the archive's member that a node's data is in, or "" if it is not in there."""
        storage = self.nodes.get(node.refers_to("storage"))
        name = storage.values.get("fileName", "") if storage else ""
        for each in (unquote(name), name):
            member = posixpath.normpath(posixpath.join(self.folder, each.replace("\\", "/")))
            if each and not posixpath.isabs(each) and not member.startswith("../"):
                found = {unicodedata.normalize("NFC", own): own for own in self.members}
                if unicodedata.normalize("NFC", member) in found:
                    return found[unicodedata.normalize("NFC", member)]
        return ""

    def above(self, node_id: str) -> Iterator[HierarchyItem]:
        """Yield the rows of the subject hierarchy over a node's own, from the nearest up."""
        item = next((each for each in self.items.values() if each.node == node_id), None)
        seen: set[str] = set()
        while item and item.parent in self.items and item.parent not in seen:
            seen.add(item.parent)
            item = self.items[item.parent]
            yield item


def read_scene(path: Path) -> Scene:
    """Return what the scene in a bundle (.mrb) or in a file (.mrml) with data beside it consists of; no image is read.

    Raises:
        VolumeError: it is damaged, is no scene, or is made to do harm.
    """
    if not is_bundle(path):
        reader = _Reader(path.name)
        reader.read(_read_text(path, MAX_TEXT_BYTES))
        return Scene(path, reader.nodes, reader.items, "", _beside(path, reader.nodes.values()))
    members = member_names(path)
    scenes = sorted((name for name in members if name.lower().endswith(".mrml")), key=lambda name: name.count("/"))
    if not scenes or (len(scenes) > 1 and scenes[1].count("/") == scenes[0].count("/")):
        what = "several scenes" if scenes else "no scene"
        raise VolumeError(f"{path.name} holds {what}, where one is needed. Save it again from Slicer.")
    reader = _Reader(path.name)
    reader.read(read_text_member(path, scenes[0]))
    return Scene(path, reader.nodes, reader.items, posixpath.dirname(scenes[0]), members)


def is_bundle(path: Path) -> bool:
    """Say whether a scene has its data in one archive with it."""
    return path.name.lower().endswith(".mrb")


def _read_text(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise VolumeError(f"{path.name} is larger than a scene needs. Save the scene again.")
        return path.read_bytes()
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error


def _beside(path: Path, nodes: Iterable[SceneNode]) -> tuple[str, ...]:
    """Return the files below a scene file's folder that its nodes name; one elsewhere is not the scene's own."""
    root = path.parent.resolve()
    found = []
    for name in {unquote(node.values.get("fileName", "")).replace("\\", "/") for node in nodes}:
        try:
            file = (root / name).resolve()
            if name and not posixpath.isabs(name) and file.is_relative_to(root) and file.is_file():
                found.append(posixpath.normpath(name))
        except (OSError, ValueError):
            continue  # a name that no file can have
    return tuple(sorted(found))


class _Reader:
    """Collects nodes and rows of the subject hierarchy while the XML is parsed."""

    def __init__(self, name: str) -> None:
        self.nodes: dict[str, SceneNode] = {}
        self.items: dict[str, HierarchyItem] = {}
        self._name = name
        self._tags: list[str] = []
        self._count = 0

    def read(self, data: bytes) -> None:
        from xml.parsers import expat

        # Slicer leaves the ampersands of file names as they are.
        data = _BARE_AMPERSAND.sub(b"&amp;", data)
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError) as error:  # also bytes that are no text
            logger.debug("%s: %r", self._name, error)
            raise VolumeError(f"{self._name} is damaged: its scene cannot be decoded. Save it again.") from error
        if self._root != "MRML":
            raise VolumeError(f"{self._name} holds no scene of Slicer. Save it again from Slicer.")

    _root = ""

    def _refuse(self, *_: Any) -> None:
        raise VolumeError(f"The scene in {self._name} defines entities or a document type, which no scene of Slicer "
                          "does and which can do harm. It was not read.")  # fmt: skip

    def _start(self, tag: str, values: dict[str, str]) -> None:
        self._tags.append(tag)
        self._count += 1
        if self._count > _MAX_ELEMENTS or len(self._tags) > _MAX_DEPTH:
            raise VolumeError(f"The scene in {self._name} is larger or deeper than any real one. It was not read.")
        if len(self._tags) == 1:
            self._root = tag
        elif tag == "SubjectHierarchyItem":
            self._item(values)
        elif len(self._tags) == 2 and values.get("id"):
            self._node(tag, values)

    def _end(self, _: str) -> None:
        self._tags.pop()

    def _node(self, kind: str, values: dict[str, str]) -> None:
        if values["id"] in self.nodes:
            raise VolumeError(f"{self._name} is damaged: two of its nodes have one ID. Save it again from Slicer.")
        references: dict[str, tuple[str, ...]] = {
            role: tuple(values[old].split()) for old, role in _OLD_REFERENCES.items() if values.get(old)
        }
        for entry in values.get("references", "").split(";"):
            role, colon, ids = entry.partition(":")
            if colon and ids.split():
                references[role.strip()] = tuple(ids.split())
        self.nodes[values["id"]] = SceneNode(kind, values["id"], values.get("name", ""), values, references)

    def _item(self, values: dict[str, str]) -> None:
        attributes = dict(_pairs(values.get("attributes", "")))
        uids = dict(_pairs(values.get("uids", "")))
        # Patients and studies below one another nest in the XML; "parent" says the same.
        self.items[values.get("id", "")] = HierarchyItem(
            values.get("id", ""), values.get("name", ""), values.get("parent", ""), values.get("dataNode", ""),
            attributes.get("Level", ""), uids.get("DICOM", ""), attributes,
        )  # fmt: skip


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of "key^value|key^value|"."""
    for entry in text[:_MAX_ATTRIBUTE].split("|"):
        key, found, value = entry.partition("^")
        if found:
            yield unquote(key), unquote(value)
