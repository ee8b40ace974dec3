"""Sources of the configuration: what each says, made fit for merging, and where it says it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.capture.input_device import resolved_device
from agent.config.file import ConfigFile, Location, shown
from agent.config.schema import kind_of, node_at

MAX_DEPTH = 16  #: the schema needs five


@dataclass(frozen=True, order=True)
class Origin:
    """Where a value comes from.

    Attributes:
        rank: higher ones win: 0 for defaults, then the files in order, variables, flags.
        line: line in a file, else 0.
        name: the file, variable or flag; ``default``.
        kind: which of these.
    """

    rank: int
    line: int
    name: str
    kind: Literal["default", "file", "variable", "flag"]

    def __str__(self) -> str:
        """``FILE:LINE``, or the name; one line of printable characters."""
        return shown(f"{self.name}:{self.line}" if self.kind == "file" else self.name)


DEFAULT = Origin(0, 0, "default", "default")
RANKS = {"variable": 1_000, "flag": 1_001}  #: above all files


@dataclass(frozen=True)
class Unusable:
    """Stands for a value that no setting takes.

    Attributes:
        why: what is wrong with it.
    """

    why: str


@dataclass(frozen=True)
class Layer:
    """The values of one source.

    Attributes:
        values: tables of strings, numbers, switches, lists, and :class:`Unusable`; paths absolute.
        origin_of: where each comes from.
    """

    values: Mapping[str, Any]
    origin_of: Callable[[Location], Origin]


def file_layer(file: ConfigFile, rank: int) -> Layer:
    """What a file says; its relative paths are relative to its folder."""
    name = str(file.path)
    return Layer(
        fit(file.values, file.path.parent),
        lambda location: Origin(rank, file.line_of(location), name, "file"),
    )


def flag_layer(flags: Mapping[str, Any]) -> Layer:
    """What flags say; ``None`` is one that was not given.

    Args:
        flags: by setting, e.g. ``agent.hop_s``; the flag is called ``--hop`` in messages.
    """
    given: dict[Location, Any] = {
        tuple(key.split(".")): value for key, value in flags.items() if value is not None
    }
    return named_layer({location: _flag_name(location) for location in given}, given, "flag")


def named_layer(
    names: Mapping[Location, str],
    given: Mapping[Location, Any],
    kind: Literal["variable", "flag"],
) -> Layer:
    """Settings from outside files; relative paths are relative to the working directory.

    Args:
        names: what each setting is called where it comes from.
        given: the values.
        kind: where they come from.
    """
    values: dict[str, Any] = {}
    known: dict[Location, str] = {}
    for location, value in given.items():
        _put(values, location, value)
        known |= {location[:end]: names[location] for end in range(1, len(location) + 1)}

    def origin_of(location: Location) -> Origin:
        while location not in known:
            location = location[:-1]
        return Origin(RANKS[kind], 0, known[location], kind)

    return Layer(fit(values, Path.cwd()), origin_of)


def _put(values: dict[str, Any], location: Location, value: object) -> None:
    """Set a value, making the tables around it."""
    for part in location[:-1]:
        values = values.setdefault(str(part), {})
    values[str(location[-1])] = value


def fit(value: Any, folder: Path, at: Location = ()) -> Any:
    """A copy of values from TOML, JSON or flags that JSON can hold: paths as absolute strings,
    tuples as lists, :class:`Unusable` for what no setting takes.

    Args:
        value: a value or a table of them.
        folder: what relative paths are relative to.
        at: where the value stands.
    """
    if len(at) > MAX_DEPTH:
        return Unusable("is nested too deeply")
    if isinstance(value, Mapping):
        # JSON in a variable can smuggle half characters into keys, too.
        names = {str(key).encode(errors="replace").decode(): inner for key, inner in value.items()}
        return {name: fit(inner, folder, (*at, name)) for name, inner in names.items()}
    if isinstance(value, (list, tuple)):
        return [fit(inner, folder, (*at, number)) for number, inner in enumerate(value)]
    if isinstance(value, (str, os.PathLike)):
        return _fit_text(os.fspath(value), folder, at)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return Unusable("is too large a number")
    if isinstance(value, (datetime.date, datetime.time)):
        return Unusable("is a date or time, which no setting takes; text stands in quotes")
    return value


def _fit_text(text: str, folder: Path, at: Location) -> str | Unusable:
    if "\0" in text:
        return Unusable("contains a NUL character")
    node = node_at(at)
    is_path = node is not None and kind_of(node) == "path"
    if is_path and not text:
        return Unusable("is empty (expected a path)")
    if is_path:
        text = str(folder.absolute() / text)
    elif _is_device(at) and text:
        text = resolved_device(text, folder)
    if any("\ud800" <= c <= "\udfff" for c in text):
        return Unusable("is not UTF-8 text")
    return text


def _is_device(at: Location) -> bool:
    return at[:1] == ("input",) and at[2:] == ("device",)


def _flag_name(location: Location) -> str:
    key = str(location[-1])
    for unit in ("_s", "_hz", "_mb", "_dbfs"):
        key = key.removesuffix(unit)
    return "--" + key.replace("_", "-")
