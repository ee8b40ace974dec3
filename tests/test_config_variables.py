"""Settings from environment variables."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from agent.config.file import Location
from agent.config.schema import kind_of, node_at, properties
from agent.config.settings import Config
from agent.config.variables import setting_variables
from tests.config_rig import load, problems, write
from tests.config_rig import no_system_file as _no_system_file  # noqa: F401


@pytest.mark.parametrize(
    ("name", "text", "location", "value"),
    [
        ("AGENT_THREADS", " 4 ", ("agent", "threads"), 4),
        ("AGENT_HOP_S", "1", ("agent", "hop_s"), 1.0),
        ("DECISION_SILENCE_DBFS", "-6e1", ("decision", "silence_dbfs"), -60.0),
        ("ENGINE", "onnx", ("agent", "engine"), "onnx"),
        ("AGENT_ENGINE", "onnx", ("agent", "engine"), "onnx"),
        ("MODEL", "/m", ("agent", "model"), "/m"),
        ("PROMETHEUS_PORT", "0", ("prometheus", "port"), 0),
        ("MQTT_HOST", "1883", ("mqtt", "host"), "1883"),
        ("HOOK_COMMAND", "notify", ("hook", "command"), ["notify"]),
        ("HOOK_COMMAND", '["a", "b, c"]', ("hook", "command"), ["a", "b, c"]),
        ("INPUT", '[{"name": "x", "rate_hz": 8000}]', ("input", 0, "rate_hz"), 8000),
    ],
)
def test_variables(name: str, text: str, location: Location, value: object) -> None:
    loaded = load(**{f"DEVREC_AGENT_{name}": text})
    found: Any = loaded.config.model_dump(mode="json")
    for part in location:
        found = found[part]
    assert found == value
    assert str(loaded.origin(location)) == f"DEVREC_AGENT_{name}"


@pytest.mark.parametrize("text", ["true", "YES", "on", "1"])
def test_switches_in_variables(text: str) -> None:
    for word, expected in ((text, True), ("off", False)):
        config = load(DEVREC_AGENT_MQTT_HOST="x", DEVREC_AGENT_MQTT_TLS=word).config
        assert config.mqtt is not None
        assert config.mqtt.tls is expected


def test_lists_in_variables_are_separated_by_commas() -> None:
    config = load(
        DEVREC_AGENT_HOOK_COMMAND="notify, --all", DEVREC_AGENT_HOOK_EVENTS="unknown,silence"
    ).config
    assert config.hook is not None
    assert list(config.hook.command) == ["notify", "--all"]
    assert config.hook.events == ("unknown", "silence")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("AGENT_THREADS", "many", "agent.threads: is of the wrong kind (expected a whole number"),
        ("AGENT_THREADS", "9" * 25, "agent.threads: is too large a number"),
        ("AGENT_HOP_S", "nan", "agent.hop_s: is of the wrong kind (expected a number from"),
        ("AGENT_HOP_S", "99", "agent.hop_s: is out of range"),
        ("HOOK_COMMAND", "[1", "hook.command: is not JSON (expected a list"),
        ("HOOK_COMMAND", "[1]", "hook.command[0]: is of the wrong kind (expected text"),
        ("INPUT", "line", "input: is not JSON (expected tables headed [[input]])"),
        ("INPUT", "[" * 50_000, "input: is not JSON"),
        ("INPUT", '[{"name": "\\ud800"}]', "input[0].name: is not UTF-8 text"),
        ("INPUT", '[{"\\ud800": 1, "name": "a"}]', "input[0].?: there is no such setting"),
        ("INPUT", '[{"device": "x"}]', "input[0].name: is missing"),
        ("MODEL", "/caf\udce9", "agent.model: is not UTF-8 text"),
        ("INPUT_NAME", "x", "there is no such setting"),
        ("MQTT_HSOT", "x", "there is no such setting; did you mean DEVREC_AGENT_MQTT_HOST?"),
    ],
)
def test_variables_that_are_wrong(name: str, text: str, complaint: str) -> None:
    (line,) = problems(**{f"DEVREC_AGENT_{name}": text})
    assert line.startswith(f"DEVREC_AGENT_{name}: {complaint}")


def test_variables_of_others_are_passed_over_aloud() -> None:
    loaded = load(
        DEVREC_AGENT_SERVICE_HOST="10.0.0.1",  # Kubernetes
        DEVREC_AGENT_MODLE="x",
        DEVREC_AGENT_MQTT_HOST="",  # empty: not set
        DEVREC_AGENT_CUDART="/x",
        DEVREC_AGENT_TRUST_PLANS="1",
    )
    assert loaded.config == Config()
    assert loaded.warnings == (
        "DEVREC_AGENT_MODLE: no setting, passed over; did you mean DEVREC_AGENT_MODEL?",
        "DEVREC_AGENT_SERVICE_HOST: no setting, passed over",
    )


def test_agents_on_one_machine_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host, instance, name in (
        ("pi", "hall", "pi-hall"),
        ("-ä_", "living\\x20room:2", "_-living-x20room-2"),
        ("h" * 64, "hall", "h" * 59 + "-hall"),
        ("", "i" * 200, "i" * 63),
    ):
        monkeypatch.setattr(platform, "node", lambda host=host: host)
        config = load(DEVREC_AGENT_INSTANCE=instance).config
        assert config.agent.name == name
    path = write(tmp_path / "c.toml", "[agent]\nname = 'own'\n")
    assert load(path, DEVREC_AGENT_INSTANCE="hall").config.agent.name == "own"
    loaded = load(DEVREC_AGENT_INSTANCE="hall")
    assert str(loaded.origin(("agent", "name"))) == "DEVREC_AGENT_INSTANCE"
    assert loaded.warnings == ()


def test_every_setting_has_a_variable_a_kind_and_a_description() -> None:
    names = setting_variables()
    for section in properties(node_at(()) or {}):
        node = node_at((section,)) or {}
        inner = (section, 0) if kind_of(node) == "tables" else (section,)
        assert (node_at(inner) or {}).get("description"), section
        for key in properties(node_at(inner) or {}):
            assert (node_at((*inner, key)) or {}).get("description"), (section, key)
            if inner == (section,):
                assert names[f"DEVREC_AGENT_{section}_{key}".upper()] == (section, key)
