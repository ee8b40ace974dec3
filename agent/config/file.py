"""Reading a configuration file: its values, and the line that each stands on."""

from __future__ import annotations

import codecs
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from model.errors import ConfigError

#: Where a value stands: names of tables and keys, numbers in lists; ``("input", 0, "name")``.
Location = tuple[str | int, ...]

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class ConfigFile:
    """What a file says, not yet validated.

    Attributes:
        path: the file.
        values: its tables.
        lines: the line of every table and key that has one of its own, from 1.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Location, int]

    def line_of(self, location: Location) -> int:
        """The line of a value; that of the nearest table or key around it when it has none of its
        own, as in inline tables."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_config_file(path: Path) -> ConfigFile:
    """Read a TOML file; an empty one is fine, and so is a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it cannot be read, is too large, not UTF-8, or not TOML.
    """
    data = _bytes_of(path)
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown(path)}:{line}: not UTF-8 text") from error
    text = text.replace("\r\n", "\n")
    toml = _toml()
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ConfigError(f"{shown(path)}:{_syntax_error(str(error), text)}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, brackets in thousands of brackets.
        raise ConfigError(f"{shown(path)}: a number is too long, or lists too deep") from error
    return ConfigFile(path, values, _lines_of(text))


def shown(text: object) -> str:
    """``text`` on one line, without characters that would upset a terminal or a TOML comment."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{shown(path)}: cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{shown(path)}: larger than 1 MB, so no configuration")
    return data


def _toml() -> ModuleType:
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def _syntax_error(message: str, text: str) -> str:
    """``LINE: what is wrong`` from a message such as ``Invalid value (at line 3, column 9)``."""
    what, _, place = message.rpartition(" (at ")
    at = re.match(r"line (\d+)", place)
    line = int(at[1]) if at else max(1, len(text.splitlines()))
    if twice := re.match(r"Cannot declare \((.*?),?\) twice", what):
        table = ".".join(part.strip(" '\"") for part in twice[1].split(","))
        return f"{line}: the table [{shown(table)}] stands here a second time"
    if what == "Cannot overwrite a value":
        return f"{line}: this key or table stands here a second time"
    return f"{line}: not TOML: {shown(what or message)}"


#: Strings of four kinds, comments, ends of lines, brackets, equals signs, and all between them.
_TOKEN = re.compile(
    r'"""(?:\\.|(?!""").)*"{3,5}'
    r"|'''(?:(?!''').)*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=]"
    r"|[^\"'\#\n\[\]{}=]+",
    re.DOTALL,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every header and every key of valid TOML; of ``key = value`` only the
    key."""
    line, depth, start = 1, 0, 1
    parts: list[str] = []
    in_value = False
    for token in (match[0] for match in _TOKEN.finditer(text)):
        if token == "\n" and depth == 0:
            if head := "".join(parts).strip():
                yield start, head
            parts, in_value = [], False
        elif token.startswith("#") or (not parts and token.isspace()):
            pass
        else:
            start = start if parts else line
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token, 0)
            in_value = in_value or token == "="
            if not in_value:
                parts.append(token)
        line += token.count("\n")
    if head := "".join(parts).strip():
        yield start, head


def _lines_of(text: str) -> dict[Location, int]:
    lines: dict[Location, int] = {}
    tables: dict[Location, int] = {}  # how many of each array of tables there are so far
    here: Location = ()
    for line, head in _statements(text):
        is_header = head.startswith("[")
        in_array = head.startswith("[[")
        location = () if is_header else here
        keys = _keys(head.strip("[]") if is_header else head)
        for number, key in enumerate(keys, 1):
            location = (*location, key)
            if in_array and number == len(keys):
                tables[location] = tables.get(location, 0) + 1
            lines.setdefault(location, line)
            if is_header and location in tables:
                location = (*location, tables[location] - 1)
                lines.setdefault(location, line)
        if is_header:
            here = location
            lines[here] = line
    return lines


def _keys(text: str) -> list[str]:
    """The parts of a dotted key, unquoted: ``a."b c"`` has two."""
    nested: Any = _toml().loads(f"{text} = 0")
    keys: list[str] = []
    while isinstance(nested, dict):
        (key,) = nested
        keys.append(key)
        nested = nested[key]
    return keys
