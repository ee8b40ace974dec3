"""Log-mel statistics and LDA behind the interface of the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.logmel_lda import LogMelLDA
from model.evaluation import EVALUATION_HOP_FRAMES
from model.features import WINDOW_FRAMES, FloatArray, FrontEndConfig, extract, windows_of
from model.posterior import log_posterior


class LogMelLdaMethod:
    """One of our own: what a linear method makes of level-free log-mel statistics.

    A clip's scores are the mean log posteriors of its windows.
    """

    name = "log-mel statistics + LDA"

    def __init__(self) -> None:
        self._front_end = FrontEndConfig(remove_dc=True, prefbank="log")
        self._lda = LogMelLDA(self._front_end)
        self._n_parameters = 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn from all windows; see :class:`model.baselines.baseline.Baseline`."""
        windows = [self._windows(clips[i]) for i in range(len(clips))]
        owner = np.repeat(labels, [len(part) for part in windows])
        together = np.concatenate(windows)
        self._lda.fit(together, owner)
        n_devices = int(labels.max()) + 1
        self._n_parameters = n_devices * (self._lda.statistics(together[:1]).shape[1] + 1)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Mean log posteriors; of a clip shorter than a window nothing is known: all alike."""
        rows = []
        for i in range(len(clips)):
            windows = self._windows(clips[i])
            logits = self._lda.logits(windows) if len(windows) else None
            rows.append(0.0 if logits is None else log_posterior(logits).mean(axis=0))
        known = next((len(row) for row in rows if isinstance(row, np.ndarray)), 1)
        return np.stack([np.broadcast_to(row, known) for row in rows]).astype(np.float32)

    @property
    def n_parameters(self) -> int:
        """Coefficients and offsets."""
        return self._n_parameters

    def _windows(self, clip: BaselineClip) -> FloatArray:
        features = extract(clip.samples, self._front_end)
        if len(features) < WINDOW_FRAMES:
            return np.zeros((0, WINDOW_FRAMES, features.shape[1]), np.float32)
        return np.array(windows_of(features, EVALUATION_HOP_FRAMES))
