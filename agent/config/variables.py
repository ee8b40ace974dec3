"""Settings from environment variables: ``DEVREC_AGENT_MQTT_HOST`` is ``mqtt.host``."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.file import Location, shown
from agent.config.layers import Layer, Unusable, named_layer
from agent.config.schema import Kind, expected, kind_of, node_at, properties
from agent.config.settings import name_of_machine

PREFIX = "DEVREC_AGENT_"
CONFIG_VARIABLE = "DEVREC_AGENT_CONFIG"
#: What tells one agent of this machine from the others; goes into its default name.
INSTANCE_VARIABLE = "DEVREC_AGENT_INSTANCE"
#: Older than the configuration file.
SHORT_NAMES: Mapping[str, Location] = {
    "DEVREC_AGENT_MODEL": ("agent", "model"),
    "DEVREC_AGENT_ENGINE": ("agent", "engine"),
    "DEVREC_AGENT_GALLERY": ("agent", "gallery"),
}


@dataclass(frozen=True)
class Variables:
    """What the environment says.

    Attributes:
        layer: the values.
        problems: variables that begin like a setting's and are none, one line each.
        warnings: other variables with the program's prefix that mean nothing to it.
    """

    layer: Layer
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def setting_variables() -> dict[str, Location]:
    """All variables that are settings. A short name gives way to the long one."""
    names: dict[str, Location] = dict(SHORT_NAMES)
    root = node_at(()) or {}
    for section in properties(root):
        node = node_at((section,)) or {}
        if kind_of(node) == "tables":
            names[f"{PREFIX}{section.upper()}"] = (section,)
        for key in properties(node):
            names[f"{PREFIX}{section.upper()}_{key.upper()}"] = (section, key)
    return names


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Settings in ``environ``. An empty variable counts as not set.

    Lists are separated by commas, or are JSON when they begin with a bracket; inputs are JSON:
    ``DEVREC_AGENT_INPUT='[{"name": "desk", "device": "USB"}]'``. Relative paths are relative to
    the working directory.
    """
    names = setting_variables()
    given: dict[Location, Any] = {}
    called: dict[Location, str] = {}
    for name, location in names.items():
        if text := environ.get(name):
            given[location], called[location] = _value(text, location), name
    problems, warnings = _strangers(environ, names)
    return Variables(named_layer(called, given, "variable"), problems, warnings)


def instance_layer(environ: Mapping[str, str]) -> Layer | None:
    """The default name of one of several agents on this machine, below all files: each needs a name
    of its own, or they fight at the broker."""
    instance = environ.get(INSTANCE_VARIABLE)
    if not instance:
        return None
    at: Location = ("agent", "name")
    return named_layer({at: INSTANCE_VARIABLE}, {at: name_of_machine(instance)}, "variable")


def _strangers(
    environ: Mapping[str, str], names: Mapping[str, Location]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Problems and warnings about variables that only look like ours.

    One that begins with a section is surely misspelt. Others may be somebody else's: Kubernetes
    gives every container of a service ``devrec-agent`` a ``DEVREC_AGENT_SERVICE_HOST``.
    """
    from export.cuda_runtime import LIBRARY_VARIABLE
    from export.tensorrt_engine import TRUST_VARIABLE

    known = {*names, CONFIG_VARIABLE, INSTANCE_VARIABLE, LIBRARY_VARIABLE, TRUST_VARIABLE}
    sections = tuple(f"{PREFIX}{section.upper()}_" for section in properties(node_at(()) or {}))
    problems, warnings = [], []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known and environ[name]:
            close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
            hint = f"; did you mean {close[0]}?" if close else ""
            if name.startswith(sections):
                problems.append(f"{shown(name)}: there is no such setting{hint}")
            else:
                warnings.append(f"{shown(name)}: no setting, passed over{hint}")
    return tuple(problems), tuple(warnings)


_SWITCHES: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _value(text: str, location: Location) -> Any:
    """The text as its setting wants it; where it does not fit, as it is, for the validation to
    refuse."""
    kind: Kind = kind_of(node_at(location) or {})
    if kind == "switch":
        return _SWITCHES.get(text.strip().lower(), text)
    if kind == "whole number":
        return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", text) else text
    if kind == "number":
        return _number(text)
    if kind == "tables" or (kind == "list" and text.lstrip().startswith("[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return Unusable(f"is not JSON (expected {expected(location)})")
    if kind == "list":
        return [part for part in map(str.strip, text.split(",")) if part]
    return text


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
