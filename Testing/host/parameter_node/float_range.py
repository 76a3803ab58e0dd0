"""`FloatRange`: a pair of numbers, the lower first."""

from __future__ import annotations

from .packs import parameterPack


@parameterPack
class FloatRange:
    _minimum: float
    _maximum: float

    def __init__(self, minimum=0, maximum=0):
        self.setRange(minimum, maximum)

    @staticmethod
    def checkRange(minimum, maximum):
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")

    def setRange(self, minimum, maximum):
        self.checkRange(minimum, maximum)
        self._minimum = minimum
        self._maximum = maximum

    @property
    def minimum(self):
        return self._minimum

    @minimum.setter
    def minimum(self, value):
        self.checkRange(value, self.maximum)
        self._minimum = value

    @property
    def maximum(self):
        return self._maximum

    @maximum.setter
    def maximum(self, value):
        self.checkRange(self.minimum, value)
        self._maximum = value

    def __repr__(self):
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"

    __str__ = __repr__
