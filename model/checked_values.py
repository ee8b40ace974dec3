"""Values from outside: one of some names, a dataclass's fields, the limits of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

from model.errors import UsageError

T = TypeVar("T")
N = TypeVar("N", bound=str)


def one_of(kind: str, name: str, names: Sequence[N]) -> N:
    """The name, which must be one of some.

    Raises:
        UsageError: it is not; says what it should have been the name of, and what there is.
    """
    for known in names:
        if name == known:
            return known
    raise UsageError(f"unknown {kind} {name}; there are: {', '.join(names)}")


def checked(values: object, **limits: tuple[float, float]) -> None:
    """Refuse attributes that are not numbers within their limits.

    Raises:
        UsageError: names class, attribute, value and limits.
    """
    for name, (low, high) in limits.items():
        value = getattr(values, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:  # refuses NaN, too
            kind = type(values).__name__
            raise UsageError(f"{kind}: {name} must lie in {low:g} to {high:g}, not {value!r}")


def built(kind: type[T], values: object) -> T:
    """A dataclass from a mapping of exactly its fields.

    Raises:
        UsageError: no mapping, or a field too many or too few.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{kind.__name__}: expected a JSON object, not {values!r}")
    known = {f.name for f in fields(kind) if f.init}  # type: ignore[arg-type]
    if set(values) != known:
        wrong = sorted(set(values) ^ known)
        raise UsageError(f"{kind.__name__}: unknown or missing: {', '.join(map(str, wrong))}")
    return kind(**values)
