"""A setting is said once: its default, its words and its range stand in one field of a config.

The check when a config is made, the text in its docstring and the option of the command line all
come from there. To add a setting: add the field, and use it.
"""

import operator
from dataclasses import MISSING, Field, field, fields
from math import inf
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, get_args, get_origin

LIMITS = {"least": operator.ge, "above": operator.gt, "most": operator.le, "below": operator.lt}
NUMBERS = {int: Integral, float: Real}  # NumPy's too
WORDS = {int: "a whole number", float: "a number", bool: "True or False", NoneType: "None",
         dict: "a dict", Path: "a Path"}


def setting(value: Any = MISSING, text: str = "", choices=None, option=None, **limits) -> Any:
    """Declare a setting.

    Parameters
    ----------
    value : object
        Its default; a dict is copied. Without one the setting must always be given.
    text : str
        What it means, in a sentence.
    choices : sequence of str, optional
        All that it may be.
    option : str, optional
        Its name on the command line where that is another one; "" where there is none.
    **limits : float
        Any of `least`, `above`, `most`, `below`.
    """
    metadata = dict(text=text, choices=choices, option=option, limits=limits)
    if isinstance(value, dict):
        return field(default_factory=lambda: dict(value), metadata=metadata)
    return field(default=value, metadata=metadata)


class Settings:
    """What every config inherits: its fields checked, documented and compared."""

    # Settings of older files that are gone, by the default they had.
    retired: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls):
        inherited = getattr(cls, "__dataclass_fields__", {})
        declared = [(name, each.type, each) for name, each in inherited.items()]
        declared += [(name, kind, cls.__dict__[name]) for name, kind in cls.__annotations__.items()
                     if isinstance(cls.__dict__.get(name), Field)]
        described = "\n".join(_described(*each) for each in declared)
        cls.__doc__ += f"\n\nParameters\n----------\n{described}"

    def __post_init__(self):
        for each in fields(self):
            object.__setattr__(self, each.name, checked(each, getattr(self, each.name)))

    @classmethod
    def from_saved(cls, saved: dict):
        """Make a config of what a file holds, whichever edition wrote it.

        Raises
        ------
        ValueError, TypeError
            If a setting is out of range, missing, or unknown and not at the default it had.
        """
        known = {each.name for each in fields(cls)}
        for name in saved.keys() - known:
            if name not in cls.retired or cls.retired[name] != saved[name]:
                raise ValueError(f"this version has no setting {name}")
        return cls(**{name: value for name, value in saved.items() if name in known})

    @classmethod
    def differing(cls, saved: dict, asked: dict) -> list[str]:
        """Name the settings in which two runs differ; one that is not said is at its default."""
        usual = cls.retired | {each.name: default(each) for each in fields(cls)}
        return sorted(name for name in usual | saved | asked
                      if (usual | saved).get(name) != (usual | asked).get(name))


def checked(declared: Field, value: Any) -> Any:
    """Return the value of a setting, numbers as Python's own, or raise ValueError."""
    for kind in kinds(declared.type):
        if is_a(kind, value) and (kind is NoneType or _allowed(value, **declared.metadata)):
            if kind is dict:
                return {n: float(v) if is_a(float, v) else v for n, v in value.items()}
            return kind(value) if kind in NUMBERS else value
    limits = _limits(declared)
    words = WORDS | {str: limits or "text"}
    wanted = " or ".join(
        words[kind] + (" of" * limits.startswith("at") + " " + limits).rstrip() * (kind in NUMBERS)
        for kind in kinds(declared.type))
    raise ValueError(f"{declared.name} must be {wanted}, not {value!r}")


def default(declared: Field) -> Any:
    """Return the default of a setting, MISSING where there is none."""
    made = declared.default_factory
    return declared.default if made is MISSING else made()


def kinds(annotation) -> tuple[type, ...]:
    """Return the types that an annotation allows: ``(int, NoneType)`` for ``int | None``."""
    one = (get_origin(annotation) or annotation,)
    return get_args(annotation) if isinstance(annotation, UnionType) else one


def is_a(kind: type, value: Any) -> bool:
    """Say whether a value is of a type; a number is finite, and True and False are no numbers."""
    if kind not in NUMBERS:
        return isinstance(value, kind)
    return isinstance(value, NUMBERS[kind]) and not isinstance(value, bool) and abs(value) < inf


def _allowed(value: Any, choices, limits, **_) -> bool:
    in_range = all(LIMITS[name](value, limit) for name, limit in limits.items())
    return in_range and (choices is None or value in choices)


def _limits(declared: Field) -> str:
    """Say the range of a setting: "at least 0 and below 1", "one of 'a', 'b'"."""
    if choices := declared.metadata["choices"]:
        return f"one of {', '.join(map(repr, choices))}"
    words = {"least": "at least", "most": "at most"}
    return " and ".join(f"{words.get(name, name)} {limit}"
                        for name, limit in declared.metadata["limits"].items())


def _described(name: str, annotation, declared: Field) -> str:
    """Write a setting's entry of the docstring."""
    kind = " or ".join(each.__name__ for each in kinds(annotation)).replace("NoneType", "None")
    usual, limits = default(declared), _limits(declared)
    text = declared.metadata["text"] + (f" {limits[0].upper()}{limits[1:]}." if limits else "")
    return f"{name} : {kind}" + ("" if usual is MISSING else f" = {usual!r}") + f"\n    {text}"
