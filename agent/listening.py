"""The live loop: source -> pipeline -> evidence over the last seconds -> reports."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.classification import Candidate, candidates_to_json, rank
from agent.pipeline import ScoringPipeline
from agent.signal_checks import SignalChecks, block_level_dbfs
from agent.sources import Source
from export.engine import Engine
from model.errors import AudioError
from model.posterior import clip_posterior

READ_TIMEOUT_S = 0.1  #: longest wait for samples before the view is refreshed anyway


@dataclass(frozen=True)
class LiveReport:
    """State of a stream after one more window.

    Attributes:
        time_s: end of the newest window, seconds since the start of the stream.
        windows: windows scored so far.
        window_best: best device of the newest window alone.
        candidates: devices by posterior over the windows remembered.
        level_dbfs: RMS level of the samples since the report before.
        dropped_samples: samples lost so far.
        warnings: codes out of ``agent.signal_checks.WARNINGS``, over the samples since the report
            before.
    """

    time_s: float
    windows: int
    window_best: Candidate
    candidates: tuple[Candidate, ...]
    level_dbfs: float
    dropped_samples: int
    warnings: tuple[str, ...]

    def to_dict(self, top: int) -> dict[str, Any]:
        """JSON object with the ``top`` most probable candidates."""
        best = self.candidates[0]
        return {
            "event": "scores",
            "time_s": round(self.time_s, 3),
            "device": best.device,
            "probability": round(best.probability, 6),
            "candidates": candidates_to_json(self.candidates[:top]),
            "window_device": self.window_best.device,
            "window_probability": round(self.window_best.probability, 6),
            "windows": self.windows,
            "level_dbfs": round(self.level_dbfs, 1) if math.isfinite(self.level_dbfs) else None,
            "dropped_samples": self.dropped_samples,
            "narrowband": "narrowband" in self.warnings,
            "warnings": list(self.warnings),
        }


class Listener:
    """Runs one source through the engine and reports after each window.

    Args:
        engine: the model.
        source: where samples come from; closed by the caller.
        hop_s: seconds between windows, rounded to whole frames.
        memory_s: how far back evidence counts.
    """

    def __init__(self, engine: Engine, source: Source, hop_s: float, memory_s: float) -> None:
        front_end = engine.metadata.front_end
        frame_s = front_end.hop_length / front_end.sample_rate_hz
        hop_frames = max(1, round(hop_s / frame_s))
        self._labels = engine.metadata.labels
        self._source = source
        self._pipeline = ScoringPipeline(engine, source.sample_rate_hz, hop_frames)
        remembered = max(1, round(memory_s / (hop_frames * frame_s)))
        self._recent: deque[np.ndarray] = deque(maxlen=remembered)
        self.windows = 0
        self.samples = 0
        self.level_dbfs = -math.inf

    @property
    def seconds_heard(self) -> float:
        """Length of the stream so far."""
        return self.samples / self._source.sample_rate_hz

    def run(self) -> Iterator[LiveReport | None]:
        """Reports until the source ends; ``None`` whenever only time has passed.

        Raises:
            AudioError: a sample is not a number, or the file is damaged.
            CaptureError: the input failed.
        """
        checks = SignalChecks()
        while (samples := self._source.read(READ_TIMEOUT_S)) is not None:
            if len(samples):
                if not np.isfinite(samples).all():
                    raise AudioError(f"{self._source.name}: samples that are not numbers")
                self.samples += len(samples)
                self.level_dbfs = block_level_dbfs(samples)
                checks.accept(samples)
            reported = False
            for window in self._pipeline.accept(samples):
                yield self._report(window.end_s, window.log_posterior, checks)
                reported = True
            if reported:
                checks = SignalChecks()
            else:
                yield None
        for window in self._pipeline.flush():
            yield self._report(window.end_s, window.log_posterior, checks)

    def _report(self, end_s: float, posterior: np.ndarray, checks: SignalChecks) -> LiveReport:
        self.windows += 1
        self._recent.append(posterior)
        warnings = checks.warnings()
        if self._pipeline.narrowband:
            warnings.append("narrowband")
        return LiveReport(
            time_s=end_s,
            windows=self.windows,
            window_best=rank(np.exp(posterior), self._labels)[0],
            candidates=rank(clip_posterior(np.stack(list(self._recent))), self._labels),
            level_dbfs=checks.level_dbfs,
            dropped_samples=self._source.dropped,
            warnings=tuple(warnings),
        )
