"""Evaluation of any scorer on labelled clips, per window and per clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.corpus import Clip
from model.errors import AudioError, CorpusError
from model.features import FloatArray, windows_of
from model.metrics import Figures, IntArray, confusion_matrix, figures
from model.posterior import clip_posterior, log_posterior

#: Windows of raw features in, logits out.
Scorer = Callable[[FloatArray], FloatArray]

EVALUATION_HOP_FRAMES = 64  #: half a window: every frame is seen twice, windows overlap by half


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`evaluate`.

    Attributes:
        devices: labels, in the order of the confusion matrices.
        windows: figures over windows.
        clips: figures over clips (clip = mean log posterior of its windows).
        window_confusion: int64 ``(devices, devices)``, row = true device.
        clip_confusion: likewise for clips.
        wrong_clips: (file name, true device, decided device) of each wrong clip.
        skipped: (file name, reason) of clips that could not be scored.
    """

    devices: tuple[str, ...]
    windows: Figures
    clips: Figures
    window_confusion: IntArray
    clip_confusion: IntArray
    wrong_clips: tuple[tuple[str, str, str], ...]
    skipped: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "devices": list(self.devices),
            "windows": asdict(self.windows),
            "clips": asdict(self.clips),
            "window_confusion": self.window_confusion.tolist(),
            "clip_confusion": self.clip_confusion.tolist(),
            "wrong_clips": [list(row) for row in self.wrong_clips],
            "skipped": [list(row) for row in self.skipped],
        }


def evaluate(
    scorer: Scorer,
    clips: Iterable[tuple[Clip, FloatArray | AudioError]],
    labels: Sequence[str],
    window_frames: int,
    hop_frames: int = EVALUATION_HOP_FRAMES,
) -> Evaluation:
    """Score clips and count.

    Args:
        scorer: maps windows ``(n, window_frames, 73)`` to logits ``(n, len(labels))``.
        clips: each clip with its features, or with the error that reading it gave.
        labels: device of each logit.
        window_frames: frames of a window.
        hop_frames: frames between windows.

    Raises:
        CorpusError: no clip could be scored, or a clip's device is not among the labels.
    """
    index = {label: i for i, label in enumerate(labels)}
    window_truth: list[IntArray] = []
    window_decided: list[IntArray] = []
    clip_truth: list[int] = []
    clip_decided: list[int] = []
    wrong: list[tuple[str, str, str]] = []
    skipped: list[tuple[str, str]] = []
    for clip, features in clips:
        if clip.device not in index:
            raise CorpusError(f"{clip.path.name}: the model does not know device {clip.device}")
        if isinstance(features, AudioError):
            skipped.append((clip.path.name, str(features)))
            continue
        windows = windows_of(features, hop_frames, window_frames)
        if not len(windows):
            skipped.append((clip.path.name, "shorter than one window"))
            continue
        posteriors = log_posterior(scorer(windows))
        truth = index[clip.device]
        decided = int(clip_posterior(posteriors).argmax())
        window_truth.append(np.full(len(posteriors), truth, np.int64))
        window_decided.append(posteriors.argmax(axis=1))
        clip_truth.append(truth)
        clip_decided.append(decided)
        if decided != truth:
            wrong.append((clip.path.name, clip.device, labels[decided]))
    if not clip_truth:
        raise CorpusError("no clip could be scored")
    by_window = confusion_matrix(
        np.concatenate(window_truth), np.concatenate(window_decided), len(labels)
    )
    by_clip = confusion_matrix(
        np.asarray(clip_truth, np.int64), np.asarray(clip_decided, np.int64), len(labels)
    )
    return Evaluation(
        devices=tuple(labels),
        windows=figures(by_window),
        clips=figures(by_clip),
        window_confusion=by_window,
        clip_confusion=by_clip,
        wrong_clips=tuple(wrong),
        skipped=tuple(skipped),
    )
