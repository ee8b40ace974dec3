"""An evidence recorder with an input that hears what a test says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from agent.config.settings import EvidenceSection
from agent.evidence.recorder import EvidenceRecorder

RATE_HZ = 8_000
FACTS = {"model_sha256": "ab" * 32, "engine": "ONNX Runtime, CPU"}
Samples = npt.NDArray[np.float32]


def noise(seconds: float, seed: int = 0) -> Samples:
    """Samples as a 16-bit input gives them."""
    rng = np.random.default_rng(seed)
    integers = rng.integers(-32768, 32768, round(seconds * RATE_HZ))
    return (integers / 32768).astype(np.float32)


def event(end_sample: int, number: int = 1, **changes: Any) -> dict[str, Any]:
    values = {
        "event": "device_changed",
        "id": f"20261124T101100Z-4f2a-{number}",
        "agent": "edge-1",
        "input": "line-1",
        "device": "phone",
        "end": "2026-11-24T10:11:12.345Z",
        "end_sample": end_sample,
        "sample_rate_hz": RATE_HZ,
    }
    return values | changes


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A recorder with one input, and what it said."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.clock = Clock()
        section = EvidenceSection(folder=folder, **{"before_s": 2.0, "after_s": 1.0} | settings)
        self.recorder = EvidenceRecorder(section, FACTS, self.said.append, self.clock)
        self.recorder.add_input("line-1", RATE_HZ)

    def hear(self, position: int, samples: Samples, block: int = 160) -> None:
        for start in range(0, len(samples), block):
            self.recorder.accept("line-1", position + start, samples[start : start + block])

    def close(self) -> list[tuple[dict[str, Any], npt.NDArray[np.int16]]]:
        """End; the JSON objects and the decoded samples, oldest first."""
        self.recorder.close(time.monotonic() + 20)
        return [
            (
                json.loads(path.read_text()),
                soundfile.read(path.with_suffix(".flac"), dtype="int16")[0],
            )
            for path in sorted(self.folder.glob("*.json"))
        ]
