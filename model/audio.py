"""Reading audio files: wav, flac, ogg, mp3 and whatever else libsndfile knows, block by block."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from model.errors import AudioError
from model.resample import Resampler

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".w64")
BLOCK_SECONDS = 10.0  #: how much of a file is in memory at a time


@dataclass(frozen=True)
class AudioInfo:
    """Facts about an audio file before any conversion.

    Attributes:
        sample_rate_hz: rate of the file.
        channels: channels in the file; only the first is used (mixing microphones would mix
            fingerprints).
        duration_s: length in seconds, as counted while reading.
    """

    sample_rate_hz: int
    channels: int
    duration_s: float


class AudioFile:
    """A file open for reading as mono float32 blocks.

    Args:
        source: a path, or bytes of a whole file (standard input).
        name: what to call it in messages; the path by default.

    Raises:
        AudioError: missing, unreadable or not an audio file.

    Attributes:
        sample_rate_hz: rate of the file.
        channels: channels in the file.
        samples_read: samples read so far (one channel).
    """

    def __init__(self, source: Path | bytes, name: str | None = None) -> None:
        self.name = name if name is not None else str(source)
        file: str | BinaryIO
        if isinstance(source, bytes):
            if not source:
                raise AudioError(f"{self.name}: no data")
            file = io.BytesIO(source)
        else:
            if source.is_dir():
                raise AudioError(f"{self.name}: is a folder, not an audio file")
            if not source.exists():
                raise AudioError(f"{self.name}: no such file")
            try:
                size = source.stat().st_size
                with source.open("rb"):
                    pass
            except OSError as error:
                raise AudioError(f"{self.name}: {error.strerror or error}") from error
            if size == 0:
                raise AudioError(f"{self.name}: empty file")
            file = str(source)
        try:
            self._file = soundfile.SoundFile(file)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            # TypeError: a .raw suffix makes soundfile ask for a format that nobody gave.
            raise AudioError(f"{self.name}: not an audio file that libsndfile can read") from error
        self.sample_rate_hz = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.samples_read = 0

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, n_samples: int) -> npt.NDArray[np.float32]:
        """The next ``n_samples`` samples of the first channel, fewer at the end.

        Returns:
            float32, 1-D, full scale = 1.

        Raises:
            AudioError: the file is damaged here, or holds NaN or infinite samples.
        """
        try:
            block = self._file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{self.name}: damaged after {self.samples_read} samples") from error
        mono = np.ascontiguousarray(block[:, 0])
        if not np.isfinite(mono).all():
            raise AudioError(f"{self.name}: holds samples that are not numbers (NaN or infinite)")
        self.samples_read += len(mono)
        return mono

    def blocks(self, seconds: float = BLOCK_SECONDS) -> Iterator[npt.NDArray[np.float32]]:
        """All remaining samples, ``seconds`` at a time."""
        n_samples = max(1, round(seconds * self.sample_rate_hz))
        while len(block := self.read(n_samples)):
            yield block

    @property
    def info(self) -> AudioInfo:
        """Facts so far; the duration counts what was read."""
        return AudioInfo(
            self.sample_rate_hz, self.channels, self.samples_read / self.sample_rate_hz
        )


def read_clip(path: Path, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """A whole file as mono float32 at the given rate.

    Args:
        path: the file.
        sample_rate_hz: rate wanted, in Hz.

    Returns:
        float32, 1-D.

    Raises:
        AudioError: as :class:`AudioFile`, or the file holds no samples.
    """
    with AudioFile(path) as audio:
        resampler = Resampler(audio.sample_rate_hz, sample_rate_hz)
        parts = [resampler.accept(block) for block in audio.blocks()]
        parts.append(resampler.flush())
        if audio.samples_read == 0:
            raise AudioError(f"{path}: holds no samples")
    return np.concatenate(parts)


def audio_files_in(folder: Path) -> list[Path]:
    """Audio files below a folder, by suffix, sorted by path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    )
