"""The agent as a service, in a process of its own, with real sound and real recordings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.config.settings import DecisionSection
from agent.events import Event
from agent.file_source import FileSource
from agent.input_stream import InputStream
from agent.listening import Listening
from export.engine import Scores
from export.engine_loading import load_engine
from model.features import FloatArray
from tests.conftest import CLI_ENV, ROOT, run_cli
from tests.mosquitto import Broker, Receiver, wait_until
from tests.mosquitto import missing_parts as missing_broker
from tests.pulse import INPUT_NAME, PulseServer, missing_parts
from tests.running_agent import RunningAgent, wait_until_it_catches
from tests.simulated import RATE_HZ, record, speech_like

needs_pulse = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))
needs_broker = pytest.mark.skipif(missing_broker() is not None, reason=str(missing_broker()))
NEW_AUDIO_S = 1.04  #: a window after a gap needs this much


@pytest.fixture(scope="module")
def pulse() -> Iterator[PulseServer]:
    with PulseServer() as server:
        yield server


@pytest.fixture(scope="module")
def env(pulse: PulseServer) -> dict[str, str]:
    return pulse.env


def write_config(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_change_of_phone_is_one_event(ccnu_mobile: Path, tmp_path: Path) -> None:
    """Two real phones in a row, each with another sentence; the built-in model knows both."""
    parts = [
        soundfile.read(ccnu_mobile / name, dtype="float32")[0]
        for name in ("SAMSUNG_S8_1.wav", "IPHONEX_4.wav")
    ]
    soundfile.write(tmp_path / "line.wav", np.concatenate(parts), RATE_HZ)
    with RunningAgent("--events", "--fast", "-i", tmp_path / "line.wav") as agent:
        assert agent.process.wait(30) == 0
        agent.stop()
    named = agent.events("device_identified", "device_changed", "unknown", "silence")
    assert [(e["event"], e["device"], e["previous"]) for e in named] == [
        ("device_identified", "SAMSUNG_S8", None),
        ("device_changed", "IPHONEX", "SAMSUNG_S8"),
    ]
    delay_s = (named[1]["end_sample"] - len(parts[0])) / RATE_HZ
    assert 0 < delay_s < 5
    assert named[1]["windows"] >= 2
    assert named[1]["probability"] > 0.7


def test_windows_of_all_inputs_share_one_call(simulated_model: Path, tmp_path: Path) -> None:
    """Three inputs: as many engine calls as for one; the same events as alone."""
    engine = load_engine(simulated_model)
    paths = []
    for device in range(3):
        paths.append(tmp_path / f"{device}.wav")
        soundfile.write(paths[-1], record(speech_like(6.0, seed=5), device), RATE_HZ)

    class Counting:
        metadata, properties, precision = engine.metadata, engine.properties, engine.precision
        description = engine.description
        calls = 0

        def run(self, windows: FloatArray) -> Scores:
            self.calls += 1
            return engine.run(windows)

    def listen(which: list[Path]) -> tuple[int, list[tuple[Any, ...]], int]:
        counting = Counting()
        events: list[Event] = []
        streams = [
            InputStream(
                path.stem, FileSource(path, paced=False), engine.metadata, 0.5,
                DecisionSection(), events.append,
            )
            for path in which
        ]  # fmt: skip
        listening = Listening(counting, streams)
        windows = 0
        while not listening.ended:
            windows += len(listening.step(0.0))
        named = [(e.input, e.kind, e.device, e.start.sample) for e in events if e.device]
        return counting.calls, named, windows

    alone = [listen([path]) for path in paths]
    together = listen(paths)
    assert together[0] == alone[0][0]
    assert together[2] == sum(windows for _, _, windows in alone)
    assert sorted(together[1]) == sorted(event for _, events, _ in alone for event in events)
    assert {device for _, _, device, _ in together[1]} == {"simA", "simB", "simC"}


@needs_pulse
def test_killed_daemon_windows_flow_again(
    pulse: PulseServer, env: dict[str, str], simulated_model: Path
) -> None:
    with RunningAgent("--json", "-i", INPUT_NAME, "-m", simulated_model, env=env) as agent:
        agent.wait_for("scores")
        pulse.kill()
        lost = agent.wait_for("audio_lost", timeout=2)
        time.sleep(0.5)
        pulse.start()
        back = time.monotonic()
        restored = agent.wait_for("audio_restored", timeout=4)
        scored = agent.wait_for("scores", timeout=4)
        assert scored["arrived"] - back < 3
        agent.stop()
    assert "went away" in lost["reason"]
    assert restored["start_sample"] == lost["start_sample"]
    missing = restored["end_sample"] - restored["start_sample"]
    assert restored["missing_samples"] == missing > 0
    states = [line["state"] for line in agent.events("input_state")]
    assert states == ["starting", "running", "reopening", "running"]
    assert agent.events("ended")[0]["lost_samples"] == missing


@needs_pulse
def test_frozen_daemon_is_said(
    pulse: PulseServer, env: dict[str, str], simulated_model: Path
) -> None:
    with RunningAgent("--events", "-i", INPUT_NAME, "-m", simulated_model, env=env) as agent:
        agent.wait_for("started")
        time.sleep(0.5)
        pulse.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        lost = agent.wait_for("audio_lost", timeout=3)
        assert lost["arrived"] - frozen < 1
        time.sleep(1.5)
        pulse.signal(signal.SIGCONT)
        assert agent.wait_for("audio_restored", timeout=4)["missing_samples"] > 0
        agent.stop()


@needs_pulse
def test_ends_within_two_seconds_with_the_last_event(
    env: dict[str, str], simulated_model: Path, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path / "config.toml",
        f"[agent]\nname = 'lab'\nmodel = '{simulated_model}'\n"
        f"[[input]]\nname = 'mic'\ndevice = '{INPUT_NAME}'\n[jsonl]\npath = 'events.jsonl'\n",
    )
    with RunningAgent("--events", "--config", config, env=env) as agent:
        agent.wait_for("started")
        assert agent.stop() < 2
    assert agent.process.returncode == 0
    assert agent.errors == []
    on_disk = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    printed = [{k: v for k, v in line.items() if k != "arrived"} for line in agent.lines]
    assert on_disk == printed
    assert on_disk[-1]["event"] == "ended"
    run = on_disk[0]["id"].split("-")[0]
    assert [line["id"] for line in on_disk] == [f"{run}-{n + 1}" for n in range(len(on_disk))]
    assert {(line["agent"], line["input"]) for line in on_disk} == {("lab", "mic")}


def test_a_configured_input_is_waited_for(simulated_model: Path, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "config.toml",
        f"[agent]\nmodel = '{simulated_model}'\n[[input]]\nname = 'mic'\ndevice = 'not there'\n",
    )
    with RunningAgent("--events", "--config", config) as agent:
        lost = agent.wait_for("audio_lost")
        assert "no " in lost["reason"]
        assert agent.wait_for("input_state")["state"] == "reopening"
        states = [line["state"] for line in agent.events("input_state")]
        assert states == ["starting", "reopening"]
        time.sleep(0.5)
        assert agent.process.poll() is None
        assert agent.stop() < 2
    assert agent.process.returncode == 0


@needs_pulse
def test_a_reader_that_stops_reading_does_not_stop_the_listening(
    env: dict[str, str], simulated_model: Path, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path / "config.toml",
        f"[agent]\nmodel = '{simulated_model}'\nhop_s = 0.05\n"
        f"[[input]]\nname = 'mic'\ndevice = '{INPUT_NAME}'\n[jsonl]\npath = 'events.jsonl'\n"
        "[prometheus]\nport = 0\n",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "listen", "--json", "--top", "40", "-c", str(config)],
        cwd=ROOT,
        env={**CLI_ENV, **env},
        stdout=subprocess.PIPE,  # nobody reads it
    )
    try:
        time.sleep(5)  # the pipe is full after about 20 windows of 3 kB
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=4)
    finally:
        process.kill()
    ended = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert ended["event"] == "ended"
    assert ended["lost_samples"] == 0
    assert ended["windows"] > 40


def test_a_paused_reader_of_a_file_run_does_not_hold_up_the_end(
    simulated_model: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, record(speech_like(60.0, seed=5), 1), RATE_HZ)
    command = [sys.executable, "-m", "agent.cli", "listen", "--json", "--fast", "--hop", "0.04"]
    process = subprocess.Popen(
        [*command, "-i", str(clip), "-m", str(simulated_model)],
        cwd=ROOT,
        env=CLI_ENV,
        stdout=subprocess.PIPE,  # nobody reads it
        stderr=subprocess.PIPE,
    )
    try:
        wait_until_it_catches(process.pid, signal.SIGTERM)
        time.sleep(2)  # the pipe and the queue fill
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=3)
    finally:
        process.kill()
    assert process.returncode == 0


def test_an_absurd_sample_is_told_in_one_line(simulated_model: Path, tmp_path: Path) -> None:
    samples = record(speech_like(3.0, seed=5), 1)
    samples[40_000] = 1e30
    soundfile.write(tmp_path / "broken.wav", samples, RATE_HZ, subtype="FLOAT")
    done = run_cli("listen", "--fast", "-i", tmp_path / "broken.wav", "-m", simulated_model)
    assert done.returncode == 3
    (line,) = done.stderr.decode().splitlines()
    assert "absurdly large" in line


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["-i", ""], 2, "must not be empty"),
        (["-i", "x" * 300], 6, ""),
        (["--hop", "0"], 10, "hop"),
        (["-c", "nowhere.toml"], 10, "no such file"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], code: int, part: str) -> None:
    done = run_cli("listen", *arguments)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert part in line


@needs_broker
def test_events_reach_a_real_broker(simulated_model: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, record(speech_like(6.0, seed=5), 1), RATE_HZ)
    with Broker() as broker, Receiver(broker.port) as receiver:
        config = write_config(
            tmp_path / "config.toml",
            f"[agent]\nname = 'lab'\nmodel = '{simulated_model}'\n"
            f"[[input]]\nname = 'line'\ndevice = '{clip}'\n"
            f"[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\ntls = false\nspool = 'spool'\n",
        )
        with RunningAgent("--events", "--fast", "--config", config) as agent:
            assert agent.process.wait(30) == 0
            agent.stop()
        wait_until(lambda: len(receiver.events("lab/line/event")) >= len(agent.lines))
        received = receiver.events("lab/line/event")
    assert [event["id"] for event in received] == [line["id"] for line in agent.lines]
    assert "device_identified" in [event["event"] for event in received]
