"""Lists, tuples and dictionaries in a parameter node; what is read back saves itself when it is changed."""

from __future__ import annotations

import typing
from collections.abc import MutableMapping, MutableSequence

import slicer

from .codecs import Codec, codec_for, register


class ObservedList(MutableSequence):
    """A list that writes itself to the parameter node at each change. `+` and `*` are refused: they would not."""

    def __init__(self, node, codec, name, items):
        self._node, self._codec, self._name, self._list = node, codec, name, items

    def _save(self):
        try:
            self._codec.write(self._node, self._name, self._list)
        finally:
            self._list = self._codec.read(self._node, self._name)._list

    def __repr__(self):
        return f"ObservedList({self._list})"

    def __eq__(self, other):
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __len__(self):
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __setitem__(self, index, item):
        self._list[index] = item
        self._save()

    def __delitem__(self, index):
        del self._list[index]
        self._save()

    def __iadd__(self, other):
        self.extend(other)
        return self

    def __imul__(self, count):
        self._list *= count
        self._save()
        return self

    def __add__(self, other):
        raise NotImplementedError("Adding an ObservedList is not supported. However, += is supported.")

    __radd__ = __add__

    def __mul__(self, other):
        raise NotImplementedError("Multiplying an ObservedList is not supported. However, *= is supported.")

    __rmul__ = __mul__

    def insert(self, index, item):
        self._list.insert(index, item)
        self._save()

    def extend(self, other):
        self._list.extend(other)
        self._save()

    def clear(self):
        self._list.clear()
        self._save()

    def sort(self, *args, **kwargs):
        self._list.sort(*args, **kwargs)
        self._save()

    def reverse(self):
        self._list.reverse()
        self._save()


class ObservedDict(MutableMapping):
    """A dictionary that writes itself to the parameter node at each change."""

    def __init__(self, node, codec, name, items):
        self._node, self._codec, self._name, self._dict = node, codec, name, items

    def _save(self):
        try:
            self._codec.write(self._node, self._name, self._dict)
        finally:
            self._dict = self._codec.read(self._node, self._name)._dict

    def __repr__(self):
        return f"ObservedDict({self._dict})"

    def __eq__(self, other):
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    __hash__ = None

    def __len__(self):
        return len(self._dict)

    def __iter__(self):
        return iter(self._dict)

    def __getitem__(self, key):
        return self._dict[key]

    def __setitem__(self, key, value):
        self._dict[key] = value
        self._save()

    def __delitem__(self, key):
        del self._dict[key]
        self._save()

    def get(self, key):
        """Takes no second argument, in Slicer either."""
        return self._dict.get(key)

    def pop(self, key):
        value = self._dict.pop(key)
        self._save()
        return value

    def clear(self):
        self._dict.clear()
        self._save()


class ListCodec(Codec):
    def __init__(self, element):
        self.element = element

    def takes(self, value_type):
        return value_type is list

    def default(self):
        return []

    def is_in(self, node, name):
        return node.HasParameter(f"{name}.len")

    def _length(self, node, name):
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0

    def store(self, node, name, values):
        """All values are written, or none is."""
        with slicer.util.NodeModify(node):
            before = list(self.read(node, name)) if self.is_in(node, name) else None
            old_length = self._length(node, name)
            try:
                for index, value in enumerate(values):
                    self.element.write(node, f"{name}.{index}", value)
                node.SetParameter(f"{name}.len", str(len(values)))
                for index in range(len(values), old_length):
                    self.element.remove(node, f"{name}.{index}")
            except Exception:
                if before is None:
                    self.remove(node, name)
                else:
                    self.store(node, name, before)
                raise

    def read(self, node, name):
        items = [self.element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(node, self, name, items)

    def remove(self, node, name):
        with slicer.util.NodeModify(node):
            for index in range(self._length(node, name)):
                self.element.remove(node, f"{name}.{index}")
            node.UnsetParameter(f"{name}.len")


class TupleCodec(Codec):
    def __init__(self, elements):
        self.elements = elements

    def takes(self, value_type):
        return False

    def default(self):
        return tuple(element.default() for element in self.elements)

    def is_in(self, node, name):
        return self.elements[0].is_in(node, f"{name}.0")

    def store(self, node, name, values):
        values = tuple(values)
        if len(values) != len(self.elements):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(node):
            for index, (value, element) in enumerate(zip(values, self.elements, strict=True)):
                element.write(node, f"{name}.{index}", value)

    def read(self, node, name):
        return tuple(element.read(node, f"{name}.{index}") for index, element in enumerate(self.elements))

    def remove(self, node, name):
        with slicer.util.NodeModify(node):
            for index, element in enumerate(self.elements):
                element.remove(node, f"{name}.{index}")


class DictCodec(Codec):
    """A list of (key, value), which keeps the order."""

    def __init__(self, key, value):
        self._pairs = ListCodec(TupleCodec([key, value]))

    def takes(self, value_type):
        return value_type is dict

    def default(self):
        return {}

    def is_in(self, node, name):
        return self._pairs.is_in(node, name)

    def store(self, node, name, values):
        self._pairs.write(node, name, values.items())

    def read(self, node, name):
        return ObservedDict(node, self, name, dict(self._pairs.read(node, name)))

    def remove(self, node, name):
        self._pairs.remove(node, name)


@register
def _container(kind):
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return ListCodec(codec_for(arguments[0])[0])
    if origin is tuple:
        return TupleCodec([codec_for(argument)[0] for argument in arguments])
    if origin is dict:
        return DictCodec(*(codec_for(argument)[0] for argument in arguments))
    return None
