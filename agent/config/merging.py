"""Laying the sources of the configuration over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.config.file import Location
from agent.config.layers import DEFAULT, Layer, Origin, Unusable
from agent.config.schema import node_at, properties


@dataclass
class Merged:
    """What all sources say together, not yet validated.

    Attributes:
        values: the tables, ready for JSON.
        origins: where every value and table comes from.
        inherited: values that an input's decision table has from ``[decision]``.
        unusable: values that no setting takes, by what is wrong; ``None`` stands in their place.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    inherited: set[Location] = field(default_factory=set)
    unusable: dict[Location, str] = field(default_factory=dict)


def merge(layers: Iterable[Layer]) -> Merged:
    """Merge sources, lowest rank first: tables key by key, while anything else is replaced."""
    merged = Merged()
    for layer in layers:
        _overlay(merged.values, merged.origins, layer.values, layer.origin_of, ())
    _inherit_decision(merged)
    merged.values = _json_ready(merged.values, merged.unusable, ())
    return merged


def origin_at(location: Location, origins: Mapping[Location, Origin]) -> Origin:
    """Where a value comes from: its own origin or that of the nearest list or table around it."""
    while location and location not in origins:
        location = location[:-1]
    return origins.get(location, DEFAULT)


def with_defaults(
    values: Mapping[str, Any], origins: Mapping[Location, Origin]
) -> dict[Location, Origin]:
    """``origins``, and the default as origin of all other values in effect."""
    return {**dict.fromkeys(leaves(values), DEFAULT), **origins}


def leaves(values: Any, at: Location = ()) -> Iterable[Location]:
    """Where the settings stand: everything but tables and lists of tables."""
    if isinstance(values, dict):
        for key, inner in values.items():
            yield from leaves(inner, (*at, key))
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        for number, inner in enumerate(values):
            yield from leaves(inner, (*at, number))
    else:
        yield at


def _overlay(
    values: dict[str, Any],
    origins: dict[Location, Origin],
    upper: Mapping[str, Any],
    origin_of: Callable[[Location], Origin],
    at: Location,
) -> None:
    for key, value in upper.items():
        here = (*at, key)
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            origins.setdefault(here, origin_of(here))  # what the table lacks, it lacks there
            _overlay(values[key], origins, value, origin_of, here)
            continue
        for location in [known for known in origins if known[: len(here)] == here]:
            del origins[location]
        values[key] = value
        _record(value, origins, origin_of, here)


def _record(
    value: object,
    origins: dict[Location, Origin],
    origin_of: Callable[[Location], Origin],
    at: Location,
) -> None:
    origins[at] = origin_of(at)
    if isinstance(value, dict):
        for key, inner in value.items():
            _record(inner, origins, origin_of, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if isinstance(inner, (dict, list)):
                _record(inner, origins, origin_of, (*at, number))


def _inherit_decision(merged: Merged) -> None:
    """Give the decision table of each input what it leaves out."""
    shared, inputs = merged.values.get("decision"), merged.values.get("input")
    if not isinstance(shared, dict) or not isinstance(inputs, list):
        return
    known = properties(node_at(("decision",)) or {})
    for number, entry in enumerate(inputs):
        own = entry.get("decision") if isinstance(entry, dict) else None
        if not isinstance(own, dict):
            continue
        for key in [key for key in shared if key in known and key not in own]:
            location = ("input", number, "decision", key)
            own[key] = shared[key]
            merged.origins[location] = merged.origins["decision", key]
            merged.inherited.add(location)


def _json_ready(value: Any, unusable: dict[Location, str], at: Location) -> Any:
    if isinstance(value, Unusable):
        unusable[at] = value.why
        return None
    if isinstance(value, dict):
        return {key: _json_ready(inner, unusable, (*at, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_ready(inner, unusable, (*at, n)) for n, inner in enumerate(value)]
    return value
