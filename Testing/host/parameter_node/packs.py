"""`@parameterPack`: several parameters as one object with checked fields."""

from __future__ import annotations

import logging
import typing
from dataclasses import dataclass

import slicer

from . import containers  # noqa: F401  (registers its types)
from .annotations import Default, NotNone, Validator, split_name, unannotated
from .codecs import Codec, codec_for, register


@dataclass
class ParameterInfo:
    """One parameter of a pack or wrapper."""

    basename: str
    serializer: Codec
    default: object
    unalteredType: object


def parameters_of(cls):
    """The annotated members of a class as {name: ParameterInfo}, with `Default` objects as defaults."""
    found = {}
    for name, annotated in typing.get_type_hints(cls, include_extras=True).items():
        try:
            codec, rest = codec_for(annotated)
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error
        defaults = [a for a in rest if isinstance(a, Default)]
        if len(defaults) > 1:
            raise Exception("Multiple defaults found")
        if hasattr(cls, name):
            default = Default(getattr(cls, name))
        else:
            default = defaults[0] if defaults else Default(codec.default())
        if any(not isinstance(a, Default) for a in rest):
            logging.warning(f"Unused annotations: {[a for a in rest if not isinstance(a, Default)]}")
        found[name] = ParameterInfo(name, codec, default, annotated)
    return found


def is_pack(kind):
    return getattr(kind, "_is_parameterPack", False)


def parameterPack(classtype=None):
    """Class decorator, with or without parentheses."""
    return _make_pack if classtype is None else _make_pack(classtype)


def nestedParameterNames(pack):
    """Dotted names of all fields of a pack, those of packs within packs included."""
    pack = pack if is_pack(pack) else unannotated(pack)
    names = []
    for name, info in pack.allParameters.items():
        kind = unannotated(info.unalteredType)
        names += [f"{name}.{sub}" for sub in nestedParameterNames(kind)] if is_pack(kind) else [name]
    return names


def check_member(pack, name):
    """Raises ValueError unless the pack has the (dotted) field."""
    top, rest = split_name(name)
    if not hasattr(pack, top):
        raise ValueError(f"{pack} has no member '{top}'")
    if rest is not None:
        kind = unannotated(pack.allParameters[top].unalteredType)
        if not is_pack(kind):
            raise ValueError(f"{kind} is not a parameter pack but expects to have '{rest}'")
        check_member(kind, rest)


def _key(name):
    return f"_parameterPack_{name}_impl"


def _field(name, codec):
    def write(self, value):
        codec.check(value)
        setattr(self, _key(name), value)

    return property(lambda self: getattr(self, _key(name)), write)


def _make_pack(cls):
    parameters = parameters_of(cls)
    if not parameters:
        raise ValueError("Unable to find any members in parameterPack")
    for name, info in parameters.items():
        info.default = info.default.value
        try:
            info.serializer.check(info.default)
        except Exception as error:
            raise ValueError(
                f"The default parameter of '{info.default}' fails the validation checks:\n  {error}"
            ) from error
        setattr(cls, name, _field(name, info.serializer))
    own_init = cls.__dict__.get("__init__")

    def init(self, *args, **kwargs):
        _fill(self)
        own_init(self, *args, **kwargs)

    cls.__init__ = init if own_init else _fill
    for name, method in {"__eq__": _equal, "__str__": _text, "__repr__": _text}.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    reserved = {
        "allParameters": parameters,
        "_is_parameterPack": True,
        "getValue": _get_value,
        "setValue": _set_value,
        "dataType": staticmethod(lambda name: _data_type(cls, name)),
    }
    for name, value in reserved.items():
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterPack")
        setattr(cls, name, value)
    return cls


def _fill(self, *args, **kwargs):
    values = dict(zip(self.allParameters, args, strict=False))
    for name, value in kwargs.items():
        if name not in self.allParameters:
            raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
        if name in values:
            raise TypeError(f"__init__() got multiple values for argument '{name}'")
        values[name] = value
    for name, info in self.allParameters.items():
        value = values.get(name, info.default)
        info.serializer.check(value)
        setattr(self, _key(name), value)


def _equal(self, other):
    if type(self) is not type(other):
        return False
    return all(getattr(self, _key(n)) == getattr(other, _key(n)) for n in self.allParameters)


def _fields_text(self):
    values = ((name, getattr(self, _key(name))) for name in self.allParameters)
    return ", ".join(f'{n}="{v}"' if isinstance(v, str) else f"{n}={v}" for n, v in values)


def _text(self):
    return f"{type(self).__name__}({_fields_text(self)})"


def _get_value(self, name):
    top, rest = split_name(name)
    check_member(self, top)
    value = getattr(self, top)
    return value if rest is None else value.getValue(rest)


def _set_value(self, name, value):
    top, rest = split_name(name)
    check_member(self, top)
    if rest is None:
        setattr(self, top, value)
    else:
        getattr(self, top).setValue(rest, value)


def _data_type(cls, name):
    top, rest = split_name(name)
    check_member(cls, top)
    kind = cls.allParameters[top].unalteredType
    return kind if rest is None else unannotated(kind).dataType(rest)


class _IsPack(Validator):
    def __init__(self, kind):
        self.kind = kind

    def validate(self, value):
        if not isinstance(value, self.kind):
            raise ValueError(f"Value must be of type '{self.kind}', is type '{type(value)}'")


class PackCodec(Codec):
    """Each field under `name.field`."""

    def __init__(self, kind):
        self.kind = kind
        self.fields = {name: info.serializer for name, info in kind.allParameters.items()}
        self.validators = (NotNone(), _IsPack(kind))
        self._observed = _observed_class(kind)

    def takes(self, value_type):
        return is_pack(value_type)

    def default(self):
        return self.kind()

    def is_in(self, node, name):
        field, codec = next(iter(self.fields.items()))
        return codec.is_in(node, f"{name}.{field}")

    def store(self, node, name, value):
        with slicer.util.NodeModify(node):
            for field, codec in self.fields.items():
                codec.write(node, f"{name}.{field}", getattr(value, _key(field)))

    def values(self, node, name):
        return {field: codec.read(node, f"{name}.{field}") for field, codec in self.fields.items()}

    def read(self, node, name):
        return self._observed(node, self, name)

    def remove(self, node, name):
        for field, codec in self.fields.items():
            codec.remove(node, f"{name}.{field}")


def _observed_class(kind):
    """Subclass of a pack whose objects write themselves to the parameter node; they take no new attributes."""

    class ObservedParameterPack(kind):
        def __init__(self, node, codec, name):
            vars(self)["_where"] = (node, codec, name)
            vars(self).update({_key(field): value for field, value in codec.values(node, name).items()})

        def __setattr__(self, name, value):
            if not hasattr(self, name):
                raise AttributeError(
                    f"'ObservedParameterPack({kind.__name__})' has no attribute '{name}'"
                    " and attributes cannot be added dynamcially"
                )
            super().__setattr__(name, value)

        def __repr__(self):
            return f"Observed({kind.__name__}({_fields_text(self)}))"

        __str__ = __repr__

        def __eq__(self, other):
            return isinstance(other, kind) and all(
                getattr(self, _key(name)) == getattr(other, _key(name)) for name in self.allParameters
            )

        __hash__ = None

        def _save(self):
            node, codec, name = self._where
            try:
                codec.write(node, name, self)
            finally:
                vars(self).update({_key(field): value for field, value in codec.values(node, name).items()})

    for name in kind.allParameters:
        setattr(ObservedParameterPack, name, _saving(getattr(kind, name)))
    return ObservedParameterPack


def _saving(field):
    def write(self, value):
        field.fset(self, value)
        self._save()

    return property(field.fget, write)


@register
def _pack(kind):
    return PackCodec(kind) if is_pack(kind) else None
