"""``listen``: files as inputs, and real sound through PulseAudio and PortAudio."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.pipeline import ScoringPipeline
from export.engine_loading import load_engine
from tests.conftest import ROOT, run_cli
from tests.pulse import INPUT_NAME, PulseServer, missing_parts
from tests.simulated import RATE_HZ, record, speech_like


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a new sound through simulated device B."""
    path = tmp_path_factory.mktemp("clip") / "new.wav"
    soundfile.write(path, record(speech_like(4.0, seed=77), 1, seed=7), RATE_HZ)
    return path


def listen(*arguments: str | Path, timeout: float = 60) -> tuple[int, list[dict[str, Any]], str]:
    done = run_cli("listen", "--json", *arguments, timeout=timeout)
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return done.returncode, lines, done.stderr.decode()


def test_file_run_free(clip: Path, simulated_model: Path) -> None:
    code, lines, errors = listen("--input", clip, "--fast", "--model", simulated_model)
    assert (code, errors) == (0, "")
    kinds = [line["event"] for line in lines]
    assert kinds[:3] == ["input_state", "started", "input_state"]
    assert [line["state"] for line in lines if line["event"] == "input_state"] == [
        "starting", "running", "ended",
    ]  # fmt: skip
    ended = lines[-1]
    assert (ended["event"], ended["time_s"], ended["windows"]) == ("ended", 4.0, 6)
    assert (ended["samples"], ended["lost_samples"]) == (4 * RATE_HZ, 0)
    scores = [line for line in lines if line["event"] == "scores"]
    assert [line["windows"] for line in scores] == list(range(1, 7))
    assert scores[-1]["device"] == "simB"
    # Nothing before 128 real frames: 127 hops and a frame.
    assert scores[0]["time_s"] == pytest.approx((127 * 256 + 512) / RATE_HZ, abs=1e-3)
    steps = np.diff([line["time_s"] for line in scores])
    np.testing.assert_allclose(steps, round(0.5 / 0.008) * 0.008, atol=1e-3)


def test_shorter_than_a_window_reports_nothing(tmp_path: Path, simulated_model: Path) -> None:
    samples = speech_like(2.0, 1)[: 127 * 256]
    soundfile.write(tmp_path / "short.wav", samples, RATE_HZ)
    code, lines, _ = listen("-i", tmp_path / "short.wav", "--fast", "--model", simulated_model)
    assert code == 0
    kinds = [line["event"] for line in lines]
    assert kinds == ["input_state", "started", "input_state", "input_state", "ended"]


def test_file_is_paced_in_real_time(clip: Path, simulated_model: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli", "listen", "--json", "-i", clip, "-m", simulated_model],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    arrivals = [(time.monotonic(), json.loads(line)) for line in process.stdout]
    started = next(at for at, line in arrivals if line["event"] == "started")
    for at, line in arrivals:
        if line["event"] == "scores":
            assert at - started > line["time_s"] - 0.1
    assert process.wait() == 0


def test_listen_agrees_with_classify(clip: Path, simulated_model: Path) -> None:
    _, lines, _ = listen(
        "-i", clip, "--fast", "--hop", "0.512", "--memory", "100", "-m", simulated_model
    )
    done = run_cli("classify", "--json", clip, "-m", simulated_model)
    answer = json.loads(done.stdout)
    scores = [line for line in lines if line["event"] == "scores"]
    assert scores[-1]["device"] == answer["device"]
    assert scores[-1]["windows"] == answer["windows"]
    agreeing = sum(line["window_device"] == answer["device"] for line in scores)
    assert agreeing == answer["windows_agreeing"]


@pytest.mark.parametrize("rate_hz", [16_000, 32_000, 44_100])
def test_pipeline_does_not_depend_on_chunks(rate_hz: int, simulated_model: Path) -> None:
    engine = load_engine(simulated_model)
    samples = speech_like(3.0, seed=4, rate_hz=rate_hz)
    rng = np.random.default_rng(0)

    def windows(cuts: list[int]) -> list[tuple[int, np.ndarray]]:
        pipeline = ScoringPipeline(engine, rate_hz, hop_frames=20)
        found = [s for part in np.split(samples, cuts) for s in pipeline.accept(part)]
        found += list(pipeline.flush())
        return [(s.window.first_frame, s.log_posterior) for s in found]

    whole = windows([])
    assert len(whole) > 5
    for _ in range(3):
        cut = windows(sorted(rng.integers(0, len(samples), 40).tolist()))
        assert [first for first, _ in cut] == [first for first, _ in whole]
        for (_, ours), (_, reference) in zip(cut, whole, strict=True):
            # The front end is bit-identical; engine batches of other sizes may round otherwise.
            np.testing.assert_allclose(ours, reference, atol=1e-3)


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("missing.wav", 3, "no such file"),
        ("no such microphone", 6, "no "),
    ],
)
def test_bad_input(source: str, code: int, message: str, simulated_model: Path) -> None:
    done = run_cli("listen", "-i", source, "-m", simulated_model)
    assert done.returncode == code
    errors = done.stderr.decode().splitlines()
    assert len(errors) == 1, errors
    assert message in errors[0]


def test_live_view_draws(clip: Path, simulated_model: Path) -> None:
    done = run_cli("listen", "-i", clip, "--fast", "-m", simulated_model)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "simB" in text
    assert "samples lost" in text


needs_pulse = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


def hear(pulse: PulseServer, clip: Path, model: Path | None) -> list[dict[str, Any]]:
    """Play a clip into a real PulseAudio source and collect what ``listen --json`` says of it."""
    command = [sys.executable, "-m", "agent.cli", "listen", "--json", "-i", INPUT_NAME]
    command += ["--hop", "0.256"] + ([] if model is None else ["-m", str(model)])
    process = subprocess.Popen(command, cwd=ROOT, env=pulse.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "started":
        pass  # no audio flows yet
    assert pulse.play(clip).wait(timeout=30) == 0
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["lost_samples"] == 0
    return [line for line in lines if line["event"] == "scores"]


def most_named(scores: list[dict[str, Any]]) -> str:
    """Device of the highest mean probability over the windows that hold sound."""
    heard = [line for line in scores if line["level_dbfs"] is not None]
    names = [line["window_device"] for line in heard if "quiet" not in line["warnings"]]
    return max(set(names), key=names.count)


@needs_pulse
def test_real_sound_names_the_same_device_as_classify(clip: Path, simulated_model: Path) -> None:
    with PulseServer() as pulse:
        scores = hear(pulse, clip, simulated_model)
    answer = json.loads(run_cli("classify", "--json", clip, "-m", simulated_model).stdout)
    assert most_named(scores) == answer["device"] == "simB"


@needs_pulse
def test_real_recording_through_real_sound(ccnu_mobile: Path) -> None:
    """A real phone's clip, played into a real source, with the built-in model."""
    clip = ccnu_mobile / "SAMSUNG_S8_2.wav"
    answer = json.loads(run_cli("classify", "--json", clip).stdout)
    with PulseServer() as pulse:
        scores = hear(pulse, clip, None)
    assert most_named(scores) == answer["device"] == "SAMSUNG_S8"


@needs_pulse
def test_devices_lists_the_source() -> None:
    with PulseServer() as pulse:
        env = {k: v for k, v in pulse.env.items() if k.isupper()}
        table = run_cli("devices", **env)
        lines = run_cli("devices", "--json", **env)
    assert table.returncode == 0
    assert INPUT_NAME in table.stdout.decode()
    names = [json.loads(line)["name"] for line in lines.stdout.decode().splitlines()]
    assert INPUT_NAME in names
