"""Reading the configuration again: nothing is lost, and what is wrong breaks nothing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from agent.config.settings import Config, JsonLinesSection
from agent.configured_outlets import ConfiguredOutlets
from agent.loaded_model import load_model
from export.sidecar import sha256_of
from model.builtin import BUILTIN_MODEL
from tests.conftest import CLI_ENV, ROOT
from tests.pulse import INPUT_NAME, PulseServer, missing_parts
from tests.running_agent import Line, RunningAgent, wait_until_it_catches
from tests.simulated import RATE_HZ, record, speech_like

needs_pulse = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


class Reloading:
    """An agent whose configuration the test rewrites."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self._path = folder / "config.toml"
        self._env = env
        self._said = 0

    def write(self, text: str) -> None:
        self._path.write_text(text)

    def start(self, *arguments: str) -> RunningAgent:
        return RunningAgent(*arguments, "--config", self._path, env=self._env)

    def reload(self, agent: RunningAgent, text: str) -> str:
        """Write, send SIGHUP, and return what the agent says of it."""
        self.write(text)
        before = len(agent.errors)
        agent.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while len(agent.errors) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        return "\n".join(agent.errors[before:])


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with PulseServer() as server:
        yield server.env


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """A minute, played in real time."""
    path = tmp_path / "long.wav"
    soundfile.write(path, record(speech_like(60.0, seed=5), 1), RATE_HZ)
    return path


def scores_of(name: str) -> object:
    def wanted(line: Line) -> bool:
        return line["event"] == "scores" and line["input"] == name

    return wanted


@needs_pulse
def test_no_sample_is_lost(env: dict[str, str], simulated_model: Path, tmp_path: Path) -> None:
    mic = f"[[input]]\nname = 'mic'\ndevice = '{INPUT_NAME}'\n"
    twin = f"[[input]]\nname = 'twin'\ndevice = '{INPUT_NAME}'\n"
    base = f"[agent]\nmodel = '{simulated_model}'\n{mic}"
    config = Reloading(tmp_path, env)
    config.write(base)
    with config.start("--json") as agent:
        agent.wait_for("scores")
        said = config.reload(agent, base + "[jsonl]\npath = 'events.jsonl'\n")
        assert "read again" in said
        said = config.reload(agent, base + "[decision]\nenter = 1.5\n")
        assert "config.toml:7: decision.enter" in said  # file, line, setting
        # Another model, another hop, another input; the outlet stays.
        kept = "[jsonl]\npath = 'events.jsonl'\n"
        config.reload(agent, f"[agent]\nhop_s = 0.25\n{mic}{twin}{kept}")
        agent.wait_for(scores_of("twin"))
        agent.wait_for(scores_of("mic"))
        assert agent.stop() < 2
    assert agent.events("gap", "audio_lost") == []
    ended = [line for line in agent.events("ended") if line["input"] == "mic"]
    assert [line["lost_samples"] for line in ended] == [0, 0]
    assert ended[-1]["samples"] == ended[-1]["end_sample"]
    started = [line for line in agent.events("started") if line["input"] == "mic"]
    assert len({line["model_sha256"] for line in started}) == 2
    on_disk = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in on_disk if line["input"] == "mic"][:2] == ["ended", "started"]


def test_a_model_that_is_missing_for_a_while(
    simulated_model: Path, long_file: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.onnx"
    shutil.copy(simulated_model, model)
    with_model = f"[agent]\nmodel = '{model}'\n"
    config = Reloading(tmp_path)
    config.write(with_model + f"[[input]]\nname = 'a'\ndevice = '{long_file}'\n")
    with config.start("--json") as agent:
        agent.wait_for("scores")
        model.rename(tmp_path / "away")
        said = config.reload(agent, with_model + f"[[input]]\nname='b'\ndevice='{long_file}'\n")
        assert "no such model file" in said
        agent.wait_for(scores_of("a"))  # goes on as it was
        (tmp_path / "away").rename(model)
        assert "read again" in config.reload(
            agent, with_model + f"[[input]]\nname = 'a'\ndevice = '{long_file}'\n"
        )
        agent.wait_for(scores_of("a"))
        assert agent.stop() < 2
    assert agent.process.returncode == 0


def test_a_model_replaced_in_place_is_loaded(
    simulated_model: Path, long_file: Path, tmp_path: Path
) -> None:

    model = tmp_path / "m.onnx"
    shutil.copy(simulated_model, model)
    text = f"[agent]\nmodel = '{model}'\n[[input]]\nname = 'a'\ndevice = '{long_file}'\n"
    config = Reloading(tmp_path)
    config.write(text)
    with config.start("--json") as agent:
        agent.wait_for("scores")
        shutil.copy(BUILTIN_MODEL, model)
        config.reload(agent, text)
        assert agent.wait_for("started")["model_sha256"] == sha256_of(BUILTIN_MODEL.read_bytes())
        assert not agent.wait_for("scores")["device"].startswith("sim")
        agent.stop()


def test_an_input_that_cannot_be_opened_leaves_the_old_one(
    simulated_model: Path, long_file: Path, tmp_path: Path
) -> None:
    base = f"[agent]\nmodel = '{simulated_model}'\n[[input]]\nname = 'a'\n"
    config = Reloading(tmp_path)
    config.write(base + f"device = '{long_file}'\n")
    with config.start("--json") as agent:
        agent.wait_for("scores")
        assert "no such file" in config.reload(agent, base + "device = 'tyop.wav'\n")
        agent.wait_for("scores", after=time.monotonic())
        agent.stop()
    assert len(agent.events("started")) == 1


def test_an_outlet_that_cannot_be_opened_is_tried_again(
    simulated_model: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    outlets = ConfiguredOutlets(said.append, list)
    path = tmp_path / "later" / "events.jsonl"
    config = Config(jsonl=JsonLinesSection(path=path))
    settings = config.agent.model_copy(update={"model": simulated_model})
    model = load_model(settings, said.append, None)
    (trouble,) = outlets.apply(config, model)
    assert "cannot be opened" in str(trouble)
    outlets.offer({"event": "silence"})
    path.parent.mkdir()
    outlets._retry_at = 0.0  # half a minute later
    outlets.poll()
    outlets.offer({"event": "unknown"})
    outlets.close(time.monotonic() + 5)
    assert path.read_text() == '{"event": "unknown"}\n'


def test_a_terminal_that_goes_ends_the_view(simulated_model: Path, long_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "listen", "-i", long_file, "-m", simulated_model],
        cwd=ROOT,
        env=CLI_ENV,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_it_catches(process.pid, signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        assert process.wait(5) == 0
    finally:
        process.kill()
