"""What can be said of an audio file before any model sees it."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import soundfile

from agent.report.spectra import FileSpectra, SpectraMeter, bandwidth_hz, varying_up_to_hz
from agent.signal_checks import SignalChecks
from model.audio import AudioFile
from model.errors import AudioError
from model.features import FrontEndConfig
from model.files import file_sha256

#: Bits of the sample formats that say so; of compressed ones there is no such number.
BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "ALAC_16": 16,
    "ALAC_20": 20,
    "ALAC_24": 24,
    "ALAC_32": 32,
}


@dataclass(frozen=True)
class FileFacts:
    """Facts about one file; those about its sound are of the first channel, which is the one used.

    Attributes:
        name: as given on the command line; ``-`` for standard input.
        size_bytes: of the file.
        sha256: of the file's bytes, hex.
        modified_utc: when the file system says it was last modified, UTC; ``None`` where there is
            no file (standard input).
        container: kind of file, as libsndfile calls it.
        codec: coding of the samples, as libsndfile calls it.
        bits: of an integer sample; ``None`` for other codings.
        sample_rate_hz: of the file.
        channels: in the file.
        duration_s: seconds, as counted while reading.
        level_dbfs: RMS without DC, dB relative to full scale; -inf for silence.
        peak_dbfs: largest magnitude; -inf for digital silence.
        dc: mean of the samples, full scale = 1.
        clipped_share: share of samples at full scale, 0 to 1.
        bandwidth_hz: highest frequency with energy above the floor
            (:func:`agent.report.spectra.bandwidth_hz`); ``None`` for silence.
        varying_up_to_hz: highest frequency at which the sound comes and goes, unlike a noise floor
            (:func:`agent.report.spectra.varying_up_to_hz`); ``None`` where nothing does.
    """

    name: str
    size_bytes: int
    sha256: str
    modified_utc: datetime | None
    container: str
    codec: str
    bits: int | None
    sample_rate_hz: int
    channels: int
    duration_s: float
    level_dbfs: float
    peak_dbfs: float
    dc: float
    clipped_share: float
    bandwidth_hz: float | None
    varying_up_to_hz: float | None


@dataclass(frozen=True, eq=False)
class MeasuredFile:
    """A file's facts and its spectra, from :func:`measure_file`."""

    facts: FileFacts
    spectra: FileSpectra


def measure_file(source: Path | bytes, name: str, front_end: FrontEndConfig) -> MeasuredFile:
    """Read a file once and measure it.

    Args:
        source: path, or the content of a file.
        name: what to call it.
        front_end: of the model, for the spectrum in its bands.

    Raises:
        AudioError: not readable, not audio, without samples, NaN among them, or shorter than one
            frame of the model.
    """
    checks = SignalChecks()
    with AudioFile(source, name) as audio:
        meter = SpectraMeter(audio.sample_rate_hz, front_end)
        for block in audio.blocks():
            checks.accept(block)
            meter.accept(block)
        info = audio.info
    if not audio.samples_read:
        raise AudioError(f"{name}: holds no samples")
    try:
        spectra = meter.finish()
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error
    try:
        size_bytes, sha256, modified_utc = _file_identity(source)
        header = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{name}: changed or vanished while it was read") from error
    bits = BITS.get(header.subtype)
    bandwidth, varying = bandwidth_hz(*meter.density(), bits), varying_up_to_hz(spectra.spectrogram)
    if bandwidth is not None and varying is not None:
        varying = min(bandwidth, varying)  # measured in wider bands
    return MeasuredFile(
        FileFacts(
            name=name,
            size_bytes=size_bytes,
            sha256=sha256,
            modified_utc=modified_utc,
            container=header.format_info,
            codec=header.subtype_info,
            bits=bits,
            sample_rate_hz=info.sample_rate_hz,
            channels=info.channels,
            duration_s=info.duration_s,
            level_dbfs=checks.level_dbfs,
            peak_dbfs=20 * math.log10(checks.peak) if checks.peak > 0 else -math.inf,
            dc=checks.dc,
            clipped_share=checks.clipped_share,
            bandwidth_hz=bandwidth,
            varying_up_to_hz=varying,
        ),
        spectra,
    )


def _file_identity(source: Path | bytes) -> tuple[int, str, datetime | None]:
    """Size in bytes, sha256 and modification time."""
    if isinstance(source, bytes):
        return len(source), hashlib.sha256(source).hexdigest(), None
    status = source.stat()
    modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    return status.st_size, file_sha256(source), modified
