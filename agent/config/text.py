"""The configuration written as TOML, as ``config show`` prints it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.config.file import Location
from agent.config.schema import kind_of, node_at, properties
from agent.config.settings import Config

Note = Callable[[Location], str]  #: what to say behind a value: where it came from

WIDTH = 78


def config_text(config: Config, note: Note) -> str:
    """TOML with every value in effect; read back as a file it gives the same configuration.

    Args:
        config: what to write.
        note: gives the comment behind each value, one line of printable characters.
    """
    values = config.model_dump(mode="json")
    return "\n".join(_table(values, (), note)).lstrip("\n") + "\n"


def toml_value(value: object) -> str:
    """A value as TOML writes it: text, number, switch, or a list of these."""
    if isinstance(value, str):
        # JSON's escapes are TOML's too; only DEL has to be escaped besides.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return repr(value)


def _table(values: Mapping[str, Any], at: Location, note: Note) -> Iterator[str]:
    """Keys first, then the tables below: TOML would take later keys for theirs."""
    below: list[str] = []
    for key in properties(node_at(at) or {}):
        value, location = values[key], (*at, key)
        node = node_at(location) or {}
        kind = kind_of(node)
        head = {"table": f"[{_dotted(location)}]", "tables": f"[[{_dotted(location)}]]"}.get(kind)
        if kind == "tables" and value:
            for number, item in enumerate(value):
                below += _headed(str(head), item, (*location, number), note)
        elif kind == "table" and value is not None:
            below += _headed(str(head), value, location, note)
        elif head is not None:
            about = node_at((*location, 0)) if kind == "tables" else node
            below += ["", *_comment(about or node), f"# {head} is not there."]
        else:
            yield from _comment(node)
            is_set = value is not None
            yield f"{key} = {toml_value(value)}  # {note(location)}" if is_set else f"# {key}: none"
    yield from below


def _headed(head: str, values: Mapping[str, Any], at: Location, note: Note) -> Iterator[str]:
    yield from ("", *_comment(node_at(at) or {}), head)
    yield from _table(values, at, note)


def _comment(node: Mapping[str, Any]) -> list[str]:
    words = str(node.get("description", "")).replace("``", "`")
    return [f"# {line}" for line in textwrap.wrap(words, WIDTH - 2)]


def _dotted(location: Location) -> str:
    return ".".join(part for part in location if isinstance(part, str))
