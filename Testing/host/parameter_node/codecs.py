"""How a value of each type lies in a parameter node: the same names and texts as in Slicer, so that scenes match.

Scalars lie under their name as text, nodes also as a node reference with the name as its role. A list `x` lies as
`x.len`, `x.0`, `x.1`..., a dictionary as a list of pairs, a union as `x.<index of the type>`, a pack as `x.<field>`.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing

import slicer

from .annotations import IsInstance, IsNone, NotNone, Validator, split_annotations

PATHS = (
    pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath,
    pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath,
)  # fmt: skip


class Codec:
    """Writes and reads values of one type; `check` refuses others."""

    validators: tuple[Validator, ...] = ()

    def takes(self, value_type) -> bool:
        """Whether a union should try this codec for a value of that type."""
        raise NotImplementedError

    def check(self, value):
        for validator in self.validators:
            validator.validate(value)

    def default(self):
        raise NotImplementedError

    def is_in(self, node, name):
        return node.HasParameter(name)

    def write(self, node, name, value):
        self.check(value)
        self.store(node, name, value)

    def store(self, node, name, value):
        raise NotImplementedError

    def read(self, node, name):
        raise NotImplementedError

    def remove(self, node, name):
        node.UnsetParameter(name)


class Scalar(Codec):
    """A number, text or path: anything that `str` writes and its own type reads."""

    def __init__(self, kind):
        self.kind = kind
        self.validators = (NotNone(), IsInstance((int, float) if kind is float else kind))

    def takes(self, value_type):
        if self.kind in (int, float):
            return value_type in (int, float)
        return value_type in PATHS if self.kind in PATHS else value_type is self.kind

    def default(self):
        return 0 if self.kind in (int, float) else self.kind()

    def store(self, node, name, value):
        node.SetParameter(name, str(value))

    def read(self, node, name):
        return self.kind(node.GetParameter(name))


class Truth(Codec):
    validators = (NotNone(), IsInstance(bool))

    def takes(self, value_type):
        return value_type is bool

    def default(self):
        return False

    def store(self, node, name, value):
        node.SetParameter(name, "True" if value else "False")

    def read(self, node, name):
        return node.GetParameter(name) == "True"


class Nothing(Codec):
    """The None of an Optional."""

    validators = (IsNone(),)

    def takes(self, value_type):
        return value_type is type(None)

    def default(self):
        return None

    def store(self, node, name, value):
        node.SetParameter(name, "True")

    def read(self, node, name):
        return None


class Enumeration(Codec):
    """An enum value, by its name."""

    def __init__(self, kind):
        if len(kind) == 0:
            raise ValueError("Cannot serialize empty Enum.")
        self.kind = kind
        self.validators = (IsInstance(kind),)

    def takes(self, value_type):
        return issubclass(value_type, enum.Enum)

    def default(self):
        return next(iter(self.kind))

    def store(self, node, name, value):
        node.SetParameter(name, value.name)

    def read(self, node, name):
        key = node.GetParameter(name)
        if key not in self.kind.__members__:
            raise ValueError(f"Found {key!r} in parameter node but it is not a name in {self.kind!r}")
        return self.kind[key]


class Node(Codec):
    """A MRML node: a node reference, and an empty parameter of the same name that tells "set"."""

    def __init__(self, kind):
        self.validators = (IsInstance(kind),)

    def takes(self, value_type):
        return issubclass(value_type, slicer.vtkMRMLNode)

    def default(self):
        return None

    def store(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class Union(Codec):
    """The first type that takes the value."""

    def __init__(self, members):
        self.members = members

    def takes(self, value_type):
        return any(member.takes(value_type) for member in self.members)

    def default(self):
        optional = len(self.members) == 2 and isinstance(self.members[1], Nothing)
        return None if optional else self.members[0].default()

    def _member_for(self, value):
        error = TypeError(f"Unable to write value '{value}' of type '{type(value)}'")
        for index, member in enumerate(self.members):
            if member.takes(type(value)):
                try:
                    member.check(value)
                except Exception as refused:
                    error = refused
                else:
                    return index, member
        raise error

    def is_in(self, node, name):
        return any(member.is_in(node, f"{name}.{i}") for i, member in enumerate(self.members))

    def store(self, node, name, value):
        index, member = self._member_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            member.write(node, f"{name}.{index}", value)

    def read(self, node, name):
        for index, member in enumerate(self.members):
            if member.is_in(node, f"{name}.{index}"):
                return member.read(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, node, name):
        with slicer.util.NodeModify(node):
            for index, member in enumerate(self.members):
                member.remove(node, f"{name}.{index}")


_makers: list[typing.Callable[[object], Codec | None]] = []


def register(maker):
    """Adds a maker: a function that gives the codec of a type, or None if the type is not its own."""
    _makers.append(maker)
    return maker


def codec_for(annotated):
    """(codec, annotations it did not use) for a type, annotated or not.

    Raises:
        Exception: no value of that type can be kept in a parameter node.
    """
    kind, annotations = split_annotations(annotated)
    for maker in _makers:
        codec = maker(kind)
        if codec is not None:
            own = tuple(a for a in annotations if isinstance(a, Validator))
            codec.validators = (*codec.validators, *own)
            return codec, [a for a in annotations if not isinstance(a, Validator)]
    raise Exception(f"Unable to create serializer for type: {kind}")


@register
def _scalar(kind):
    if kind is bool:
        return Truth()
    return Scalar(kind) if kind in (int, float, str, *PATHS) else None


@register
def _class(kind):
    if kind is type(None):
        return Nothing()
    if not isinstance(kind, type) or typing.get_origin(kind) is not None:
        return None
    if issubclass(kind, slicer.vtkMRMLNode):
        return Node(kind)
    return Enumeration(kind) if issubclass(kind, enum.Enum) else None


@register
def _union(kind):
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return Union([codec_for(member)[0] for member in typing.get_args(kind)])
    return None
