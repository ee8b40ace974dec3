"""Classifying a whole file: which device recorded it?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.pipeline import ScoringPipeline
from agent.signal_checks import SignalChecks
from export.engine import Engine
from model.audio import AudioFile
from model.errors import AudioError
from model.posterior import clip_posterior

CLASSIFY_HOP_FRAMES = 64  #: half a window between windows of a file


@dataclass(frozen=True)
class Candidate:
    """A device and its posterior probability under equal priors."""

    device: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """Answer for one file.

    Attributes:
        file: name as given.
        candidates: all devices, most probable first.
        windows: windows behind the answer.
        agreeing: windows whose own best device is the answer.
        duration_s: length of the file.
        sample_rate_hz: rate of the file.
        warnings: codes out of ``agent.signal_checks.WARNINGS``.
    """

    file: str
    candidates: tuple[Candidate, ...]
    windows: int
    agreeing: int
    duration_s: float
    sample_rate_hz: int
    warnings: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        """The most probable device."""
        return self.candidates[0]

    def to_dict(self, top: int) -> dict[str, Any]:
        """JSON object with the ``top`` most probable candidates."""
        return {
            "file": self.file,
            "device": self.best.device,
            "probability": round(self.best.probability, 6),
            "candidates": candidates_to_json(self.candidates[:top]),
            "windows": self.windows,
            "windows_agreeing": self.agreeing,
            "duration_s": round(self.duration_s, 3),
            "sample_rate_hz": self.sample_rate_hz,
            "narrowband": "narrowband" in self.warnings,
            "warnings": list(self.warnings),
        }


def candidates_to_json(candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    """List of ``{"device", "probability"}``."""
    return [{"device": c.device, "probability": round(c.probability, 6)} for c in candidates]


def rank(posterior: np.ndarray, labels: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Devices by falling probability."""
    order = np.argsort(-posterior, kind="stable")
    return tuple(Candidate(labels[i], float(posterior[i])) for i in order)


def classify_audio(
    engine: Engine, source: Path | bytes, name: str, hop_frames: int = CLASSIFY_HOP_FRAMES
) -> Classification:
    """Classify one file or the bytes of one.

    Args:
        engine: the model.
        source: path, or the content of a file.
        name: what to call it.
        hop_frames: frames between windows.

    Raises:
        AudioError: not readable, empty, NaN, digital silence, or shorter than one window.
    """
    checks = SignalChecks()
    posteriors = []
    with AudioFile(source, name) as audio:
        pipeline = ScoringPipeline(engine, audio.sample_rate_hz, hop_frames)
        for block in audio.blocks():
            checks.accept(block)
            posteriors += [window.log_posterior for window in pipeline.accept(block)]
        posteriors += [window.log_posterior for window in pipeline.flush()]
        info = audio.info
    if info.duration_s == 0:
        raise AudioError(f"{name}: holds no samples")
    if not posteriors:
        config = engine.metadata.front_end
        shortest = config.samples_for(engine.metadata.window_frames) / config.sample_rate_hz
        raise AudioError(
            f"{name}: {info.duration_s:.2f} s is shorter than one window ({shortest:.2f} s)"
        )
    if checks.digital_silence:
        raise AudioError(f"{name}: digital silence, every sample is zero")
    stacked = np.stack(posteriors)
    candidates = rank(clip_posterior(stacked), engine.metadata.labels)
    best = engine.metadata.labels.index(candidates[0].device)
    warnings = checks.warnings()
    if pipeline.narrowband:
        warnings.append("narrowband")
    if info.channels > 1:
        warnings.append("multichannel")
    if len(posteriors) < 3:
        warnings.append("few-windows")
    return Classification(
        file=name,
        candidates=candidates,
        windows=len(posteriors),
        agreeing=int((stacked.argmax(axis=1) == best).sum()),
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        warnings=tuple(warnings),
    )
