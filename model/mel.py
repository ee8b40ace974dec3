"""The mel scale, its triangular filters and the cosine transform behind MFCC (numpy, scipy)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

DoubleArray = npt.NDArray[np.float64]


def hz_to_mel(hz: npt.ArrayLike) -> DoubleArray:
    """HTK mel scale, the one of Voicebox ``frq2mel``: ``1127.01048 ln(1 + f / 700)``."""
    mel: DoubleArray = 1127.01048 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)
    return mel


def mel_to_hz(mel: npt.ArrayLike) -> DoubleArray:
    """Inverse of :func:`hz_to_mel`."""
    hz: DoubleArray = 700.0 * np.expm1(np.asarray(mel, dtype=np.float64) / 1127.01048)
    return hz


@lru_cache(maxsize=8)
def mel_filters(sample_rate_hz: int, frame_length: int, n_mels: int) -> DoubleArray:
    """Triangular mel filters, float64, shape ``(frame_length // 2 + 1, n_mels)``.

    Triangles are drawn on the mel axis, peak 1 at their centre, from 0 Hz to half the rate, and
    taper to zero at both ends (Voicebox ``melbankm`` option ``z``). Read-only.
    """
    edges = np.linspace(0.0, hz_to_mel(sample_rate_hz / 2), n_mels + 2)
    bins = hz_to_mel(np.fft.rfftfreq(frame_length, 1.0 / sample_rate_hz))
    width = edges[1] - edges[0]
    distance = np.abs(bins[:, None] - edges[None, 1:-1])
    filters: DoubleArray = np.maximum(0.0, 1.0 - distance / width)
    filters.setflags(write=False)
    return filters


@lru_cache(maxsize=8)
def dct_matrix(n_mels: int, n_mfcc: int) -> DoubleArray:
    """Coefficients c1..c``n_mfcc`` of the orthonormal DCT-II, a matrix ``(n_mels, n_mfcc)``."""
    full = scipy.fft.dct(np.eye(n_mels), type=2, axis=0, norm="ortho")
    matrix = np.ascontiguousarray(full[1 : n_mfcc + 1].T)
    matrix.setflags(write=False)
    return matrix
