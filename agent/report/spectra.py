"""Pictures in numbers: a recording's spectrogram and its long-term spectra, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from model.errors import AudioError
from model.features import FrontEnd, FrontEndConfig
from model.mel import DoubleArray, hz_to_mel, mel_to_hz
from model.resample import Resampler

Samples = npt.NDArray[np.float32]

FRAME_S = 0.032  #: a frame is the largest power of two of samples that is not longer
MOST_ROWS = 256  #: frequencies of a spectrogram, at most
MOST_COLUMNS = (
    600  #: times of a spectrogram: this many at most, half as many at least if it is long
)
LEAST_LEVEL_DB = -120.0  #: what lies lower, digital silence included, is drawn at this level
LOWEST_HZ = 80.0  #: lowest band of a long-term spectrum
BANDS_PER_OCTAVE = 12
LEVEL_BAND_HZ = (300.0, 3400.0)  #: in every recording of speech; its mean is 0 dB

ROUNDING_MARGIN = 4.0  #: power over the rounding noise from which a band counts as filled: 6 dB
LEAST_SHARE = 1e-9  #: of the strongest band's power from which a band counts as filled: -90 dB
SMOOTHED_BINS = 5
SKIPPED_BINS = 3  #: next to 0 Hz, where an offset leaks to
VARYING_DB = 10.0  #: between quiet and loud moments, from which a band's sound comes and goes
VARYING_SMOOTH_HZ = 500.0  #: a narrower band of even noise would vary by chance

_FRAMES_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """Power over time and frequency.

    Attributes:
        level_db: float32 ``(rows, columns)``, lowest frequency first; 0 dB is the strongest cell,
            :data:`LEAST_LEVEL_DB` the least.
        row_hz: height of a row; row ``i`` is centred on ``first_hz + i * row_hz``.
        first_hz: centre of the first row.
        column_s: length of a column; column ``j`` begins at ``first_s + j * column_s``.
        first_s: start of the first column.
        nyquist_hz: half the sample rate.
        duration_s: of the recording.
    """

    level_db: npt.NDArray[np.float32]
    row_hz: float
    first_hz: float
    column_s: float
    first_s: float
    nyquist_hz: float
    duration_s: float


@dataclass(frozen=True, eq=False)
class LongTermSpectrum:
    """Power density averaged over the whole recording, in bands of 1/12 octave, free of level.

    Attributes:
        centres_hz: float64 ``(bands,)``, rising.
        level_db: float64 ``(bands,)``; 0 dB is the mean of the bands within
            :data:`LEVEL_BAND_HZ`, :data:`LEAST_LEVEL_DB` the least.
    """

    centres_hz: DoubleArray
    level_db: DoubleArray


@dataclass(frozen=True, eq=False)
class MelSpectrum:
    """The long-term spectrum as the model sees it: the mean of its front end's log mel energies.

    Attributes:
        front_end: config of the front end (pre-emphasis, bands, magnitude or power).
        mean_log_mel: float64 ``(n_mels,)``, mean over frames of the natural logarithm, less the
            mean over bands, so that the recording's level is gone.
    """

    front_end: FrontEndConfig
    mean_log_mel: DoubleArray

    @property
    def centres_hz(self) -> DoubleArray:
        """Centre of each band, float64 ``(n_mels,)``."""
        return mel_centres_hz(self.front_end)


@dataclass(frozen=True, eq=False)
class FileSpectra:
    """All spectra of one recording (first channel).

    Attributes:
        spectrogram: over time.
        long_term: averaged, fine, at the recording's own rate.
        mel: averaged, in the model's bands, at the model's rate.
    """

    spectrogram: Spectrogram
    long_term: LongTermSpectrum
    mel: MelSpectrum


def mel_centres_hz(front_end: FrontEndConfig) -> DoubleArray:
    """Centre of each mel band of :func:`model.mel.mel_filters`, float64 ``(n_mels,)``."""
    edges = np.linspace(0.0, hz_to_mel(front_end.sample_rate_hz / 2), front_end.n_mels + 2)
    return mel_to_hz(edges[1:-1])


def decibels_per_log_mel(front_end: FrontEndConfig) -> float:
    """Decibels that one natural logarithm of a mel energy stands for."""
    return (20.0 if front_end.spectrum == "magnitude" else 10.0) / math.log(10.0)


class SpectraMeter:
    """Measures the spectra of a recording block by block.

    Args:
        sample_rate_hz: of the recording.
        front_end: of the model.

    Raises:
        AudioError: a rate out of range.
    """

    def __init__(self, sample_rate_hz: int, front_end: FrontEndConfig) -> None:
        self._rate_hz = sample_rate_hz
        self._resampler = Resampler(sample_rate_hz, front_end.sample_rate_hz)
        self._front_end = FrontEnd(front_end)
        self._log_mel = np.zeros(front_end.n_mels)
        self._mel_frames = 0
        self._length = 2 ** int(math.log2(FRAME_S * sample_rate_hz))
        self._hop = self._length // 2
        self._window = np.hanning(self._length + 1)[:-1]
        self._waiting: Samples = np.zeros(0, np.float32)
        self._samples = 0
        self._power = np.zeros(self._length // 2 + 1)
        self._frames = 0
        self._columns: list[DoubleArray] = []
        self._frames_per_column = 1
        self._column: DoubleArray | None = None
        self._frames_in_column = 0

    def accept(self, samples: Samples) -> None:
        """Feed samples, float32, 1-D, full scale = 1."""
        self._samples += len(samples)
        self._add_mel(self._front_end.accept(self._resampler.accept(samples)))
        joined = np.concatenate((self._waiting, samples))
        used = 0
        for frames in self._frames_of(joined):
            self._add_power(frames)
            used += len(frames) * self._hop
        self._waiting = joined[used:].copy()

    def finish(self) -> FileSpectra:
        """End the recording; the object must not be fed again.

        Raises:
            AudioError: it is shorter than one frame of the model.
        """
        self._add_mel(self._front_end.accept(self._resampler.flush()))
        self._add_mel(self._front_end.flush())
        if not self._mel_frames:
            raise AudioError("shorter than one frame of the model")
        if not self._frames:
            padding = np.zeros(self._length - len(self._waiting), np.float32)
            self._add_power(np.concatenate((self._waiting, padding))[np.newaxis])
        frequencies, density = self.density()
        mean = self._log_mel / self._mel_frames
        return FileSpectra(
            self._spectrogram(),
            fractional_octaves(frequencies, density),
            MelSpectrum(self._front_end.config, mean - mean.mean()),
        )

    def density(self) -> tuple[DoubleArray, DoubleArray]:
        """Frequencies in Hz and mean one-sided power density (full scale squared per Hz).

        Returns:
            float64 ``(bins,)`` each.
        """
        scale = 2.0 / (self._rate_hz * np.dot(self._window, self._window))
        bins = scipy.fft.rfftfreq(self._length, 1.0 / self._rate_hz)
        return bins, scale * self._power / max(1, self._frames)

    def _frames_of(self, samples: Samples) -> Iterator[Samples]:
        if len(samples) < self._length:
            return
        view = np.lib.stride_tricks.sliding_window_view(samples, self._length)[:: self._hop]
        for first in range(0, len(view), _FRAMES_AT_ONCE):
            yield view[first : first + _FRAMES_AT_ONCE]

    def _add_mel(self, frames: npt.NDArray[np.float32]) -> None:
        config = self._front_end.config
        mel = frames[:, 3 * config.n_static :].astype(np.float64)
        self._log_mel += (mel if config.prefbank == "log" else np.log(mel)).sum(axis=0)
        self._mel_frames += len(frames)

    def _add_power(self, frames: Samples) -> None:
        power = np.abs(scipy.fft.rfft(frames * self._window, axis=1)) ** 2
        self._power += power.sum(axis=0)
        self._frames += len(power)
        n_rows = min(MOST_ROWS, self._length // 2)
        for row in power[:, 1:].reshape(len(power), n_rows, -1).mean(axis=2):
            self._column = row if self._column is None else self._column + row
            self._frames_in_column += 1
            if self._frames_in_column == self._frames_per_column:
                self._end_column()

    def _end_column(self) -> None:
        assert self._column is not None
        self._columns.append(self._column / self._frames_in_column)
        self._column, self._frames_in_column = None, 0
        if len(self._columns) == MOST_COLUMNS:
            pairs = zip(self._columns[::2], self._columns[1::2], strict=True)
            self._columns = [0.5 * (one + two) for one, two in pairs]
            self._frames_per_column *= 2

    def _spectrogram(self) -> Spectrogram:
        if self._frames_in_column:
            self._end_column()
        power = np.stack(self._columns, axis=1)
        bin_hz = self._rate_hz / self._length
        bins = self._length // 2 // len(power)
        hop_s = self._hop / self._rate_hz
        return Spectrogram(
            level_db=_level_db(power, power.max()).astype(np.float32),
            row_hz=bins * bin_hz,
            first_hz=0.5 * (1 + bins) * bin_hz,
            column_s=self._frames_per_column * hop_s,
            first_s=0.5 * hop_s,  # frames overlap by half: each stands for its middle half
            nyquist_hz=self._rate_hz / 2,
            duration_s=self._samples / self._rate_hz,
        )


def _level_db(power: DoubleArray, reference: float) -> DoubleArray:
    """Decibels over the reference, none below :data:`LEAST_LEVEL_DB`."""
    if not reference > 0.0:
        return np.full(power.shape, LEAST_LEVEL_DB)
    level: DoubleArray = 10.0 * np.log10(
        np.maximum(power / reference, 10.0 ** (LEAST_LEVEL_DB / 10))
    )
    return level


def fractional_octaves(frequencies_hz: DoubleArray, density: DoubleArray) -> LongTermSpectrum:
    """Mean density in bands of 1/12 octave from :data:`LOWEST_HZ` to the highest frequency.

    The density is integrated, and the integral read at the edges of each band, so that bands
    narrower than a bin have a level, too.

    Args:
        frequencies_hz: float64 ``(bins,)``, evenly spaced from 0.
        density: power per Hz, float64 ``(bins,)``.
    """
    nyquist = float(frequencies_hz[-1])
    step = 1.0 / BANDS_PER_OCTAVE
    lowest = math.ceil(math.log2(LOWEST_HZ / 1000.0) / step)
    highest = math.floor((math.log2(nyquist / 1000.0) - step / 2) / step)
    octaves: DoubleArray = np.arange(lowest, highest + 1, dtype=np.float64) * step
    edges = 1000.0 * 2.0 ** np.append(octaves - step / 2, octaves[-1] + step / 2)
    width = frequencies_hz[1]
    within = np.concatenate([[0.0], np.cumsum(density * width)])
    integral = np.interp(edges, np.append(frequencies_hz, nyquist + width) - width / 2, within)
    bands = np.diff(integral) / np.diff(edges)
    centres: DoubleArray = 1000.0 * 2.0**octaves
    low, high = LEVEL_BAND_HZ
    common = (centres >= low) & (centres <= high)
    level: DoubleArray = _level_db(bands, bands.max())
    level -= level[common].mean()
    np.maximum(level, LEAST_LEVEL_DB, out=level)
    return LongTermSpectrum(centres, level)


def bandwidth_hz(
    frequencies_hz: DoubleArray, density: DoubleArray, bits: int | None
) -> float | None:
    """Highest frequency at which a recording holds energy above the floor.

    The floor is 6 dB above the noise that rounding to the file's bits makes, or, where that is
    lower or the samples are not rounded, 90 dB below the strongest frequency. A recording whose
    own noise reaches up to half the rate fills that band, however weak its speech is there. A
    steep edge is found within some ten bins (0.3 kHz), on the high side.

    Args:
        frequencies_hz: float64 ``(bins,)``, evenly spaced from 0 to half the sample rate.
        density: one-sided power density, full scale squared per Hz, float64 ``(bins,)``.
        bits: of integer samples; ``None`` if they are coded otherwise.

    Returns:
        Hz; ``None`` where nothing is above the floor.
    """
    smooth = np.convolve(density, np.full(SMOOTHED_BINS, 1.0 / SMOOTHED_BINS), mode="same")
    smooth[:SKIPPED_BINS] = 0.0
    rounding = 0.0
    if bits is not None:
        rounding = 2.0 ** (2 * (1 - bits)) / 12.0 / float(frequencies_hz[-1])
    floor = max(ROUNDING_MARGIN * rounding, LEAST_SHARE * float(smooth.max()))
    filled = np.flatnonzero(smooth > floor)
    return float(frequencies_hz[filled[-1]]) if len(filled) else None


def varying_up_to_hz(spectrogram: Spectrogram) -> float | None:
    """Highest frequency at which the sound comes and goes, as speech does and a noise floor does
    not.

    There, the level that a twentieth of the time exceeds is 10 dB above the one that nine tenths
    of it exceed, in bands of about 500 Hz.

    Returns:
        Hz; ``None`` where nothing varies.
    """
    power = 10.0 ** (spectrogram.level_db.astype(np.float64) / 10.0)
    n_rows = min(len(power), max(1, round(VARYING_SMOOTH_HZ / spectrogram.row_hz)))
    summed = np.cumsum(np.pad(power, ((1, 0), (0, 0))), axis=0)
    bands = 10.0 * np.log10((summed[n_rows:] - summed[:-n_rows]) / n_rows)
    quiet, loud = np.quantile(bands, (0.1, 0.95), axis=1)
    varying = np.flatnonzero(loud - quiet >= VARYING_DB)
    if not len(varying):
        return None
    centre = float(varying[-1]) + 0.5 * (n_rows - 1)
    return spectrogram.first_hz + centre * spectrogram.row_hz
