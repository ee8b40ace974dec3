"""Classifying a whole file: which device recorded it?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.known_devices import KnownDevices, built_in_devices
from agent.known_devices import Source as DeviceSource
from agent.pipeline import ScoredWindow, ScoringPipeline
from agent.recording_checks import check_usable, recording_warnings
from agent.signal_checks import SignalChecks
from agent.signal_quality import SignalQuality
from export.engine import Engine
from model.audio import AudioFile
from model.errors import ModelError
from model.likelihood_ratio import LrBounds
from model.mel import DoubleArray

CLASSIFY_HOP_FRAMES = 64  #: half a window between windows of a file


@dataclass(frozen=True)
class Candidate:
    """A device that may have made a recording.

    Attributes:
        device: its name.
        probability: posterior under equal priors for all known devices.
        log10_lr: likelihood ratio against another device; ``None``: the model cannot tell.
        source: a device of the model, or of the gallery.
    """

    device: str
    probability: float
    log10_lr: float | None = None
    source: DeviceSource = "built-in"


@dataclass(frozen=True)
class WindowScore:
    """What one window of a file says, taken alone.

    Attributes:
        start_s: where it starts in the file, seconds.
        end_s: where it ends.
        device: its best device.
        probability: of that device.
        log10_lr: of that device.
    """

    start_s: float
    end_s: float
    device: str
    probability: float
    log10_lr: float | None = None


@dataclass(frozen=True)
class Classification:
    """Answer for one file.

    Attributes:
        file: name as given.
        candidates: all known devices, most probable first.
        unknown: whether the best candidate is not named: its likelihood ratio does not pass the
            threshold, or the recording is out of the range that was calibrated; ``None``: the
            model cannot tell.
        threshold: log10 LR that the best candidate must exceed to be named; ``None``: it always is.
        bounds: of its log10 LR.
        abstained: warnings for which nothing is said about the device at all.
        window_scores: every window's own answer.
        windows: windows behind the answer.
        agreeing: windows whose own best device is the answer.
        duration_s: length of the file.
        sample_rate_hz: rate of the file.
        warnings: codes out of ``agent.signal_checks.WARNINGS``.
    """

    file: str
    candidates: tuple[Candidate, ...]
    unknown: bool | None
    threshold: float | None
    bounds: LrBounds | None
    abstained: tuple[str, ...]
    window_scores: tuple[WindowScore, ...]
    windows: int
    agreeing: int
    duration_s: float
    sample_rate_hz: int
    warnings: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        """The most probable device, whether it is named or not."""
        return self.candidates[0]

    @property
    def device(self) -> str | None:
        """The device named; ``None``: unknown."""
        return None if self.unknown or self.abstained else self.best.device

    def to_dict(self, top: int) -> dict[str, Any]:
        """JSON object with the ``top`` most probable candidates."""
        return {
            "file": self.file,
            "device": self.device,
            "unknown": self.unknown,
            "score": None if self.best.log10_lr is None else round(self.best.log10_lr, 3),
            "threshold": None if self.threshold is None else round(self.threshold, 3),
            "nearest": self.best.device,
            "probability": round(self.best.probability, 6),
            "abstained": list(self.abstained),
            "candidates": candidates_to_json(self.candidates[:top]),
            "windows": self.windows,
            "windows_agreeing": self.agreeing,
            "duration_s": round(self.duration_s, 3),
            "sample_rate_hz": self.sample_rate_hz,
            "narrowband": "narrowband" in self.warnings,
            "warnings": list(self.warnings),
        }


def candidates_to_json(candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    """List of ``{"device", "probability", "log10_lr", "source"}``."""
    return [
        {
            "device": c.device,
            "probability": round(c.probability, 6),
            "log10_lr": None if c.log10_lr is None else round(c.log10_lr, 3),
            "source": c.source,
        }
        for c in candidates
    ]


def rank(
    posterior: DoubleArray,
    names: tuple[str, ...],
    ratios: DoubleArray | None = None,
    sources: tuple[DeviceSource, ...] | None = None,
) -> tuple[Candidate, ...]:
    """Devices by falling probability.

    Args:
        posterior: float64 ``(devices,)``.
        names: of the devices.
        ratios: log10 likelihood ratios ``(devices,)``, if there are any.
        sources: where each device is from; the model without it.
    """
    return tuple(
        Candidate(
            names[i],
            float(posterior[i]),
            None if ratios is None else float(ratios[i]),
            "built-in" if sources is None else sources[i],
        )
        for i in np.argsort(-posterior, kind="stable")
    )


def classify_audio(
    engine: Engine,
    source: Path | bytes,
    name: str,
    hop_frames: int = CLASSIFY_HOP_FRAMES,
    known: KnownDevices | None = None,
) -> Classification:
    """Classify one file or the bytes of one.

    Args:
        engine: the model.
        source: path, or the content of a file.
        name: what to call it.
        hop_frames: frames between windows.
        known: the devices to choose from; the model's own without it.

    Raises:
        AudioError: not readable, empty, NaN, digital silence, or shorter than one window.
        ModelError: the model gives values that are not numbers.
    """
    known = known if known is not None else built_in_devices(engine)
    checks, quality = SignalChecks(), SignalQuality(engine.metadata.front_end)
    scored: list[ScoredWindow] = []
    with AudioFile(source, name) as audio:
        pipeline = ScoringPipeline(engine, audio.sample_rate_hz, hop_frames, known)
        for block in audio.blocks():
            checks.accept(block)
            scored += _measured(pipeline.accept(block), quality)
        scored += _measured(pipeline.flush(), quality)
        info = audio.info
    check_usable(name, info, len(scored), checks, engine.metadata)
    posteriors = np.stack([window.log_posterior for window in scored])
    embeddings = np.stack([window.embedding for window in scored])
    embedding = embeddings.mean(axis=0)
    if not (np.isfinite(posteriors).all() and np.isfinite(embedding).all()):
        raise ModelError(f"{name}: the model gives values that are not numbers")
    ratios = known.log10_lr(embedding)
    posterior = known.clip_posterior(posteriors, embedding)
    candidates = rank(posterior, known.names, ratios, known.sources)
    best = known.names.index(candidates[0].device)
    warnings = recording_warnings(
        info,
        len(scored),
        checks,
        narrowband=pipeline.narrowband,
        another_kind=known.open_set is not None and known.open_set.is_another_kind(embedding),
    )
    # Only a model that was calibrated has a range to be out of.
    outside = [] if known.open_set is None else quality.outside(checks)
    score, thresholds = candidates[0].log10_lr, known.thresholds(embedding)
    threshold = None if thresholds is None else float(thresholds[best])
    return Classification(
        file=name,
        candidates=candidates,
        unknown=(
            None if score is None or threshold is None else bool(outside) or score <= threshold
        ),
        threshold=threshold,
        bounds=known.bounds(best, embedding),
        abstained=tuple(outside),
        window_scores=_window_scores(scored, posteriors, embeddings, known, info.sample_rate_hz),
        windows=len(scored),
        agreeing=int((posteriors.argmax(axis=1) == best).sum()),
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        warnings=(*warnings, *outside),
    )


def _measured(windows: Iterable[ScoredWindow], quality: SignalQuality) -> list[ScoredWindow]:
    kept = list(windows)
    for scored in kept:
        quality.accept(scored.window.features)
    return kept


def _window_scores(
    scored: list[ScoredWindow],
    posteriors: DoubleArray,
    embeddings: DoubleArray,
    known: KnownDevices,
    sample_rate_hz: int,
) -> tuple[WindowScore, ...]:
    """What every window says, taken alone; arrays as of ``scored``, a row a window."""
    best = posteriors.argmax(axis=1)
    ratios = known.log10_lr(embeddings)
    return tuple(
        WindowScore(
            window.window.start / sample_rate_hz,
            window.window.end / sample_rate_hz,
            known.names[device],
            float(np.exp(posteriors[row, device])),
            None if ratios is None else float(ratios[row, device]),
        )
        for row, (window, device) in enumerate(zip(scored, best, strict=True))
    )
