"""What is to be told of an input after each window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.classification import Candidate, candidates_to_json
from agent.signal_checks import level_to_json


@dataclass(frozen=True)
class LiveReport:
    """State of an input after one more window.

    Attributes:
        input: name of the input.
        time_s: end of the newest window, seconds since the start of the stream.
        windows: windows scored so far.
        window_best: best device of the newest window alone.
        candidates: devices by posterior over the evidence remembered.
        device: the device decided on, if any.
        log10_lr: of the best candidate against another device, on the evidence remembered;
            ``None`` where the model cannot tell.
        unknown: whether ``unknown`` has been decided on.
        silent: whether silence has been decided on.
        level_dbfs: RMS level of the window.
        lost_samples: samples missing so far.
        warnings: codes out of ``agent.signal_checks.WARNINGS``, for the window.
    """

    input: str
    time_s: float
    windows: int
    window_best: Candidate
    candidates: tuple[Candidate, ...]
    device: str | None
    log10_lr: float | None
    unknown: bool
    silent: bool
    level_dbfs: float
    lost_samples: int
    warnings: tuple[str, ...]

    def to_dict(self, top: int) -> dict[str, Any]:
        """JSON object with the ``top`` most probable candidates."""
        best = self.candidates[0]
        return {
            "event": "scores",
            "input": self.input,
            "time_s": round(self.time_s, 3),
            "device": best.device,
            "probability": round(best.probability, 6),
            "decided": self.device,
            "unknown": self.unknown,
            "score": None if self.log10_lr is None else round(self.log10_lr, 3),
            "silent": self.silent,
            "candidates": candidates_to_json(self.candidates[:top]),
            "window_device": self.window_best.device,
            "window_probability": round(self.window_best.probability, 6),
            "windows": self.windows,
            "level_dbfs": level_to_json(self.level_dbfs),
            "lost_samples": self.lost_samples,
            "narrowband": "narrowband" in self.warnings,
            "warnings": list(self.warnings),
        }
