"""Synthetic speech-like sound, for when no speech is at hand. It is not speech.

A source-filter synthesiser in the manner of Klatt (J. Acoust. Soc. Am. 67, 1980): glottal pulses
and breath through a chain of formant resonators, fricative noise and bursts beside it, in syllables
with pauses between phrases. Says nothing in any language; has what a device is heard by: harmonics
and noise in all bands, loud and quiet, and silence in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import scipy.signal

Samples = npt.NDArray[np.float32]
Track = npt.NDArray[np.float64]
Spectra = npt.NDArray[np.complex128]

PEAK = 0.3  #: of every clip, full scale = 1
FRAME_S = 0.005  #: from one shape of the vocal tract to the next
RINGING_S = 0.045  #: after which a resonance has died away
FRAMES_AT_ONCE = 256  #: bounds the work arrays

#: First three formants in Hz of ten vowels spoken by men (Peterson and Barney, J. Acoust. Soc. Am.
#: 24, 1952).
VOWELS_HZ = (
    (270, 2290, 3010),
    (390, 1990, 2550),
    (530, 1840, 2480),
    (660, 1720, 2410),
    (730, 1090, 2440),
    (570, 840, 2410),
    (440, 1020, 2240),
    (300, 870, 2240),
    (640, 1190, 2390),
    (490, 1350, 1690),
)
NASAL_HZ = (250, 1300, 2300)
GLIDES_HZ = ((290, 610, 2150), (360, 1300, 2600), (310, 1060, 1380), (260, 2070, 3020))


def synthetic_speech(seconds: float, seed: int, sample_rate_hz: int = 32_000) -> Samples:
    """A clip of one synthetic voice; another seed is another voice that "says" something else.

    Args:
        seconds: length.
        seed: decides the voice and what it utters; the same at every rate.
        sample_rate_hz: rate of the clip; formants fill all of its band.

    Returns:
        float32, 1-D, peak :data:`PEAK`; zero in the pauses (no room, no microphone).
    """
    n_samples = round(seconds * sample_rate_hz)
    if n_samples < 1:
        return np.zeros(0, np.float32)
    voice = _Voice.draw(np.random.default_rng(seed))
    tracks = _Tracks.along(voice, seconds, np.random.default_rng([seed, 1]))
    sound = _synthesise(tracks, voice, n_samples, sample_rate_hz, np.random.default_rng([seed, 2]))
    spoken: Samples = (PEAK * sound / (np.abs(sound).max() + 1e-12)).astype(np.float32)
    return spoken


@dataclass(frozen=True)
class _Voice:
    """Who "speaks".

    Attributes:
        pitch_hz: mean fundamental frequency.
        tract: formants relative to :data:`VOWELS_HZ`; 1.15 is a woman's.
        open_quotient: share of a period in which the glottis is open.
        breath: amplitude of aspiration beside that of the pulses.
        tilt_hz: corner above which the pulses fall by another 6 dB an octave.
        tempo: syllables relative to ordinary ones.
    """

    pitch_hz: float
    tract: float
    open_quotient: float
    breath: float
    tilt_hz: float
    tempo: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Voice:
        high = rng.random()
        return cls(
            pitch_hz=85 * (230 / 85) ** high,
            tract=0.94 + 0.22 * high + rng.normal(0, 0.02),
            open_quotient=rng.uniform(0.4, 0.7),
            breath=10 ** (rng.uniform(-36, -24) / 20),
            tilt_hz=rng.uniform(1500, 5000),
            tempo=rng.uniform(0.85, 1.2),
        )


@dataclass(frozen=True)
class _Segment:
    """A stretch of an utterance: how long, how excited, and the shape of the tract."""

    seconds: float
    voicing: float = 0.0
    aspiration: float = 0.0
    frication: float = 0.0
    noise_hz: float = 4000.0
    formants_hz: tuple[float, float, float] = (500.0, 1500.0, 2500.0)


def _phrase(voice: _Voice, rng: np.random.Generator) -> Iterator[_Segment]:
    """A few syllables and the pause after them."""
    for _ in range(int(rng.integers(4, 12))):
        vowel = VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))]
        formants = (
            vowel[0] * rng.uniform(0.93, 1.07),
            vowel[1] * rng.uniform(0.95, 1.05),
            vowel[2] * rng.uniform(0.97, 1.03),
        )
        stress = rng.uniform(0.45, 1.0)
        yield from _consonant(formants, rng)
        seconds = rng.uniform(0.06, 0.11) + 0.12 * stress * rng.random()
        yield _Segment(seconds / voice.tempo, voicing=stress, formants_hz=formants)
        if rng.random() < 0.35:
            yield from _consonant(formants, rng)
    yield _Segment(rng.uniform(0.15, 0.55))


def _consonant(
    formants_hz: tuple[float, float, float], rng: np.random.Generator
) -> Iterator[_Segment]:
    kind = rng.choice(
        ["none", "fricative", "plosive", "nasal", "glide"], p=[0.1, 0.3, 0.3, 0.15, 0.15]
    )
    if kind == "fricative":
        noise_hz = float(np.exp(rng.uniform(np.log(2200), np.log(9000))))
        yield _Segment(
            rng.uniform(0.06, 0.13),
            voicing=0.25 * float(rng.random() < 0.3),
            frication=rng.uniform(0.05, 0.35),
            noise_hz=noise_hz,
            formants_hz=formants_hz,
        )
    elif kind == "plosive":
        noise_hz = float(np.exp(rng.uniform(np.log(600), np.log(5000))))
        loudness = rng.uniform(0.2, 0.7)
        yield _Segment(rng.uniform(0.03, 0.07), noise_hz=noise_hz, formants_hz=formants_hz)
        yield _Segment(0.01, frication=loudness, noise_hz=noise_hz, formants_hz=formants_hz)
        yield _Segment(
            rng.uniform(0.01, 0.05), aspiration=rng.uniform(0.2, 1.0), formants_hz=formants_hz
        )
    elif kind == "nasal":
        yield _Segment(rng.uniform(0.05, 0.09), voicing=0.3, formants_hz=NASAL_HZ)
    elif kind == "glide":
        glide = GLIDES_HZ[int(rng.integers(len(GLIDES_HZ)))]
        yield _Segment(rng.uniform(0.04, 0.08), voicing=0.5, formants_hz=glide)


@dataclass(frozen=True)
class _Tracks:
    """The utterance frame by frame (:data:`FRAME_S` each); ``formants_hz`` is ``(frames, 3)``."""

    pitch_hz: Track
    voicing: Track
    aspiration: Track
    frication: Track
    noise_hz: Track
    formants_hz: Track

    @classmethod
    def along(cls, voice: _Voice, seconds: float, rng: np.random.Generator) -> _Tracks:
        n_frames = int(np.ceil(seconds / FRAME_S)) + 1
        segments = [_Segment(rng.uniform(0.05, 0.2))]
        pitch: list[Track] = [np.ones(_frames(segments[0]))]
        while sum(map(_frames, segments)) < n_frames:
            phrase = list(_phrase(voice, rng))
            length = sum(map(_frames, phrase))
            melody = np.linspace(1.15, 0.82, length)  # declination
            for _ in range(int(rng.integers(1, 4))):  # accents
                centre, width = rng.uniform(0, length), rng.uniform(8, 25)
                bump = np.exp(-(((np.arange(length) - centre) / width) ** 2))
                melody *= 1 + rng.uniform(0.05, 0.25) * bump
            segments += phrase
            pitch.append(melody)
        counts = [_frames(segment) for segment in segments]

        def track(name: str) -> Track:
            values = np.array([getattr(segment, name) for segment in segments], np.float64)
            return np.repeat(values, counts, axis=0)[:n_frames]

        # What the ear takes for articulation: formants glide, amplitudes rise within 15 ms.
        return cls(
            pitch_hz=voice.pitch_hz * np.concatenate(pitch)[:n_frames],
            voicing=scipy.ndimage.uniform_filter1d(track("voicing"), 5),
            aspiration=scipy.ndimage.uniform_filter1d(track("aspiration"), 3),
            frication=scipy.ndimage.uniform_filter1d(track("frication"), 3),
            noise_hz=track("noise_hz"),
            formants_hz=scipy.ndimage.uniform_filter1d(
                voice.tract * track("formants_hz"), 11, axis=0
            ),
        )


def _frames(segment: _Segment) -> int:
    return max(1, round(segment.seconds / FRAME_S))


def _synthesise(
    tracks: _Tracks, voice: _Voice, n_samples: int, rate_hz: int, rng: np.random.Generator
) -> Track:
    at = np.arange(n_samples) / rate_hz / FRAME_S
    frame_of = np.arange(len(tracks.pitch_hz))

    def smooth(track: Track) -> Track:
        return np.interp(at, frame_of, track)

    jitter = scipy.ndimage.gaussian_filter1d(rng.standard_normal(len(frame_of)), 2)
    cycles = np.cumsum(smooth(tracks.pitch_hz * (1 + 0.02 * jitter))) / rate_hz
    open_phase = np.mod(cycles, 1.0) / voice.open_quotient
    is_open = open_phase < 1
    # Derivative of the glottal flow t^2 - t^3 over the open phase (Klatt and Klatt, J. Acoust. Soc.
    # Am. 87, 1990): radiation at the lips differentiates.
    pulses = np.where(is_open, 2 * open_phase - 3 * open_phase**2, 0.0)
    pole = np.exp(-2 * np.pi * voice.tilt_hz / rate_hz)
    pulses = scipy.signal.lfilter([1 - pole], [1, -pole], pulses)
    # White noise keeps its density from rate to rate; pulses keep their waveform.
    density = np.sqrt(rate_hz / 32_000)
    breath = rng.standard_normal(n_samples) * density
    voiced = smooth(tracks.voicing) * (pulses + voice.breath * (0.3 + 0.7 * is_open) * breath)
    source = voiced + 4 * voice.breath * smooth(tracks.aspiration) * breath
    noise = smooth(tracks.frication) * rng.standard_normal(n_samples) * density

    # Frames are filtered whole and overlapped: a recursive filter whose coefficients jump clicks.
    hop = max(1, round(FRAME_S * rate_hz))
    size = scipy.fft.next_fast_len(2 * hop + round(RINGING_S * rate_hz), real=True)
    z = np.exp(-2j * np.pi * scipy.fft.rfftfreq(size))
    upper_hz = np.arange(3500.0, 0.49 * rate_hz / voice.tract, 1000.0) * voice.tract
    upper = _resonances(upper_hz[None], z, rate_hz)
    tail = np.zeros(n_samples + 2 * hop + size)
    padded_source, padded_noise = (np.pad(x, (hop, 2 * hop)) for x in (source, noise))
    n_hops = n_samples // hop + 2
    for first in range(0, n_hops, FRAMES_AT_ONCE):
        frames = np.arange(first, min(first + FRAMES_AT_ONCE, n_hops))
        reach = hop * frames[:, None] + np.arange(2 * hop)
        inside = np.minimum(reach, len(padded_source) - 1)
        window = scipy.signal.get_window("hann", 2 * hop)
        of = np.minimum(np.rint(frames * hop / rate_hz / FRAME_S).astype(int), len(frame_of) - 1)
        throat = scipy.fft.rfft(window * padded_source[inside], size)
        throat *= upper * _resonances(tracks.formants_hz[of], z, rate_hz)
        hiss = scipy.fft.rfft(window * padded_noise[inside], size)
        hiss *= _hiss(tracks.noise_hz[of], z, rate_hz)
        for frame, rung in zip(frames, scipy.fft.irfft(throat + hiss, size), strict=True):
            tail[hop * frame : hop * frame + size] += rung
    return tail[hop : hop + n_samples]


def _resonances(centres_hz: Track, z: npt.NDArray[np.complex128], rate_hz: int) -> Spectra:
    """Klatt's digital resonators in a chain, each with unit gain at 0 Hz.

    Args:
        centres_hz: ``(frames, formants)``.
        z: delays of one sample at the frequencies wanted, ``(bins,)``.
        rate_hz: sample rate.

    Returns:
        response, complex ``(frames, bins)``.
    """
    centre = np.minimum(centres_hz, 0.49 * rate_hz)
    radius = np.exp(-np.pi * (50 + 0.04 * centre + 4e-6 * centre**2) / rate_hz)
    b = 2 * radius * np.cos(2 * np.pi * centre / rate_hz)
    c = -(radius**2)
    chain = np.ones((len(centre), len(z)), np.complex128)
    for k in range(centre.shape[1]):
        chain *= (1 - b - c)[:, k, None] / (1 - b[:, k, None] * z - c[:, k, None] * z**2)
    return chain


def _hiss(centre_hz: Track, z: npt.NDArray[np.complex128], rate_hz: int) -> Spectra:
    """A broad peak with zeros at 0 Hz and half the rate, gain 1 at the peak: ``(frames, bins)``."""
    centre = np.minimum(centre_hz, 0.4 * rate_hz)[:, None]
    radius = np.exp(-np.pi * (0.35 * centre + 300) / rate_hz)
    angle = 2 * np.pi * centre / rate_hz

    def response(at: Spectra) -> Spectra:
        return (1 - at**2) / (1 - 2 * radius * np.cos(angle) * at + radius**2 * at**2)

    shaped: Spectra = response(z[None]) / np.abs(response(np.exp(-1j * angle)))
    return shaped
