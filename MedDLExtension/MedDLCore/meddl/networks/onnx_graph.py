"""Reading what an ONNX file consists of, before any runtime sees it. Plain Python; nothing is executed.

An ONNX file is a graph of operators. Those of the standard (domains ``ai.onnx`` and ``ai.onnx.ml``) only compute on
tensors: they open no files, call no code and know no network. That is why such a file needs no consent, which a
TorchScript program does. What could reach further is refused here: operators of other domains, which a runtime looks
up in libraries (or, as ``EPContext``, in other files), and tensors that lie in files outside the model's folder.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meddl.errors import ModelError

MAX_BYTES = 2 << 30
"""What protobuf, in which ONNX files are written, allows."""
MAX_EXTERNAL_FILES = 2000
MAX_PARTS = 1_000_000
MAX_DEPTH = 24
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})

FLOAT_TYPES = {1: "float32", 10: "float16", 11: "float64"}
"""ONNX's numbers of the element types that a network may take and give."""


@dataclass(frozen=True)
class OnnxTensor:
    """An input or output: its name, element type (ONNX's number) and shape; None where a size is free."""

    name: str
    type: int
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file consists of.

    Attributes:
        inputs: what has to be given; weights are not among them.
        outputs: what comes back.
        operators: the names of all operators, subgraphs and functions included.
        external_files: files beside it that hold weights, as they are named in it.
        producer: the program that wrote it, or "".
    """

    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    operators: frozenset[str]
    external_files: tuple[str, ...] = ()
    producer: str = ""


def inspect_onnx(path: Path) -> OnnxFacts:
    """Return what an ONNX file consists of.

    Raises:
        ModelError: it is not one, damaged, too large, needs operators beyond the standard, or names files outside its
            own folder.
    """
    shown = f"The file '{path.name}'"
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"{shown} is empty.")
        if size > MAX_BYTES:
            raise ModelError(f"{shown} is larger than 2 GB, which no ONNX file can be.")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return inspect_onnx_bytes(data, path.name)
    except OSError as error:
        raise ModelError(f"{shown} cannot be read: {error.strerror}.") from error


def inspect_onnx_bytes(data: bytes | mmap.mmap, name: str = "model.onnx") -> OnnxFacts:
    """Return what the bytes of an ONNX file consist of; as :func:`inspect_onnx`."""
    shown = f"The file '{name}'"
    if data[4:8] == b"ORTM":
        # ONNX Runtime would take the file for one of its own format, which may be anywhere in it.
        raise ModelError(f"{shown} is not an ONNX file but one of ONNX Runtime's own format. Export it as ONNX.")
    with memoryview(data) as view:
        reader = _Reader()
        try:
            facts = reader.model(view)
        except _Damaged as error:
            raise ModelError(f"{shown} is not an ONNX file, or it is damaged: {error}.") from error
        except _Refused as error:
            raise ModelError(f"{shown} cannot be used: {error}.") from error
        finally:
            reader.release()
    if len(facts.inputs) != 1:
        raise ModelError(f"{shown} cannot be used: its network takes {len(facts.inputs)} inputs, not one image.")
    if not facts.outputs:
        raise ModelError(f"{shown} cannot be used: its network answers nothing.")
    if facts.inputs[0].type not in FLOAT_TYPES:
        raise ModelError(f"{shown} cannot be used: its network does not take floating-point numbers.")
    return facts


class _Damaged(Exception):
    """The end of a sentence about a file that is not what it should be."""


class _Refused(Exception):
    """The end of a sentence about a file that is intact and asks for too much."""


@dataclass
class _Found:
    nodes: dict[tuple[str, str], None] = field(default_factory=dict)
    functions: set[tuple[str, str]] = field(default_factory=set)
    files: dict[str, None] = field(default_factory=dict)


class _Reader:
    """Walks the messages of ONNX's protobuf schema that matter here, by their field numbers in ``onnx.proto``."""

    def __init__(self) -> None:
        self._parts = MAX_PARTS
        self._found = _Found()
        self._views: list[memoryview] = []

    def release(self) -> None:
        # A memory map cannot be closed while views of it live on (in a traceback, for instance).
        for view in self._views:
            view.release()

    def model(self, view: memoryview) -> OnnxFacts:
        graphs, producer, opsets = [], "", 0
        for number, value in self._fields(view):
            if number == 7:
                graphs.append(self._graph(self._message(value), 0))
            elif number == 8:
                opsets += 1
            elif number == 2:
                producer = self._text(value)
            elif number == 25:
                self._function(self._message(value))
            elif number == 20:
                raise _Refused("it holds instructions for training")
        if len(graphs) != 1 or not opsets:
            raise _Damaged("it has no graph" if not graphs else "its graph is not told as it should be")
        inputs, outputs = graphs[0]
        for domain, operator in self._found.nodes:
            if domain not in STANDARD_DOMAINS and (domain, operator) not in self._found.functions:
                raise _Refused(
                    f"it needs the operator {operator[:60]!a} of {domain[:60]!a}, which is not of the ONNX "
                    "standard; export it again with standard operators only"
                )
        files = tuple(self._found.files)
        if len(files) > MAX_EXTERNAL_FILES:
            raise _Refused(f"its weights lie in more than {MAX_EXTERNAL_FILES} files")
        for name in files:
            _check_external_name(name)
        return OnnxFacts(inputs, outputs, frozenset(operator for _, operator in self._found.nodes), files, producer)

    def _graph(self, view: memoryview, depth: int) -> tuple[tuple[OnnxTensor, ...], tuple[OnnxTensor, ...]]:
        if depth > MAX_DEPTH:
            raise _Refused("its graphs are nested too deep")
        inputs, outputs, weights = [], [], set()
        for number, value in self._fields(view):
            if number == 1:
                self._node(self._message(value), depth)
            elif number == 5:
                weights.add(self._tensor(self._message(value)))
            elif number == 15:
                weights.add(self._sparse_tensor(self._message(value)))
            elif number == 11:
                inputs.append(self._value(self._message(value)))
            elif number == 12:
                outputs.append(self._value(self._message(value)))
        # Old files list the weights among the inputs.
        return tuple(each for each in inputs if each.name not in weights), tuple(outputs)

    def _function(self, view: memoryview) -> None:
        """Note a function that the file itself defines out of other operators."""
        name = domain = ""
        for number, value in self._fields(view):
            if number == 1:
                name = self._text(value)
            elif number == 10:
                domain = self._text(value)
            elif number == 7:
                self._node(self._message(value), 0)
            elif number == 11:
                self._attribute(self._message(value), 0)
        self._found.functions.add((domain, name))

    def _node(self, view: memoryview, depth: int) -> None:
        operator = domain = ""
        for number, value in self._fields(view):
            if number == 4:
                operator = self._text(value)
            elif number == 7:
                domain = self._text(value)
            elif number == 5:
                self._attribute(self._message(value), depth)
        self._found.nodes[domain, operator] = None

    def _attribute(self, view: memoryview, depth: int) -> None:
        for number, value in self._fields(view):
            if number in (6, 11):
                self._graph(self._message(value), depth + 1)
            elif number in (5, 10):
                self._tensor(self._message(value))
            elif number in (22, 23):
                self._sparse_tensor(self._message(value))

    def _tensor(self, view: memoryview) -> str:
        name, external = "", False
        files = []
        for number, value in self._fields(view):
            if number == 8:
                name = self._text(value)
            elif number == 14:
                external = external or value == 1
            elif number == 13:
                key, text = self._entry(self._message(value))
                if key == "location":
                    files.append(text)
        if external and not files:
            raise _Damaged("it has weights in another file that it does not name")
        # Named files count whether the runtime would look at them or not.
        self._found.files.update(dict.fromkeys(files))
        return name

    def _sparse_tensor(self, view: memoryview) -> str:
        name = ""
        for number, value in self._fields(view):
            if number == 1:
                name = self._tensor(self._message(value))
            elif number == 2:
                self._tensor(self._message(value))
        return name

    def _entry(self, view: memoryview) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for number, value in self._fields(view):
            if number in texts:
                texts[number] = self._text(value)
        return texts[1], texts[2]

    def _value(self, view: memoryview) -> OnnxTensor:
        name, kind, shape = "", 0, None
        for number, value in self._fields(view):
            if number == 1:
                name = self._text(value)
            elif number == 2:
                for inner, part in self._fields(self._message(value)):
                    if inner == 1:
                        kind, shape = self._tensor_type(self._message(part))
        return OnnxTensor(name, kind, shape)

    def _tensor_type(self, view: memoryview) -> tuple[int, tuple[int | None, ...] | None]:
        kind, shape = 0, None
        for number, value in self._fields(view):
            if number == 1 and isinstance(value, int):
                kind = value
            elif number == 2:
                sizes: list[int | None] = []
                for inner, dimension in self._fields(self._message(value)):
                    if inner == 1:
                        sizes.append(self._size(self._message(dimension)))
                shape = tuple(sizes)
        return kind, shape

    def _size(self, view: memoryview) -> int | None:
        for number, value in self._fields(view):
            if number == 1 and isinstance(value, int) and 0 < value < 1 << 31:
                return value
        return None

    def _fields(self, view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yield number and value of each field: numbers, and views of everything that has a length."""
        position, end = 0, len(view)
        while position < end:
            self._parts -= 1
            if self._parts < 0:
                raise _Refused("it consists of more parts than any network does")
            key, position = _varint(view, position)
            number, kind = key >> 3, key & 7
            # Protobuf drops the bits beyond 32: this would be another field to the runtime than it is here.
            if number == 0 or key >> 32:
                raise _Damaged("it does not follow the format")
            if kind == 0:
                value, position = _varint(view, position)
                yield number, value
            elif kind == 2:
                length, position = _varint(view, position)
                if length > end - position:
                    raise _Damaged("it is cut short")
                part = view[position : position + length]
                self._views.append(part)
                yield number, part
                self._views.pop().release()
                position += length
            elif kind in (1, 5):
                position += 8 if kind == 1 else 4
                if position > end:
                    raise _Damaged("it is cut short")
            else:
                raise _Damaged("it does not follow the format")

    @staticmethod
    def _message(value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise _Damaged("it does not follow the format")
        return value

    @staticmethod
    def _text(value: int | memoryview) -> str:
        if isinstance(value, int) or len(value) > 65_536:
            raise _Damaged("it does not follow the format")
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError as error:
            raise _Damaged("a name in it is not text") from error


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise _Damaged("it is cut short")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Damaged("it does not follow the format")


def _check_external_name(name: str) -> None:
    shown = ascii(name[:100])
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name) or name.startswith("/"):
        raise _Refused(f"its weights lie in {shown}, which is not a file beside it")
    if any(part in ("", ".", "..") for part in parts):
        raise _Refused(f"its weights lie in {shown}, which may be outside its folder")
