"""What is wrong with a configuration, in words, and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.config.file import Location, shown
from agent.config.layers import DEFAULT, Origin
from agent.config.merging import Merged, origin_at
from agent.config.schema import expected, kind_of, node_at, properties, setting_name
from agent.config.text import toml_value

LONGEST_VALUE = 60

#: What is wrong, by the beginning or the end of pydantic's name for it.
_WORDS: Mapping[str, str] = {
    "greater_than": "is out of range",
    "less_than": "is out of range",
    "literal_error": "is none of the choices",
    "too_short": "does not fit",
    "too_long": "does not fit",
    "pattern_mismatch": "does not fit",
    "_type": "is of the wrong kind",
}


def complaints(errors: Sequence[Mapping[str, Any]], merged: Merged) -> list[str]:
    """``WHERE: setting: what is wrong``, a line for each thing, in the order of the sources.

    Args:
        errors: what pydantic found, as ``ValidationError.errors()`` gives it.
        merged: what was validated.
    """
    found: list[tuple[Origin, str]] = []
    # Where no setting is foreseen, that is what is wrong.
    unusable = {at: why for at, why in merged.unusable.items() if node_at(at) is not None}
    for location, why in unusable.items():
        if location not in merged.inherited:
            found.append(_at(location, why, merged))
    for error in errors:
        location = tuple(error.get("ctx", {}).get("at", error["loc"]))
        if location in merged.inherited or location in unusable:
            continue  # is said where it stands
        if error["type"] in ("value_error", "assertion_error"):
            found += _of_validator(location, str(error["ctx"]["error"]), merged)
        elif error["type"] == "extra_forbidden":
            found.append(_stranger(location, merged))
        else:
            found.append(_at(location, _why(error, location, merged), merged))
    return [f"{origin}: {text}" for origin, text in sorted(dict.fromkeys(found))]


def _at(location: Location, why: str, merged: Merged) -> tuple[Origin, str]:
    return origin_at(location, merged.origins), f"{shown(setting_name(location))}: {why}"


def _why(error: Mapping[str, Any], location: Location, merged: Merged) -> str:
    name = error["type"]
    if name == "missing":
        return f"is missing (expected {expected(location)})"
    if name == "same_name":
        return f"{error['msg']} (got {_got(location, merged)})"
    words = (text for part, text in _WORDS.items() if name.startswith(part) or name.endswith(part))
    why = next(words, "is wrong")
    return f"{why} (expected {expected(location)}, got {_got(location, merged)})"


def _of_validator(location: Location, message: str, merged: Merged) -> list[tuple[Origin, str]]:
    """About one value, or about several of a table that do not go together: then it points at the
    value of the highest rank that the message names."""
    if not isinstance(_value_at(location, merged.values), dict):
        return [_at(location, f"{message} (got {_got(location, merged)})", merged)]
    named = [
        (*location, key)
        for key in properties(node_at(location) or {})
        if re.search(rf"\b{re.escape(key)}\b", message)
    ]
    given = [there for there in named if there in merged.origins]
    if given and all(there in merged.inherited for there in given):
        return []  # is said of [decision]
    origins = [merged.origins[there] for there in given]
    origin = max(origins, default=origin_at(location, merged.origins))
    values = ", ".join(_value_and_origin(there, origin, merged) for there in named)
    text = f"{shown(setting_name(location))}: {message}" if location else message
    return [(origin, f"{text} ({values})" if values else text)]


def _value_and_origin(location: Location, told: Origin, merged: Merged) -> str:
    origin = merged.origins.get(location, DEFAULT)
    if origin == DEFAULT:
        default = (node_at(location) or {}).get("default")
        value, where = ("not set" if default is None else toml_value(default)), ", the default"
    else:
        value, where = _got(location, merged), "" if origin == told else f" from {origin}"
    return f"{location[-1]} = {value}{where}"


def _stranger(location: Location, merged: Merged) -> tuple[Origin, str]:
    key = str(location[-1])
    is_table = isinstance(_value_at(location, merged.values), dict)
    around = location[:-1]
    siblings = properties(node_at(around) or {})
    plain = key.lower().replace("-", "_")
    hints = [setting_name((*around, c)) for c in difflib.get_close_matches(plain, siblings, n=1)]
    hints = hints or _settings_called(plain)
    hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
    origin = origin_at(location, merged.origins)
    name = shown(setting_name(location))
    return origin, f"{name}: there is no such {'table' if is_table else 'setting'}{hint}"


def _settings_called(key: str) -> list[str]:
    """Settings of any section that have this name."""
    found = []
    for section in properties(node_at(()) or {}):
        node = node_at((section,)) or {}
        if kind_of(node) == "tables":
            node = node_at((section, 0)) or {}
        if key in properties(node):
            found.append(f"{section}.{key}")
    return found


def _got(location: Location, merged: Merged) -> str:
    value = _value_at(location, merged.values)
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    # Somebody may have put a password into an address: messages go to the journal.
    text = re.sub(r"^.*@", '"...@', toml_value(value))
    return shown(text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}...")


def _value_at(location: Location, values: Any) -> Any:
    for part in location:
        values = values[part]
    return values
