"""Codecs that recordings pass: through libsndfile, and through ffmpeg where it is installed."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from model.augmentation.augmentation import Samples, fitted
from model.errors import DevrecError, MissingDependencyError


@dataclass(frozen=True)
class SndfileFormat:
    """A codec of libsndfile.

    Attributes:
        container: libsndfile's format name.
        subtype: libsndfile's subtype name.
        rates_hz: rates that it takes; the nearest at or above the samples' is used, or the highest.
        has_quality: whether its quality can be chosen.
    """

    container: str
    subtype: str
    rates_hz: tuple[int, ...]
    has_quality: bool = False


_MUSIC_RATES_HZ = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000)

SNDFILE: dict[str, SndfileFormat] = {
    "mp3": SndfileFormat("MP3", "MPEG_LAYER_III", _MUSIC_RATES_HZ, True),
    "vorbis": SndfileFormat("OGG", "VORBIS", _MUSIC_RATES_HZ, True),
    "opus": SndfileFormat("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000), True),
    "mu-law": SndfileFormat("WAV", "ULAW", (8_000,)),
    "a-law": SndfileFormat("WAV", "ALAW", (8_000,)),
    "gsm": SndfileFormat("WAV", "GSM610", (8_000,)),
    "ima-adpcm": SndfileFormat("WAV", "IMA_ADPCM", (16_000, 32_000, 44_100)),
}

#: ffmpeg's encoder, container and rates.
FFMPEG: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "aac": ("aac", "adts", _MUSIC_RATES_HZ),
    "amr-nb": ("libopencore_amrnb", "amr", (8_000,)),
    "amr-wb": ("libvo_amrwbenc", "amr", (16_000,)),
    "g722": ("g722", "wav", (16_000,)),
    "speex": ("libspeex", "ogg", (8_000, 16_000, 32_000)),
}


def nearest_rate(rates_hz: tuple[int, ...], wanted_hz: int) -> int:
    """The lowest rate that keeps all of ``wanted_hz``'s band, or the highest there is."""
    enough = [rate for rate in rates_hz if rate >= wanted_hz]
    return min(enough) if enough else max(rates_hz)


def coded(
    samples: Samples, rate_hz: int, form: SndfileFormat, compression_level: float | None
) -> tuple[Samples, int]:
    """Encode and decode in memory, as libsndfile does it.

    Args:
        samples: float32, 1-D.
        rate_hz: their rate, one that the codec takes.
        form: the codec.
        compression_level: libsndfile's, 0 to 1; its own if none.

    Returns:
        float32, perhaps of another length and rate, and that rate.

    Raises:
        soundfile.SoundFileError: libsndfile cannot write that.
    """
    file = io.BytesIO()
    with soundfile.SoundFile(
        *(file, "w", rate_hz, 1, form.subtype),
        format=form.container,
        compression_level=compression_level,
    ) as sink:
        # libsndfile's Vorbis encoder overflows the stack on very long writes.
        for start in range(0, len(samples), rate_hz):
            sink.write(samples[start : start + rate_hz])
    file.seek(0)
    back, decoded_rate = soundfile.read(file, dtype="float32")
    return back, int(decoded_rate)


def through_sndfile(
    samples: Samples, sample_rate_hz: int, codec: str, rate_hz: int | None, quality: float
) -> Samples:
    """Encode and decode in memory.

    Args:
        samples: float32, 1-D.
        sample_rate_hz: their rate.
        codec: one of :data:`SNDFILE`.
        rate_hz: rate to encode at; the samples' own, or the nearest that the codec takes, if none.
        quality: 0 (smallest file) to 1 (best), for codecs that know one.

    Returns:
        float32 of the same length and rate.
    """
    form = SNDFILE[codec]
    rate = nearest_rate(form.rates_hz, rate_hz or sample_rate_hz)
    there = soxr.resample(samples, sample_rate_hz, rate) if rate != sample_rate_hz else samples
    # Resampling overshoots, and beyond full scale libsndfile's G.711, GSM and ADPCM give garbage.
    there = np.clip(there, -1, 1)
    # libsndfile refuses the very ends of the scale for some codecs.
    level = float(np.clip(1 - quality, 0.01, 0.99)) if form.has_quality else None
    back, decoded_rate = coded(there, rate, form, level)
    if decoded_rate != sample_rate_hz:
        back = soxr.resample(back, decoded_rate, sample_rate_hz)
    return fitted(np.clip(back, -1, 1), len(samples))


@functools.lru_cache(maxsize=1)
def ffmpeg_encoders() -> frozenset[str]:
    """Names of the encoders of the ffmpeg installed here; none without ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        return frozenset()
    command = [program, "-hide_banner", "-encoders"]
    listed = subprocess.run(command, capture_output=True, check=False)
    lines = [line.split() for line in listed.stdout.decode(errors="replace").splitlines()]
    return frozenset(words[1] for words in lines if len(words) > 2 and words[0].startswith("A"))


def has_codec(codec: str) -> bool:
    """Whether a codec can be used here."""
    return codec in SNDFILE or (codec in FFMPEG and FFMPEG[codec][0] in ffmpeg_encoders())


def through_ffmpeg(
    samples: Samples, sample_rate_hz: int, codec: str, rate_hz: int | None, kbps: float | None
) -> Samples:
    """Encode and decode with ffmpeg, through pipes.

    Args:
        samples: float32, 1-D.
        sample_rate_hz: their rate.
        codec: one of :data:`FFMPEG`.
        rate_hz: as in :func:`through_sndfile`.
        kbps: bit rate; the encoder's own if none.

    Raises:
        MissingDependencyError: no ffmpeg here, or one without this encoder.
        DevrecError: ffmpeg failed.
    """
    encoder, container, rates_hz = FFMPEG[codec]
    if not has_codec(codec):
        raise MissingDependencyError(f"codec {codec} needs ffmpeg with the encoder {encoder}")
    rate = nearest_rate(rates_hz, rate_hz or sample_rate_hz)
    raw = ["-f", "f32le", "-ac", "1", "-ar", str(sample_rate_hz)]
    bitrate = ["-b:a", f"{round(kbps * 1000)}"] if kbps else []
    encode = [*raw, "-i", "-", "-ar", str(rate), "-c:a", encoder, *bitrate, "-f", container, "-"]
    coded = _ffmpeg(encode, samples.astype("<f4").tobytes(), codec)
    demuxer = "aac" if container == "adts" else container
    decoded = _ffmpeg(["-f", demuxer, "-i", "-", *raw, "-"], coded, codec)
    return fitted(np.clip(np.frombuffer(decoded, "<f4"), -1, 1), len(samples))


def _ffmpeg(arguments: list[str], fed: bytes, codec: str) -> bytes:
    program = shutil.which("ffmpeg") or "ffmpeg"
    done = subprocess.run(
        [program, "-hide_banner", "-loglevel", "error", "-threads", "1", *arguments],
        input=fed,
        capture_output=True,
        check=False,
    )
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DevrecError(f"ffmpeg failed on {codec}: {said[-1] if said else 'no output'}")
    return done.stdout


@dataclass(frozen=True)
class Codec:
    """One of several codecs at a uniform quality.

    Attributes:
        names: out of :data:`SNDFILE` and :data:`FFMPEG`.
        low_quality: 0 to 1, see :func:`through_sndfile`.
        high_quality: likewise.
        rates_hz: rates to encode at; the samples' own if none.
    """

    names: tuple[str, ...] = ("mp3", "vorbis", "opus")
    low_quality: float = 0.03
    high_quality: float = 0.5
    rates_hz: tuple[int, ...] = ()

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        """Copy after encoding and decoding."""
        name = str(rng.choice(self.names))
        rate = int(rng.choice(self.rates_hz)) if self.rates_hz else None
        quality = rng.uniform(self.low_quality, self.high_quality)
        if name in SNDFILE:
            return through_sndfile(samples, sample_rate_hz, name, rate, quality)
        kbps = {"aac": 16 + 112 * quality, "amr-nb": 12.2, "amr-wb": 23.85}.get(name)
        return through_ffmpeg(samples, sample_rate_hz, name, rate, kbps)
