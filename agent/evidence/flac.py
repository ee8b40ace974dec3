"""Samples to FLAC and back, bit for bit, with checksums of the file and of what it holds."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from model.errors import AudioError

Samples = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

#: Bits by the name that libsndfile has for them.
BITS = {"PCM_16": 16, "PCM_24": 24}

_BLOCK = 1 << 18  #: samples at a time: ten minutes must not need a gigabyte


@dataclass(frozen=True)
class PcmFacts:
    """What a FLAC file holds.

    Attributes:
        subtype: ``PCM_16`` or ``PCM_24``.
        sample_rate_hz: rate of the samples.
        samples: how many.
        pcm_sha256: hex digest of the samples as little-endian signed integers of two or three
            bytes: that of ``flac --decode --force-raw-format --endian=little --sign=signed``, so
            that it can be checked without this program.
    """

    subtype: str
    sample_rate_hz: int
    samples: int
    pcm_sha256: str


def encode(samples: Samples, sample_rate_hz: int) -> tuple[bytes, PcmFacts, bool]:
    """Make a FLAC file.

    Args:
        samples: float32, 1-D, full scale = 1.
        sample_rate_hz: their rate.

    Returns:
        the file's bytes; what it holds: 16 bits where all samples lie on that grid, else 24; and
        whether it gives back the very same samples: else they were rounded to 24 bits, cut at full
        scale, or were no numbers and became 0.

    Raises:
        AudioError: FLAC does not know this rate.
    """
    subtype = "PCM_16" if _on_grid(samples, 16) else "PCM_24"
    bits = BITS[subtype]
    digest = hashlib.sha256()
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file, "w", samplerate=sample_rate_hz, channels=1, format="FLAC", subtype=subtype
        ) as flac:
            for block in _blocks(samples):
                integers = _integers(block, bits)
                digest.update(_packed(integers, bits))
                # libsndfile takes the upper bits of 32.
                flac.write(integers << (32 - bits))
    except soundfile.SoundFileError as error:
        raise AudioError(f"FLAC cannot hold a rate of {sample_rate_hz} Hz") from error
    facts = PcmFacts(subtype, sample_rate_hz, len(samples), digest.hexdigest())
    return file.getvalue(), facts, subtype == "PCM_16" or _on_grid(samples, 24)


def inspect(data: bytes) -> PcmFacts:
    """Decode a file of :func:`encode`.

    Raises:
        AudioError: damaged, or another kind of file.
    """
    digest = hashlib.sha256()
    count = 0
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            subtype, rate = str(file.subtype), int(file.samplerate)
            if file.format != "FLAC" or subtype not in BITS or file.channels != 1:
                raise AudioError("not a FLAC file of one channel and 16 or 24 bits")
            bits = BITS[subtype]
            while len(block := file.read(_BLOCK, dtype="int32")):
                digest.update(_packed(block >> (32 - bits), bits))
                count += len(block)
    except soundfile.SoundFileError as error:
        raise AudioError("not a FLAC file, or damaged") from error
    return PcmFacts(subtype, rate, count, digest.hexdigest())


def _blocks(samples: Samples) -> Iterator[Samples]:
    return (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))


def _integers(samples: Samples, bits: int) -> Integers:
    """Nearest integers, cut at full scale. Float32 is exact here: its fraction has 24 bits."""
    scale = np.float32(1 << (bits - 1))
    scaled = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0) * scale
    integers: Integers = np.clip(np.rint(scaled), -scale, scale - 1).astype(np.int32)
    return integers


def _on_grid(samples: Samples, bits: int) -> bool:
    """Whether these integers are the samples."""
    scale = np.float32(1 << (bits - 1))
    return all(
        np.array_equal(_integers(block, bits).astype(np.float32) / scale, block)
        for block in _blocks(samples)
    )


def _packed(integers: Integers, bits: int) -> bytes:
    wide = integers.astype("<i4").view(np.uint8).reshape(-1, 4)
    return wide[:, : bits // 8].tobytes()
