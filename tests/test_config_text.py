"""What `config show` writes is a file that says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.config.file import Location
from agent.config.schema import kind_of, node_at, properties
from agent.config.settings import Config
from agent.config.text import config_text
from model.errors import ConfigError
from tests.config_rig import FULL, load, write
from tests.config_rig import no_system_file as _no_system_file  # noqa: F401

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def values_for(location: Location) -> st.SearchStrategy[Any]:
    """Anything that the schema allows at a place."""
    node = node_at(location) or {}
    if location[-2:] == ("mqtt", "host"):
        return st.from_regex(r"[a-z0-9.:-]{1,40}", fullmatch=True)
    if location[-2:] == ("mqtt", "topic"):
        return st.from_regex(r"[a-zä ]{1,9}(/[a-z\"\\ ]{1,9}){0,3}", fullmatch=True)
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "pattern" in node and "minLength" in node:
        return st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)
    match kind_of(node):
        case "whole number":
            return st.integers(node["minimum"], node["maximum"])
        case "number":
            low, high = node.get("minimum", node.get("exclusiveMinimum")), node["maximum"]
            return st.floats(low, high, exclude_min="minimum" not in node)
        case "switch":
            return st.booleans()
        case "path":
            names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"))
            return st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
        case "list":
            least = node.get("minItems", 0)
            return st.lists(values_for((*location, 0)), min_size=least, max_size=3)
        case _:
            return st.text(CHARACTERS, min_size=node.get("minLength", 0), max_size=64)


def tables_for(location: Location) -> st.SearchStrategy[dict[str, Any]]:
    node = node_at(location) or {}
    required = {key: values_for((*location, key)) for key in node.get("required", [])}
    optional = {
        key: tables_for((*location, key)).filter(fits("decision"))
        if key == "decision"
        else values_for((*location, key))
        for key in properties(node)
        if key not in required
    }
    return st.fixed_dictionaries(required, optional=optional)


def fits(section: str) -> Any:
    def accepted(table: dict[str, Any]) -> bool:
        try:
            Config.model_validate_json(json.dumps({section: table}))
        except ValidationError:
            return False
        return True

    return accepted


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for section in properties(node_at(()) or {}):
        if section == "input":
            table = tables_for((section, 0))
            values[section] = draw(
                st.lists(table, max_size=3, unique_by=lambda entry: entry["name"])
            )
        elif draw(st.booleans()):
            values[section] = draw(tables_for((section,)).filter(fits(section)))
    return values


@given(values=configurations())
@settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_what_is_shown_gives_the_same_configuration(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        first = load(None, values)
    except ConfigError as error:  # what an input inherits may not go with its own
        if "].decision: leave must not be above enter" in str(error):
            reject()
        raise
    text = config_text(first.config, lambda at: str(first.origin(at)))
    path = write(folder / "shown.toml", text)
    second = load(path)
    assert second.config == first.config
    assert config_text(second.config, lambda _: "") == config_text(first.config, lambda _: "")
    # And every line is where the loader says it is.
    lines = text.split("\n")
    for location, origin in second.origins.items():
        if origin.kind == "file" and isinstance(location[-1], str):
            assert location[-1] in lines[origin.line - 1]


def test_what_is_shown_of_a_file_with_everything(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", FULL)
    loaded = load(path)
    text = config_text(loaded.config, lambda at: str(loaded.origin(at)))
    assert f'name = "desk-1"  # {path}:2\n' in text
    assert "hop_s = 0.5  # default\n" in text
    assert "# [evidence] is not there.\n" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) < 80
    assert load(write(tmp_path / "elsewhere" / "c.toml", text)).config == loaded.config


def test_the_schema_has_only_kinds_that_are_known() -> None:
    """A union of two kinds, say, would be read from variables and shown in a wrong way."""

    def check(location: Location) -> None:
        for key in properties(node_at(location) or {}):
            node = node_at((*location, key)) or {}
            assert "type" in node or "enum" in node, (*location, key)
            if kind_of(node) in ("table", "tables"):
                check((*location, key, 0) if kind_of(node) == "tables" else (*location, key))

    check(())
