"""Merging the sources of the configuration, and saying what is wrong and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.config.loading import config_files, load_config
from agent.config.merging import leaves
from model.errors import ConfigError
from tests.config_rig import FULL, load, problem, problems, write
from tests.config_rig import no_system_file as _no_system_file  # noqa: F401


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[agent]\nthreads = 99",
            "2: agent.threads: is out of range (expected a whole number from 1 to 64, got 99)",
        ),
        (
            "[decision]\n\nmemory_s = 0",
            "3: decision.memory_s: is out of range "
            "(expected a number above 0 and at most 86400, got 0)",
        ),
        (
            "[decision]\nenter = nan",
            "2: decision.enter: is out of range (expected a number from 0 to 1, got nan)",
        ),
        (
            '[agent]\nthreads = "2"',
            "2: agent.threads: is of the wrong kind "
            '(expected a whole number from 1 to 64, got "2")',
        ),
        (
            "[agent]\nthreads = true",
            "2: agent.threads: is of the wrong kind "
            "(expected a whole number from 1 to 64, got true)",
        ),
        (
            "[agent]\nmodel = 1",
            "2: agent.model: is of the wrong kind (expected a path, got 1)",
        ),
        ('[agent]\nmodel = ""', "2: agent.model: is empty (expected a path)"),
        (
            "[mqtt]\nhost = 'x'\ntls = 1",
            "3: mqtt.tls: is of the wrong kind (expected true or false, got 1)",
        ),
        (
            "[agent]\nengine = 'cuda'",
            "2: agent.engine: is none of the choices "
            '(expected one of auto, onnx, tensorrt, got "cuda")',
        ),
        (
            "[agent]\nname = '-v'",
            "2: agent.name: does not fit (expected 1 to 64 letters, digits, dots, dashes or "
            'underscores, the first no dot and no dash, got "-v")',
        ),
        (
            "[mqtt]\nhost = 'bob:geheim@127.0.0.1'",
            "2: mqtt.host: does not fit (expected a host name or address; user and password go "
            'into credentials_file, got "...@127.0.0.1")',
        ),
        ("[prometheus]\naddress = 'bob:geheim@::1'", "2: prometheus.address: does not fit"),
        ("agent = 3", "1: agent: is of the wrong kind (expected a table, got 3)"),
        (
            "[input]\nname = 'x'",
            "1: input: is of the wrong kind (expected tables headed [[input]], got a table)",
        ),
        ("[[input]]\ndevice = 'x'", "1: input[0].name: is missing (expected 1 to 64 letters"),
        ("\n[mqtt]\nport = 1", "2: mqtt.host: is missing (expected "),
        (
            "[mqtt]\nhots = 'x'\nhost = 'x'",
            "2: mqtt.hots: there is no such setting; did you mean mqtt.host?",
        ),
        ("[mqqt]", "1: mqqt: there is no such table; did you mean mqtt?"),
        (
            "keepalive_s = 3",
            "1: keepalive_s: there is no such setting; did you mean mqtt.keepalive_s?",
        ),
        ("[agent]\nHOP-S = 1", "2: agent.HOP-S: there is no such setting; did you mean agent.hop"),
        ("[agent]\n'a\\u001b' = 1", "2: agent.a\\u001b: there is no such setting"),
        (
            "[decision]\nleave = 0.9",
            "2: decision: leave must not be above enter (enter = 0.7, the default, leave = 0.9)",
        ),
        ("[hook]\ncommand = []", "2: hook.command: does not fit (expected a list with at least"),
        (
            "[hook]\ncommand = ['x']\nevents = [\n 'silence',\n 'bang']",
            "3: hook.events[1]: is none of the choices (expected one of device_identified, ",
        ),
        ("[agent]\nname = 2020-01-01", "2: agent.name: is a date or time"),
        ('[agent]\nmodel = "a\\u0000"', "2: agent.model: contains a NUL character"),
        ("[agent]\nthreads = 0x" + "f" * 4000, "2: agent.threads: is too large a number"),
        ("a = 2020-01-01", "1: a: there is no such setting"),
        ("a = " + "[" * 40 + "]" * 40, "1: a: there is no such setting"),
        (
            "[[input]]\nname = 'a'\n[[input]]\nname = 'a'",
            '4: input[1].name: another input has this name (got "a")',
        ),
        ("[[input]]\nname = 'a'\ndecision = {leave = 1}", "3: input[0].decision: leave must not"),
    ],
)
def test_one_thing_wrong(text: str, complaint: str, tmp_path: Path) -> None:
    assert problem(text, tmp_path).startswith(complaint)


def test_everything_wrong_is_said_at_once_in_the_order_of_the_sources(tmp_path: Path) -> None:
    low = write(tmp_path / "etc" / "config.toml", "[capture]\nbuffer_s = 0\n[agent]\nhop = 1\n")
    high = write(tmp_path / "devrec-agent" / "config.toml", "[agent]\nthreads = 0\n")
    found = problems(XDG_CONFIG_HOME=str(tmp_path), DEVREC_AGENT_DECISION_ENTER="most")
    places = [line.split(" ")[0] for line in found]
    assert places == [f"{low}:2:", f"{low}:4:", f"{high}:2:", "DEVREC_AGENT_DECISION_ENTER:"]
    write(low, "[")
    write(high, "]")
    found = problems(XDG_CONFIG_HOME=str(tmp_path), DEVREC_AGENT_DECISION_ENTRE="1")
    assert [line.split(" ")[0] for line in found] == [
        f"{low}:1:",
        f"{high}:1:",
        "DEVREC_AGENT_DECISION_ENTRE:",
    ]


def test_what_an_input_inherits_is_wrong_only_once(tmp_path: Path) -> None:
    text = "[[input]]\nname='a'\n[input.decision]\npatience_s=1\n[decision]\n"
    assert problem(f"{text}enter = 7", tmp_path).startswith("6: decision.enter")
    assert problem(f"{text}leave = 0.9", tmp_path).startswith("6: decision: leave must")
    assert problem(f'{text}enter = "\\u0000"', tmp_path).startswith("6: decision.enter")
    assert problem(f"{text}foo = 1", tmp_path).startswith("6: decision.foo")


def test_passwords_stay_out_of_messages(tmp_path: Path) -> None:
    for line in ('password = "geheim"', 'host = "mqtt://me:geheim@broker"', "'geheim' = 'geheim'"):
        with pytest.raises(ConfigError) as caught:
            load(write(tmp_path / "c.toml", f"[mqtt]\nport = 0\n{line}\n"))
        assert "= " not in str(caught.value)
        assert "geheim" not in str(caught.value).replace("mqtt.geheim: there", "")
        assert caught.value.__cause__ is None  # pydantic's error quotes values


def test_values_from_two_sources_that_do_not_go_together(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[decision]\nleave = 0.6\n")
    (line,) = problems(path, DEVREC_AGENT_DECISION_ENTER="0.5")
    assert line == (
        "DEVREC_AGENT_DECISION_ENTER: decision: leave must not be above enter "
        f"(enter = 0.5, leave = 0.6 from {path}:2)"
    )


def test_precedence_and_origins(tmp_path: Path) -> None:
    etc = write(
        tmp_path / "etc" / "config.toml",
        "[agent]\nthreads = 2\nhop_s = 2\nengine = 'onnx'\nname = 'etc'\n[[input]]\nname = 'etc'\n",
    )
    own = write(
        tmp_path / "home" / ".config" / "devrec-agent" / "config.toml",
        "[agent]\nthreads = 3\nhop_s = 3\nengine = 'tensorrt'\n[[input]]\nname = 'own'\n",
    )
    env = {"HOME": str(tmp_path / "home"), "DEVREC_AGENT_AGENT_THREADS": "4"}
    env["DEVREC_AGENT_AGENT_HOP_S"] = "4"
    flags = {"agent.threads": 5, "agent.model": None, "decision.memory_s": 9.0}
    loaded = load(None, flags, **env)
    settings = loaded.config.agent
    assert (settings.threads, settings.hop_s) == (5, 4)
    assert (settings.engine, settings.name) == ("tensorrt", "etc")
    assert [entry.name for entry in loaded.config.input] == ["own"]  # lists are replaced whole
    assert loaded.files == (etc, own)
    origins = {
        ("agent", "threads"): "--threads",
        ("agent", "hop_s"): "DEVREC_AGENT_AGENT_HOP_S",
        ("agent", "engine"): f"{own}:4",
        ("agent", "name"): f"{etc}:5",
        ("agent", "model"): "default",
        ("decision", "memory_s"): "--memory",
        ("input", 0, "name"): f"{own}:6",
        ("input", 0, "device"): "default",
        ("mqtt",): "default",
    }
    assert {at: str(loaded.origin(at)) for at in origins} == origins
    assert set(leaves(loaded.config.model_dump(mode="json"))) <= set(loaded.origins)


def test_a_given_file_replaces_those_that_are_searched(tmp_path: Path) -> None:
    write(tmp_path / "etc" / "config.toml", "[agent]\nname = 'etc'\nthreads = 7\n")
    given_file = write(tmp_path / "given.toml", "[agent]\nname = 'given'\n")
    for loaded in (load(given_file), load(DEVREC_AGENT_CONFIG=str(given_file))):
        assert loaded.config.agent.name == "given"
        assert loaded.config.agent.threads == 1
        assert loaded.files == (given_file,)
    other = write(tmp_path / "other.toml", "[agent]\nname = 'other'\n")
    assert load(other, DEVREC_AGENT_CONFIG=str(given_file)).config.agent.name == "other"


def test_where_files_are_searched(tmp_path: Path) -> None:
    etc = tmp_path / "etc" / "config.toml"
    own = Path("devrec-agent/config.toml")
    assert config_files(None, {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == (etc, Path("/x") / own)
    assert config_files(None, {"XDG_CONFIG_HOME": "x", "HOME": "/h"}) == (
        etc,
        Path("/h/.config") / own,
    )
    assert config_files(None, {}) == (etc,)
    assert config_files(Path("c.toml"), {}) == (Path.cwd() / "c.toml",)


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "caf\udce9" / "c.toml", "[agent]\nthreads = 2\n")
    assert load(path).config.agent.threads == 2
    write(path, "[agent]\nmodel = 'm.onnx'\n")
    (line,) = problems(path)
    assert line.endswith("caf\\udce9/c.toml:2: agent.model: is not UTF-8 text")


def test_paths_are_relative_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    path = write(tmp_path / "c.toml", FULL)
    config = load(path, {"evidence.folder": Path("kept")}).config
    assert config.agent.model == tmp_path / "models" / "a.onnx"
    assert config.mqtt is not None
    assert config.mqtt.credentials_file == Path("/etc/secret")
    assert config.evidence is not None
    assert config.evidence.folder == Path("/kept")  # of flags and variables to where one is
    assert load(DEVREC_AGENT_MODEL="m.onnx").config.agent.model == Path("/m.onnx")
    assert [entry.device for entry in config.input] == ["USB", f"{tmp_path}/clips/tape.wav"]
    assert [entry.audio_file for entry in config.input] == [None, tmp_path / "clips" / "tape.wav"]


def test_what_an_input_means_does_not_depend_on_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = ["recording", "Mic", "7", "missing.WAV", "portaudio:Mic/Line.wav", "usb:1:2:a/b"]
    devices += ["x" * 300, "sub"]
    for name in ("recording", "7"):
        write(tmp_path / "etc" / name, "")
    (tmp_path / "etc" / "sub").mkdir()
    text = "".join(f"[[input]]\nname = 'n{i}'\ndevice = '{d}'\n" for i, d in enumerate(devices))
    path = write(tmp_path / "etc" / "c.toml", text)
    monkeypatch.chdir(write(tmp_path / "cwd" / "Mic", "").parent)
    inputs = load(path).config.input
    files = [tmp_path / "etc" / name for name in ("recording", "missing.WAV")]
    assert [entry.audio_file for entry in inputs if entry.audio_file] == files
    assert [entry.device for entry in inputs if not entry.audio_file] == [
        device for device in devices if device not in ("recording", "missing.WAV")
    ]


def test_an_input_decides_as_all_but_for_what_it_says_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", FULL)
    loaded = load(path)
    plain, special = loaded.config.input
    assert plain.decision is None
    assert special.decision is not None
    assert (special.decision.memory_s, special.decision.enter) == (10, 0.8)
    assert str(loaded.origin(("input", 1, "decision", "memory_s"))) == f"{path}:17"
    assert str(loaded.origin(("input", 1, "decision", "enter"))) == f"{path}:6"
    assert str(loaded.origin(("input", 1, "decision", "leave"))) == "default"


def test_loading_again_sees_what_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[agent]\nthreads = 2\n")
    arguments: tuple[Path, dict[str, Any], dict[str, str]] = (path, {"agent.hop_s": 2.0}, {})
    assert load_config(*arguments).config.agent.threads == 2
    write(path, "[agent]\nthreads = 3\nhop_s = 1\n")
    again = load_config(*arguments).config.agent
    assert (again.threads, again.hop_s) == (3, 2.0)
    write(path, "[agent]\nthreads = 0\n")
    assert len(problems(path)) == 1


def test_flags_are_named_in_complaints() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"agent.hop_s": 0.0, "input": [{"name": "a", "device": ""}]})
    assert [line.split(":")[0] for line in caught.value.lines] == ["--hop", "--input"]
