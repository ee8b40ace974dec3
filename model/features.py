"""Timing tandem features, computed incrementally with numpy and scipy alone.

Algorithm 1 of Zeng, Zhao and Wang, "Mobile Recording Device Recognition Based on Cross-Scale and
Multi-Level Representation Learning" (arXiv 2411.03668). Each frame gives 73 values, in this order:

====== ===== ===========================================================
 0-11   12   MFCC c1..c12
   12    1   log energy
13-25   13   deltas of the 13 values above (regression over 9 frames)
26-38   13   delta-deltas (regression over 3 frames of the deltas)
39-72   34   pre-Fbank: mel energies before logarithm and DCT (or their log)
====== ===== ===========================================================

The details that the paper leaves open follow the toolbox that its authors used, Voicebox
``melcepst`` in mode ``E0dD``: triangular filters on the HTK mel scale acting on the magnitude
spectrum, an orthonormal DCT-II, and edges extended by repeating the first and last frame. Two
things differ on purpose: the floors are constants (Voicebox takes 1e-20 of the *file's* maximum,
which no live stream can know), and the signal is pre-emphasised as Algorithm 1 asks.

One class, :class:`FrontEnd`, does it for streams and for files alike: ``accept`` samples, get the
frames that became ready, ``flush`` at the end. The frames do not depend on how the samples were
cut into chunks, to the last bit. That needs care, because BLAS and vectorised FFTs may round a
row differently depending on how many rows are computed at once. So all such work happens in
blocks of :data:`BLOCK_FRAMES` rows in which frame ``t`` always sits in row ``t % BLOCK_FRAMES``.
Arithmetic is float32; the tests bound its distance from a float64 computation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.fft

from model.errors import ModelError
from model.mel import dct_matrix, mel_filters

FloatArray = npt.NDArray[np.float32]

WINDOW_FRAMES = 128  #: frames in one network input (the paper's time steps): 1.04 s by default
BLOCK_FRAMES = 16  #: rows of one FFT / matrix-product block; a multiple of every SIMD width
_SEGMENT_SAMPLES = 5 << 15  #: samples per pass over a long input (5 s)
_BLOCKS_AT_ONCE = 20  #: blocks per pass over a long input; bounds the work arrays


@dataclass(frozen=True)
class FrontEndConfig:
    """Everything that decides what a frame contains; it travels inside the model file.

    Attributes:
        sample_rate_hz: rate that the features are defined at, in Hz.
        frame_length: samples in a frame; also the FFT length. 512 = the largest power of two
            below 0.03 * 32000.
        hop_length: samples between frame starts (256 samples = 8 ms).
        pre_emphasis: coefficient ``a`` of ``y[n] = x[n] - a x[n-1]``.
        remove_dc: subtract each frame's mean before windowing. Off in Voicebox; on where a
            fingerprint is claimed, because a converter's DC offset alone tells phones apart.
        n_mels: number of triangular mel filters between 0 Hz and half the rate.
        n_mfcc: number of cepstral coefficients, counted from c1.
        spectrum: what the mel filters weigh, ``"magnitude"`` (Voicebox) or ``"power"``.
        prefbank: ``"linear"`` as in the paper, or ``"log"``.
        mel_floor: smallest mel energy, full scale = 1; constant, so that streams are causal.
        energy_floor: smallest frame energy (sum of the power spectrum's one side).
        delta_width: half width of the delta regression in frames (4: nine points).
        delta_delta_width: half width of the delta-delta regression in frames (1: three points).
    """

    sample_rate_hz: int = 32_000
    frame_length: int = 512
    hop_length: int = 256
    pre_emphasis: float = 0.97
    remove_dc: bool = False
    n_mels: int = 34
    n_mfcc: int = 12
    spectrum: Literal["magnitude", "power"] = "magnitude"
    prefbank: Literal["linear", "log"] = "linear"
    mel_floor: float = 1e-5
    energy_floor: float = 1e-8
    delta_width: int = 4
    delta_delta_width: int = 1

    def __post_init__(self) -> None:
        problems = [
            name
            for name in (
                "sample_rate_hz",
                "frame_length",
                "hop_length",
                "n_mels",
                "n_mfcc",
                "delta_width",
                "delta_delta_width",
            )
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        if self.hop_length > self.frame_length:  # the stream keeps no count of samples to skip
            problems.append("hop_length")
        if self.n_mfcc >= self.n_mels:
            problems.append("n_mfcc")
        if not 0.0 <= self.pre_emphasis < 1.0:
            problems.append("pre_emphasis")
        # Smaller ones are zero in float32, and its logarithm is not finite.
        tiny = float(np.finfo(np.float32).tiny)
        for name in ("mel_floor", "energy_floor"):
            if not tiny <= getattr(self, name) <= 1e30:  # refuses NaN, too
                problems.append(name)
        if self.spectrum not in ("magnitude", "power"):
            problems.append("spectrum")
        if self.prefbank not in ("linear", "log"):
            problems.append("prefbank")
        if problems:
            raise ModelError(f"front-end config out of range: {', '.join(problems)}")

    @property
    def n_static(self) -> int:
        """Values per frame that deltas are taken of: MFCC and log energy (13)."""
        return self.n_mfcc + 1

    @property
    def n_features(self) -> int:
        """Values per frame (73 by default)."""
        return 3 * self.n_static + self.n_mels

    @property
    def look_ahead(self) -> int:
        """Frames that must follow a frame before it is ready (5: four for deltas, one more)."""
        return self.delta_width + self.delta_delta_width

    def frames_in(self, n_samples: int) -> int:
        """Frames that ``n_samples`` samples at the model's rate give; a partial one is dropped."""
        if n_samples < self.frame_length:
            return 0
        return 1 + (n_samples - self.frame_length) // self.hop_length

    def samples_for(self, n_frames: int) -> int:
        """Fewest samples at the model's rate that give ``n_frames`` frames."""
        return self.frame_length + (n_frames - 1) * self.hop_length if n_frames > 0 else 0

    def hop_frames(self, hop_s: float) -> int:
        """Whole frames, at least one, nearest to ``hop_s`` seconds between windows."""
        return max(1, round(hop_s * self.sample_rate_hz / self.hop_length))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FrontEndConfig:
        """Build a config from :meth:`to_dict`'s mapping.

        Raises:
            ModelError: a key is unknown, or a value has the wrong type or lies out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ModelError(f"front-end config has unknown keys: {', '.join(unknown)}")
        if not isinstance(values.get("remove_dc", False), bool):
            raise ModelError("front-end config: remove_dc must be true or false")
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"front-end config has a value of the wrong type: {error}") from error


def regression_deltas(values: FloatArray, width: int) -> FloatArray:
    """Regression slope over ``2 width + 1`` frames, valid part only.

    Args:
        values: float32, shape ``(n, dims)`` with ``n > 2 width``.
        width: half width of the regression in frames.

    Returns:
        float32, shape ``(n - 2 width, dims)``:
        ``sum_k k (v[t+k] - v[t-k]) / (2 sum_k k^2)``, k = 1..width.
    """
    n = len(values) - 2 * width
    # Element by element and in one order: a convolution routine may choose its own.
    slope = values[width + 1 : width + 1 + n] - values[width - 1 : width - 1 + n]
    for k in range(2, width + 1):
        slope += np.float32(k) * (
            values[width + k : width + k + n] - values[width - k : width - k + n]
        )
    slope *= np.float32(1.0 / (2 * sum(k * k for k in range(1, width + 1))))
    return slope


class FrontEnd:
    """Samples in, feature frames out, in any chunks; memory stays bounded for ever.

    Args:
        config: what a frame contains.

    The contract: :meth:`accept` takes samples at ``config.sample_rate_hz`` and returns the frames
    that became ready, oldest first; the newest ``config.look_ahead`` frames wait for their
    neighbours. :meth:`flush` ends the signal and returns those. After ``flush`` the object is as
    new. Frame ``t`` of the signal covers samples ``t * hop_length`` to
    ``t * hop_length + frame_length``.
    """

    def __init__(self, config: FrontEndConfig | None = None) -> None:
        self.config = config if config is not None else FrontEndConfig()
        self._window: FloatArray = np.hamming(self.config.frame_length).astype(np.float32)
        self._filters = mel_filters(
            self.config.sample_rate_hz, self.config.frame_length, self.config.n_mels
        ).astype(np.float32)
        self._dct = dct_matrix(self.config.n_mels, self.config.n_mfcc).astype(np.float32)
        n_rows = _BLOCKS_AT_ONCE * BLOCK_FRAMES
        self._work: FloatArray = np.zeros((n_rows, self.config.frame_length), np.float32)
        self._magnitude: FloatArray = np.zeros((n_rows, self._filters.shape[0]), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._samples: FloatArray = np.zeros(0, np.float32)  # pre-emphasised, not yet consumed
        self._last_sample = np.float32(0.0)
        self._n_computed = 0  # frames whose spectrum has been computed
        # Static frames that later deltas still need: two look-aheads' worth, plus the pre-Fbank
        # of those that are not yet ready.
        self._static: FloatArray = np.zeros((0, self.config.n_static), np.float32)
        self._prefbank: FloatArray = np.zeros((0, self.config.n_mels), np.float32)
        self._n_ready = 0

    @property
    def frames_ready(self) -> int:
        """Frames returned since the start of the signal: the absolute index of the next one."""
        return self._n_ready

    def accept(self, samples: npt.ArrayLike) -> FloatArray:
        """Feed samples and collect the frames that they complete.

        Args:
            samples: 1-D, full scale = 1, at ``config.sample_rate_hz``; may be empty.

        Returns:
            float32, shape ``(n, 73)``, ``n`` possibly 0.

        Raises:
            ValueError: ``samples`` is not one-dimensional.
        """
        chunk = _one_dimensional(samples)
        computed = self._n_computed + self.config.frames_in(len(self._samples) + len(chunk))
        n_ready = max(0, computed - self.config.look_ahead) - self._n_ready
        frames = np.empty((n_ready, self.config.n_features), np.float32)
        self._fill(chunk, frames)
        return frames

    def flush(self) -> FloatArray:
        """End the signal: return the frames still waiting for neighbours, and start afresh.

        Returns:
            float32, shape ``(n, 73)``; ``n`` is at most ``config.look_ahead``. Samples that do
            not fill a frame are dropped.
        """
        frames = np.empty((self._n_computed - self._n_ready, self.config.n_features), np.float32)
        self._finish(frames)
        return frames

    def _fill(self, chunk: FloatArray, frames: FloatArray) -> int:
        """Feed samples, in segments so that no second copy of a file is made; frames written."""
        done = 0
        for start in range(0, len(chunk), _SEGMENT_SAMPLES):
            self._pre_emphasise(chunk[start : start + _SEGMENT_SAMPLES])
            self._compute()
            done += self._emit(frames[done:])
        return done

    def _finish(self, frames: FloatArray) -> None:
        """Write the last frames, and start afresh."""
        if len(frames):
            self._static = _repeat_edge(self._static, self.config.look_ahead, after=True)
            self._emit(frames)
        self.reset()

    def _pre_emphasise(self, chunk: FloatArray) -> None:
        """Append ``x[n] - a x[n-1]`` to the samples not yet consumed."""
        n_kept = len(self._samples)
        joined = np.empty(n_kept + len(chunk), np.float32)
        joined[:n_kept] = self._samples
        emphasised = joined[n_kept:]
        coefficient = np.float32(-self.config.pre_emphasis)
        emphasised[0] = self._last_sample * coefficient
        np.multiply(chunk[:-1], coefficient, out=emphasised[1:])
        emphasised += chunk
        self._last_sample = chunk[-1]
        self._samples = joined

    def _compute(self) -> None:
        """Turn the samples at hand into static frames and pre-Fbank."""
        hop = self.config.hop_length
        n_new = self.config.frames_in(len(self._samples))
        if n_new == 0:
            return
        static = np.empty((n_new, self.config.n_static), np.float32)
        prefbank = np.empty((n_new, self.config.n_mels), np.float32)
        done = 0
        while done < n_new:
            row = self._n_computed % BLOCK_FRAMES
            count = min(n_new - done, _BLOCKS_AT_ONCE * BLOCK_FRAMES - row)
            part = slice(done, done + count)
            first = done * hop
            self._spectra(self._samples[first:], row, count, static[part], prefbank[part])
            self._n_computed += count
            done += count
        self._samples = self._samples[n_new * hop :].copy()
        if self._n_computed == n_new:  # the very first frames: extend the edge backwards
            static = _repeat_edge(static, self.config.look_ahead, after=False)
        self._static = np.concatenate((self._static, static))
        self._prefbank = np.concatenate((self._prefbank, prefbank))

    def _spectra(
        self,
        samples: FloatArray,
        row: int,
        count: int,
        static: FloatArray,
        prefbank: FloatArray,
    ) -> None:
        """Compute ``count`` frames starting at block row ``row`` into the two output slices."""
        config = self.config
        n_rows = -(-(row + count) // BLOCK_FRAMES) * BLOCK_FRAMES
        used = slice(row, row + count)
        frames = np.lib.stride_tricks.as_strided(
            samples,
            (count, config.frame_length),
            (samples.itemsize * config.hop_length, samples.itemsize),
            writeable=False,
        )
        # Rows of a block that are not in use hold what was there before: no row sees another.
        work = self._work[:n_rows]
        if config.remove_dc:
            mean = np.einsum("ij->i", frames) * np.float32(1 / config.frame_length)
            np.subtract(frames, mean[:, None], out=work[used])
            work[used] *= self._window
        else:
            np.multiply(frames, self._window, out=work[used])
        magnitude = np.abs(scipy.fft.rfft(work, axis=1), out=self._magnitude[:n_rows])
        energy = np.einsum("ij,ij->i", magnitude, magnitude)[used]
        weighed = magnitude if config.spectrum == "magnitude" else magnitude * magnitude
        mel = np.matmul(weighed.reshape(-1, BLOCK_FRAMES, weighed.shape[1]), self._filters)
        np.maximum(mel, np.float32(config.mel_floor), out=mel)
        log_mel = np.log(mel)
        mfcc = np.matmul(log_mel, self._dct).reshape(n_rows, -1)
        static[:, : config.n_mfcc] = mfcc[used]
        np.maximum(energy, np.float32(config.energy_floor), out=energy)
        static[:, config.n_mfcc] = np.log(energy)
        prefbank[:] = (log_mel if config.prefbank == "log" else mel).reshape(n_rows, -1)[used]

    def _emit(self, out: FloatArray) -> int:
        """Write the frames that have all their neighbours into ``out``; their number."""
        config = self.config
        ahead = config.look_ahead
        n = max(0, len(self._static) - 2 * ahead)
        if n == 0:
            return 0
        k = config.n_static
        inner = config.delta_delta_width
        deltas = regression_deltas(self._static, config.delta_width)
        out[:n, :k] = self._static[ahead : ahead + n]
        out[:n, k : 2 * k] = deltas[inner : inner + n]
        out[:n, 2 * k : 3 * k] = regression_deltas(deltas, inner)
        out[:n, 3 * k :] = self._prefbank[:n]
        self._static = self._static[n:].copy()
        self._prefbank = self._prefbank[n:].copy()
        self._n_ready += n
        return n


def _one_dimensional(samples: npt.ArrayLike) -> FloatArray:
    chunk = np.asarray(samples, dtype=np.float32)
    if chunk.ndim != 1:
        raise ValueError(f"samples must be one-dimensional, got shape {chunk.shape}")
    return chunk


def _repeat_edge(static: FloatArray, count: int, *, after: bool) -> FloatArray:
    """Repeat the first or the last frame ``count`` times, as Voicebox does at the edges."""
    if after:
        return np.concatenate((static, np.repeat(static[-1:], count, axis=0)))
    return np.concatenate((np.repeat(static[:1], count, axis=0), static))


def extract(samples: npt.ArrayLike, config: FrontEndConfig | None = None) -> FloatArray:
    """Features of a whole signal: one :class:`FrontEnd`, fed once and flushed.

    Args:
        samples: 1-D, full scale = 1, at ``config.sample_rate_hz``.
        config: front-end config; the default is the paper's.

    Returns:
        float32, shape ``(frames, 73)``.
    """
    front_end = FrontEnd(config)
    chunk = _one_dimensional(samples)
    n_frames = front_end.config.frames_in(len(chunk))
    frames = np.empty((n_frames, front_end.config.n_features), np.float32)
    front_end._finish(frames[front_end._fill(chunk, frames) :])
    return frames


def windows_of(features: FloatArray, hop_frames: int, length: int = WINDOW_FRAMES) -> FloatArray:
    """Sliding windows over frames, as a read-only view.

    Args:
        features: float32, shape ``(frames, dims)``.
        hop_frames: frames between window starts.
        length: frames in a window.

    Returns:
        float32, shape ``(windows, length, dims)``; no window where ``frames < length``.
    """
    if len(features) < length:
        return np.zeros((0, length, features.shape[1]), features.dtype)
    view = np.lib.stride_tricks.sliding_window_view(features, length, axis=0)[::hop_frames]
    windows: FloatArray = view.transpose(0, 2, 1)
    return windows
