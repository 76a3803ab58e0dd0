"""What may stand beside a type in `Annotated[...]`: defaults, validators and hints for widgets."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Default:
    """The value a parameter starts with, given or made anew by `generator`."""

    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value

    def __eq__(self, other):
        return isinstance(other, Default) and (self._value, self._generator) == (other._value, other._generator)

    __hash__ = None

    def __repr__(self):
        return f"Default(value={self._value}, generator={self._generator})"


@dataclass
class Decimals:
    """Digits behind the point that a number widget shows."""

    value: int


@dataclass
class SingleStep:
    """Step of a number widget."""

    value: float


class Validator(ABC):
    """Refuses a value by raising."""

    @abstractmethod
    def validate(self, value):
        raise NotImplementedError("validate is not implemented")


class IsNone(Validator):
    def validate(self, value):
        if value is not None:
            raise ValueError("Value must be None")


class NotNone(Validator):
    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """None passes: `NotNone` is what refuses it."""

    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value):
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'")


class WithinRange(Validator):
    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be greater than {self.maximum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(
                f"Value is {value}, but must not be an excluded value: excluded values {self.excludedValues}"
            )


class RangeBounds(Validator):
    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value):
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            raise ValueError(
                f"Range must be within the bound of [{self.minimum}, {self.maximum}],"
                f" is [{value.minimum}, {value.maximum}]"
            )


def split_annotations(annotated):
    """A type, annotated or not, as (type, tuple of its annotations)."""
    if typing.get_origin(annotated) is typing.Annotated:
        return annotated.__origin__, annotated.__metadata__
    return annotated, ()


def unannotated(annotated):
    return split_annotations(annotated)[0]


def first_of(annotations, kind):
    """The first annotation of a kind, or None."""
    return next((a for a in annotations if isinstance(a, kind)), None)


def split_name(name):
    """`pack.field.sub` as ("pack", "field.sub"); the second is None where there is no dot."""
    top, dot, rest = name.partition(".")
    return top, (rest if dot else None)
