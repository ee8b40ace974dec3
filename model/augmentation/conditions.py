"""The conditions that models are trained for and tested under, in families.

Training draws from :mod:`model.augmentation.recipe`. A report tests single conditions of fixed
strength: those of the families that the recipe draws from are called *seen*; whole families that it
knows nothing of are called *unseen*.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.augmentation.augmentation import Augmentation, Chain, Samples
from model.augmentation.bandwidth import BandLimit, Resampling
from model.augmentation.codec import Codec, has_codec
from model.augmentation.denoising import SpectralSubtraction
from model.augmentation.gaps import Gaps
from model.augmentation.level import AutomaticGain, Clipping, Gain
from model.augmentation.noise import Babble, ColouredNoise, Crackle, MainsHum
from model.augmentation.reverberation import Reverberation
from model.corpus import Clip

#: Families that training draws from only where an augmentation is named (``recipe.FFMPEG_CODECS``).
SEEN_WITH = {"aac": "AAC", "calls": "call codecs"}
#: Seed of the first voice of test babble; training's begin at 9000.
TEST_VOICE = 20_000


@dataclass(frozen=True)
class Condition:
    """What a clip goes through before it is tested.

    Attributes:
        name: for tables.
        family: what it belongs to.
        seen: whether training draws from the family.
        change: ``None`` for the clip as it is.
        codec: that must be there for it, if any.
    """

    name: str
    family: str
    seen: bool
    change: Augmentation | None = None
    codec: str | None = None

    def apply(self, samples: Samples, sample_rate_hz: int, clip: Clip) -> Samples:
        """The clip under the condition; always the same for a clip's file name."""
        if self.change is None:
            return samples
        words = (self.name.encode(), clip.path.name.encode())
        rng = np.random.default_rng([zlib.crc32(word) for word in words])
        return self.change(samples, sample_rate_hz, rng)


def _noise(snr_db: float, exponent: float) -> ColouredNoise:
    return ColouredNoise(snr_db, snr_db, exponent, exponent)


def _rate(rate_hz: int) -> Resampling:
    return Resampling((rate_hz,))


def _codec(name: str, quality: float = 0.5, *rates_hz: int) -> Codec:
    return Codec((name,), quality, quality, rates_hz)


def _babble(snr_db: float) -> Babble:
    return Babble(snr_db, snr_db, TEST_VOICE)


def _room(rt60_s: float, drr_db: float) -> Reverberation:
    return Reverberation(rt60_s, rt60_s, drr_db, drr_db)


_MESSENGER = Chain([(1.0, _room(0.4, 4)), (1.0, _noise(20, 1)), (1.0, _codec("mp3", 0.4))])

CLEAN = Condition("clean", "clean", True)

#: A name's kbit/s are of libsndfile's encoders at 32 kHz (Opus: 48 kHz) on speech, about.
_ALL: tuple[Condition, ...] = (
    CLEAN,
    Condition("gain -20 dB", "level", True, Gain(-20, -20)),
    Condition("clipped, 1 % of samples", "level", True, Clipping(0.01, 0.01)),
    Condition("white noise, 30 dB SNR", "noise", True, _noise(30, 0)),
    Condition("white noise, 20 dB SNR", "noise", True, _noise(20, 0)),
    Condition("white noise, 10 dB SNR", "noise", True, _noise(10, 0)),
    Condition("pink noise, 20 dB SNR", "noise", True, _noise(20, 1)),
    Condition("pink noise, 10 dB SNR", "noise", True, _noise(10, 1)),
    Condition("brown noise, 10 dB SNR", "noise", True, _noise(10, 2)),
    Condition("babble, 20 dB SNR", "babble", True, _babble(20)),
    Condition("babble, 10 dB SNR", "babble", True, _babble(10)),
    Condition("room, RT60 0.3 s", "reverberation", True, _room(0.3, 3)),
    Condition("room, RT60 0.8 s", "reverberation", True, _room(0.8, 0)),
    Condition("low-pass 6 kHz", "bandwidth", True, BandLimit((6e3, 6e3), (100, 100), 0.0)),
    Condition("through 44.1 kHz", "bandwidth", True, _rate(44_100)),
    Condition("through 22.05 kHz", "bandwidth", True, _rate(22_050)),
    Condition("through 16 kHz", "bandwidth", True, _rate(16_000)),
    Condition("through 8 kHz", "bandwidth", True, _rate(8_000)),
    Condition("MP3, 96 kbit/s", "music codecs", True, _codec("mp3", 0.9)),
    Condition("MP3, 33 kbit/s", "music codecs", True, _codec("mp3", 0.1)),
    Condition("Vorbis, 56 kbit/s", "music codecs", True, _codec("vorbis", 0.1)),
    Condition("Opus, 33 kbit/s", "music codecs", True, _codec("opus", 0.1)),
    Condition("GSM 06.10", "telephone", True, _codec("gsm")),
    Condition("G.711 mu-law, 8 kHz", "telephone", True, _codec("mu-law")),
    Condition("G.711 A-law, 8 kHz", "telephone", True, _codec("a-law")),
    Condition("gaps, 5 % of samples", "gaps", True, Gaps(0.05, 0.05, 0.02, 0.02)),
    Condition("room, pink noise 20 dB, MP3", "mixed", True, _MESSENGER),
    Condition("AAC, 64 kbit/s", "AAC", False, _codec("aac", 0.43), "aac"),
    Condition("G.722", "call codecs", False, _codec("g722"), "g722"),
    Condition("Speex, 16 kHz", "call codecs", False, _codec("speex", 0.5, 16_000), "speex"),
    Condition("AMR wideband", "call codecs", False, _codec("amr-wb"), "amr-wb"),
    Condition("AMR narrowband", "call codecs", False, _codec("amr-nb"), "amr-nb"),
    Condition("IMA ADPCM, 16 kHz", "ADPCM", False, _codec("ima-adpcm", 0.5, 16_000)),
    Condition("automatic gain", "dynamics", False, AutomaticGain()),
    Condition("mains hum, 15 dB SNR", "hum", False, MainsHum(15, 15)),
    Condition("crackle", "crackle", False, Crackle()),
    Condition("noise suppression", "noise suppression", False, SpectralSubtraction()),
)


def kinds(seen: Sequence[bool]) -> dict[str, list[int]]:
    """Numbers of the conditions of each kind that there is: ``clean``, ``seen``, ``unseen``.

    Args:
        seen: whether each condition is; the first one is the clip as it is.
    """
    found = {
        "clean": [0],
        "seen": [k for k, known in enumerate(seen) if known and k],
        "unseen": [k for k, known in enumerate(seen) if not known],
    }
    return {kind: numbers for kind, numbers in found.items() if numbers}


def conditions(trained_with: Sequence[str] = ()) -> Iterator[Condition]:
    """All conditions that can be made here: those of ffmpeg's codecs only where it has them.

    Args:
        trained_with: names of augmentations; those with ffmpeg's codecs make conditions seen that
            are not otherwise.
    """
    seen = {SEEN_WITH[name] for name in trained_with if name in SEEN_WITH}
    for condition in _ALL:
        if condition.codec is None or has_codec(condition.codec):
            yield replace(condition, seen=condition.seen or condition.family in seen)
