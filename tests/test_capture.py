"""Capture from a real PulseAudio source through PortAudio: exact samples, and the real faults."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.pulse import INPUT_NAME, RATE_HZ, PulseServer, missing_parts

pytestmark = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))

# A process of its own: PortAudio reads the ALSA configuration once, when it is loaded.
RECORDER = """
import dataclasses, sys, time
import numpy as np
from agent.capture import Capture
from agent.inputs import find_input
from model.errors import CaptureError
seconds, out = float(sys.argv[1]), sys.argv[2]
try:
    # PortAudio reports 44.1 kHz for any ALSA pulse device; the source's own rate avoids resampling.
    with Capture(dataclasses.replace(find_input("fakemic"), native_rate_hz=32000)) as capture:
        print("open", capture.sample_rate_hz, flush=True)
        parts, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            parts.append(capture.read(0.1))
        np.save(out, np.concatenate(parts))
        print("dropped", capture.dropped, flush=True)
except CaptureError as error:
    print("CaptureError", error, flush=True)
"""


@pytest.fixture
def pulse() -> Iterator[PulseServer]:
    with PulseServer() as server:
        yield server


def start_recorder(pulse: PulseServer, seconds: float, out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(seconds), str(out)],
        env=pulse.env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("open"), line
    return process


def test_capture_is_sample_exact(pulse: PulseServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    played = (rng.uniform(-0.5, 0.5, RATE_HZ) * 32768).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", played, RATE_HZ, subtype="PCM_16")
    recorder = start_recorder(pulse, 4.0, tmp_path / "heard.npy")
    assert pulse.play(tmp_path / "noise.wav").wait(timeout=10) == 0
    out, _ = recorder.communicate(timeout=15)
    assert "dropped 0" in out
    heard = np.rint(np.load(tmp_path / "heard.npy") * 32768).astype(np.int64)
    start = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(played)[0])
    np.testing.assert_array_equal(heard[start : start + len(played)], played)


def test_killed_daemon_is_said_in_one_line(pulse: PulseServer, tmp_path: Path) -> None:
    recorder = start_recorder(pulse, 30.0, tmp_path / "heard.npy")
    time.sleep(0.5)
    pulse.kill()
    killed = time.monotonic()
    assert recorder.stdout is not None
    line = recorder.stdout.readline()
    assert time.monotonic() - killed < 4
    assert line.startswith("CaptureError")
    assert INPUT_NAME in line
    assert recorder.wait(timeout=10) == 0
