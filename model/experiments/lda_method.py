"""Log-mel statistics and LDA behind the interface of the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.logmel_lda import LogMelLDA
from model.errors import CorpusError
from model.evaluation import EVALUATION_HOP_FRAMES
from model.experiments.window_votes import mean_log_posteriors
from model.features import WINDOW_FRAMES, FloatArray, FrontEndConfig, windows_of


class LogMelLdaMethod:
    """One of our own: what a linear method makes of level-free log-mel statistics.

    A clip's scores are the mean log posteriors of its windows.

    Args:
        front_end: of the clips' features, with a logarithmic pre-Fbank.
    """

    def __init__(self, front_end: FrontEndConfig) -> None:
        self._lda = LogMelLDA(front_end)
        self._n_devices = self._n_parameters = 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn from all windows; see :class:`model.baselines.baseline.Baseline`.

        Raises:
            CorpusError: all clips of a device are shorter than a window, or none has two.
        """
        statistics = [
            self._lda.statistics(windows_of(clip.features, EVALUATION_HOP_FRAMES)) for clip in clips
        ]
        owner = np.repeat(labels, [len(part) for part in statistics])
        self._n_devices = int(labels.max()) + 1
        if len(np.unique(owner)) < self._n_devices:
            raise CorpusError(f"a device has no training clip of at least {WINDOW_FRAMES} frames")
        if len(owner) == self._n_devices:
            raise CorpusError("every device has a single window: nothing to tell it from its words")
        self._lda.fit_statistics(np.concatenate(statistics), owner)
        self._n_parameters = self._n_devices * (statistics[0].shape[1] + 1)

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """See :func:`model.experiments.window_votes.mean_log_posteriors`."""
        return mean_log_posteriors(self._lda.logits, clips, self._n_devices)

    @property
    def n_parameters(self) -> int:
        """Coefficients and offsets."""
        return self._n_parameters
