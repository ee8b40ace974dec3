"""What the configuration's schema says about one setting: its kind, its range, its neighbours."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

from agent.config.file import Location

Kind = Literal["text", "path", "whole number", "number", "switch", "list", "table", "tables"]
Node = Mapping[str, Any]  #: a part of a JSON schema

_KINDS: Mapping[str, Kind] = {
    "integer": "whole number",
    "number": "number",
    "boolean": "switch",
    "object": "table",
}


@functools.cache
def _schema() -> Node:
    from agent.config.settings import Config

    return Config.model_json_schema()


def node_at(location: Location) -> Node | None:
    """The schema of a setting or table; ``None`` where nothing is foreseen."""
    node = _schema()
    for part in location:
        inner = node.get("items") if isinstance(part, int) else properties(node).get(part)
        if inner is None:
            return None
        node = _plain(inner)
    return node


def properties(node: Node) -> Mapping[str, Node]:
    """Keys of a table and their schemas; none for anything else."""
    found: Mapping[str, Node] = node.get("properties", {})
    return found


def kind_of(node: Node) -> Kind:
    """What sort of value is wanted."""
    if node.get("type") == "array":
        return "tables" if _plain(node["items"]).get("type") == "object" else "list"
    if node.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    return _KINDS.get(node.get("type", ""), "text")


def expected(location: Location) -> str:
    """In words, what a setting may be, e.g. ``a whole number from 1 to 64``."""
    node = node_at(location)
    if node is None:
        return "another value"
    if "expected" in node:
        return str(node["expected"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    kind = kind_of(node)
    if kind == "tables":
        return f"tables headed [[{location[-1]}]]"
    if kind == "list":
        least = " with at least one entry" if node.get("minItems") else ""
        return f"a list{least}, each {expected((*location, 0))}"
    if kind == "switch":
        return "true or false"
    if kind == "text":
        pattern = f" that matches {node['pattern']}" if "pattern" in node else ""
        return f"text, not empty{pattern}" if node.get("minLength") else f"text{pattern}"
    return f"a {kind}{_range(node)}"


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    limits = {
        "exclusiveMinimum": "above",
        "minimum": "at least",
        "exclusiveMaximum": "below",
        "maximum": "at most",
    }
    words = [f"{word} {node[key]}" for key, word in limits.items() if key in node]
    return " " + " and ".join(words) if words else ""


def setting_name(location: Location) -> str:
    """How a setting is written: ``input[0].name``."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _plain(node: Node) -> Node:
    """The node without references and without the choice of being absent."""
    for _ in range(4):
        inner = [part for part in node.get("anyOf", []) if part.get("type") != "null"]
        inner = inner or node.get("allOf", [])
        if len(inner) == 1:
            rest = {key: value for key, value in node.items() if key not in ("anyOf", "allOf")}
            node = {**inner[0], **rest}
        elif "$ref" in node:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            node = {**_schema()["$defs"][node["$ref"].rpartition("/")[2]], **rest}
        else:
            break
    return node
