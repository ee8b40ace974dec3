"""Streaming resampling of any input rate to the model's (soxr, HQ).

Resampling changes the fingerprint: what a low-rate recording lost above half its rate cannot come
back. So a rate below the model's is flagged ``narrowband`` in every result.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from model.errors import AudioError

#: Rates that make sense for audio; anything else is a damaged header or a mistaken option.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 2_000, 768_000


class Resampler:
    """Converts a stream of samples from one rate to another; equal rates pass through untouched.

    Args:
        in_rate_hz: rate of the input.
        out_rate_hz: rate of the output.

    Raises:
        AudioError: a rate lies outside 2 kHz to 768 kHz.

    The output does not depend on the chunking, and equals a one-shot conversion.
    """

    def __init__(self, in_rate_hz: int, out_rate_hz: int) -> None:
        for rate in (in_rate_hz, out_rate_hz):
            if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
                raise AudioError(f"sample rate {rate} Hz is out of range")
        self.in_rate_hz, self.out_rate_hz = in_rate_hz, out_rate_hz
        self._stream = (
            None
            if in_rate_hz == out_rate_hz
            else soxr.ResampleStream(in_rate_hz, out_rate_hz, 1, dtype="float32", quality="HQ")
        )

    @property
    def narrowband(self) -> bool:
        """True when the input cannot fill the output's bandwidth."""
        return self.in_rate_hz < self.out_rate_hz

    def accept(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Feed samples and collect what is ready.

        Args:
            samples: float32, 1-D, at ``in_rate_hz``.

        Returns:
            float32, 1-D, at ``out_rate_hz``; soxr holds back a few milliseconds.
        """
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=False), dtype=np.float32)

    def flush(self) -> npt.NDArray[np.float32]:
        """End the stream and return what was held back. The object must not be fed again."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        tail = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return np.asarray(tail, dtype=np.float32)
