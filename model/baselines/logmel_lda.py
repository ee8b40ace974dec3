"""Log-mel statistics and linear discriminant analysis: the linear method to beat.

Per window: mean and standard deviation over time of the logarithmic mel energies after the
window's mean level is removed (2 x 34 values); then LDA with the within-class covariance shrunk
by the Ledoit-Wolf rule (scikit-learn).
"""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from model.features import FloatArray, FrontEndConfig
from model.metrics import IntArray


class LogMelLDA:
    """The baseline behind one interface: fit on windows, score windows.

    Args:
        front_end: must have logarithmic pre-Fbank.
        quietest: share of each window's frames to use, the quietest first; 1 for all. With 0.2
            it shows how much near-silence (noise floor, codec) gives away.
    """

    def __init__(self, front_end: FrontEndConfig, quietest: float = 1.0) -> None:
        if front_end.prefbank != "log":
            raise ValueError("log-mel statistics need a front end with prefbank='log'")
        self._first_mel = 3 * front_end.n_static
        self._quietest = quietest
        self._lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")

    def statistics(self, windows: FloatArray) -> FloatArray:
        """``(n, 128, 73)`` to ``(n, 68)``."""
        mels = windows[:, :, self._first_mel :]
        if self._quietest < 1.0:
            count = max(2, round(self._quietest * mels.shape[1]))
            quiet = np.argsort(mels.mean(axis=2), axis=1)[:, :count]
            mels = np.take_along_axis(mels, quiet[:, :, None], axis=1)
        mels = mels - mels.mean(axis=(1, 2), keepdims=True)
        return np.concatenate([mels.mean(axis=1), mels.std(axis=1)], axis=1)

    def fit(self, windows: FloatArray, labels: IntArray) -> None:
        """Learn from windows ``(n, 128, 73)`` with device indices ``(n,)``."""
        self.fit_statistics(self.statistics(windows), labels)

    def fit_statistics(self, statistics: FloatArray, labels: IntArray) -> None:
        """As :meth:`fit`, from statistics ``(n, 68)`` of the windows."""
        self._lda.fit(statistics, labels)

    def logits(self, windows: FloatArray) -> FloatArray:
        """Log posteriors ``(n, devices)``, floored at -50 as one window must not veto a clip."""
        log_posteriors = self._lda.predict_log_proba(self.statistics(windows))
        logits: FloatArray = np.maximum(log_posteriors, -50.0).astype(np.float32)
        return logits
