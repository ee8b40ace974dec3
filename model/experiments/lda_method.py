"""Log-mel statistics and LDA behind the interface of the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.logmel_lda import LogMelLDA
from model.evaluation import EVALUATION_HOP_FRAMES
from model.experiments.window_votes import features_of, mean_log_posteriors
from model.features import FloatArray, FrontEndConfig, windows_of


class LogMelLdaMethod:
    """One of our own: what a linear method makes of level-free log-mel statistics.

    A clip's scores are the mean log posteriors of its windows.
    """

    name = "log-mel statistics + LDA"

    def __init__(self) -> None:
        self._front_end = FrontEndConfig(remove_dc=True, prefbank="log")
        self._lda = LogMelLDA(self._front_end)
        self._n_devices = self._n_parameters = 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn from all windows; see :class:`model.baselines.baseline.Baseline`."""
        windows = [
            windows_of(features_of(clip, self._front_end), EVALUATION_HOP_FRAMES) for clip in clips
        ]
        owner = np.repeat(labels, [len(part) for part in windows])
        self._lda.fit(np.concatenate(windows), owner)
        self._n_devices = int(labels.max()) + 1
        n_statistics = self._lda.statistics(windows[0][:1]).shape[1]
        self._n_parameters = self._n_devices * (n_statistics + 1)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """See :func:`model.experiments.window_votes.mean_log_posteriors`."""
        return mean_log_posteriors(self._lda.logits, clips, self._front_end, self._n_devices)

    @property
    def n_parameters(self) -> int:
        """Coefficients and offsets."""
        return self._n_parameters
