"""Band energy difference and a support vector machine.

Luo, Korus and Huang, "Band energy difference for source attribution in audio forensics", IEEE
Transactions on Information Forensics and Security 13(9), 2018: where a device's frequency response
rises and where it falls tells it from others. As we understand the descriptor, it has one bit per
pair of adjacent frequency bins: whether the clip's energy grows from the one to the next.

Only the paper's abstract was at hand. Chosen by us: frames of 256 samples that overlap by half,
under a Hann window; power averaged over all frames of the clip, so that loud frames count most; the
bin of 0 Hz left out, because a converter's offset is no frequency response, which leaves 128 bins
and 127 differences; an RBF kernel. :class:`BedSvm` can also take the differences in dB instead of
their signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.signal

from model.baselines.baseline import BaselineClip, IntArray
from model.baselines.device_svm import Kernel, Vectors
from model.baselines.vector_svm import VectorSvm
from model.errors import AudioError, CorpusError
from model.features import FloatArray

FFT_LENGTH = 256  #: samples of a frame
HOP_LENGTH = 128  #: samples between frame starts
N_DIFFERENCES = FFT_LENGTH // 2 - 1  #: of adjacent bins without the one of 0 Hz (127)

_FRAMES_AT_ONCE = 4096
_FLOOR = 1e-20  #: power below all quantisation noise: digital silence has a finite level


def average_power(samples: FloatArray) -> Vectors:
    """Power of the Hann-windowed FFT, averaged over the frames of a clip.

    Args:
        samples: float32 ``(n,)``, full scale 1; a last frame that is not full is dropped.

    Returns:
        float64 ``(129,)``, bins from 0 Hz to half the sample rate.

    Raises:
        AudioError: shorter than one frame.
    """
    if len(samples) < FFT_LENGTH:
        raise AudioError(f"a clip of {len(samples)} samples: BED needs {FFT_LENGTH}")
    frames = np.lib.stride_tricks.sliding_window_view(samples, FFT_LENGTH)[::HOP_LENGTH]
    window = scipy.signal.get_window("hann", FFT_LENGTH)
    total = np.zeros(FFT_LENGTH // 2 + 1)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        spectra = np.fft.rfft(frames[start : start + _FRAMES_AT_ONCE] * window, axis=1)
        total += np.square(np.abs(spectra)).sum(axis=0)
    average: Vectors = total / len(frames)
    return average


def band_energy_differences_db(samples: FloatArray) -> Vectors:
    """Level of every bin above that of the bin below it, from the second above 0 Hz on.

    Args:
        samples: float32 ``(n,)``, at least 256.

    Returns:
        float64 ``(127,)``, in dB; they do not depend on the clip's gain.

    Raises:
        AudioError: shorter than one frame.
    """
    differences: Vectors = np.diff(10 * np.log10(average_power(samples)[1:] + _FLOOR))
    return differences


def band_energy_signs(samples: FloatArray) -> Vectors:
    """The descriptor: 1 where a bin has more energy than the one below it, else 0.

    Args:
        samples: float32 ``(n,)``, at least 256.

    Returns:
        float64 ``(127,)``.

    Raises:
        AudioError: shorter than one frame.
    """
    return (np.diff(average_power(samples)[1:]) > 0).astype(np.float64)


class BedSvm(VectorSvm):
    """Band energy differences of the clip, standardised; SVM.

    Args:
        binary: the descriptor has the signs of the differences; otherwise their values in dB.
        kernel: of the SVM.
        cost: of the SVM.
    """

    def __init__(self, binary: bool = True, kernel: Kernel = "rbf", cost: float = 1.0) -> None:
        self._descriptor = band_energy_signs if binary else band_energy_differences_db
        super().__init__(kernel, cost)
        self._sample_rate_hz = 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn, as :class:`model.baselines.baseline.Baseline` has it.

        Raises:
            AudioError: a clip is shorter than one frame.
            CorpusError: the clips' sample rates differ: their bins are not the same frequencies.
        """
        self._sample_rate_hz = clips[0].sample_rate_hz
        super().fit(clips, labels)

    def _vectors(self, clips: Sequence[BaselineClip]) -> Vectors:
        return np.stack([self._vector(clip) for clip in clips])  # each clip is read once

    def _vector(self, clip: BaselineClip) -> Vectors:
        if clip.sample_rate_hz != self._sample_rate_hz:
            raise CorpusError(
                f"BED needs clips of one sample rate, got {self._sample_rate_hz} and "
                f"{clip.sample_rate_hz} Hz"
            )
        return self._descriptor(clip.samples)
