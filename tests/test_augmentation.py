"""Augmentations: what every one keeps, and that each does what its attributes say."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from model.augmentation import codec as codecs
from model.augmentation import noise as noises
from model.augmentation.augmentation import Augmentation, Chain, OneOf, Samples, fitted, rms
from model.augmentation.bandwidth import BandLimit, Resampling
from model.augmentation.codec import FFMPEG, SNDFILE, Codec, through_ffmpeg, through_sndfile
from model.augmentation.denoising import SpectralSubtraction
from model.augmentation.gaps import Gaps
from model.augmentation.level import AutomaticGain, Clipping, Gain
from model.augmentation.noise import Babble, ColouredNoise, Crackle, MainsHum, coloured_noise
from model.augmentation.recipe import AUGMENTATIONS, FFMPEG_CODECS, check_names, recipe
from model.augmentation.reverberation import Reverberation, room_response
from model.errors import DevrecError, MissingDependencyError, UsageError
from tests.simulated import RATE_HZ, speech_like

FRAME = 512  #: samples of the shortest clip that gives any features

ALL: dict[str, Augmentation] = {
    **{name: augmentation for name, (_, augmentation) in AUGMENTATIONS.items()},
    "babble": Babble(),
    "automatic gain": AutomaticGain(),
    "mains hum": MainsHum(),
    "crackle": Crackle(),
    "noise suppression": SpectralSubtraction(),
    "everything": recipe(["all"]),
}


@pytest.fixture(scope="module", autouse=True)
def few_voices() -> Iterator[None]:
    """Babble of a few short voices: making the real ones takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noises, "VOICES", 3)
        patch.setattr(noises, "VOICE_SECONDS", 0.5)
        noises._synthetic_voices.cache_clear()
        yield
    noises._synthetic_voices.cache_clear()


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def white(seconds: float, level: float = 0.05, seed: int = 7) -> Samples:
    noise = generator(seed).standard_normal(round(seconds * RATE_HZ))
    return (level * noise).astype(np.float32)


@st.composite
def clips(draw: st.DrawFn) -> Samples:
    """Short clips of any length from one frame up, silent to full scale, clipped ones too."""
    n_samples = draw(st.one_of(st.integers(FRAME, FRAME + 3), st.integers(FRAME, 5000)))
    peak = draw(st.sampled_from([0.0, 1e-4, 0.3, 1.0, 4.0]))
    noise = generator(n_samples).standard_normal(n_samples)
    return np.clip(peak * noise / np.abs(noise).max(), -1, 1).astype(np.float32)


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=10)
@given(samples=clips(), seed=st.integers(0, 2**32 - 1))
def test_what_every_augmentation_keeps(name: str, samples: Samples, seed: int) -> None:
    before = samples.copy()
    changed = ALL[name](samples, RATE_HZ, generator(seed))
    assert changed.shape == samples.shape
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 1.0
    np.testing.assert_array_equal(samples, before)
    np.testing.assert_array_equal(changed, ALL[name](samples, RATE_HZ, generator(seed)))


@pytest.mark.parametrize("name", sorted(set(ALL) - {"everything"}))
def test_every_augmentation_changes_speech(name: str) -> None:
    samples = speech_like(0.5, 0)
    assert not np.array_equal(ALL[name](samples, RATE_HZ, generator()), samples)


class Recorder:
    """A generator that keeps every single number drawn from it (arrays are noise)."""

    def __init__(self, seed: int) -> None:
        self._rng = generator(seed)
        self.drawn: list[object] = []

    def __getattr__(self, name: str) -> object:
        method = getattr(self._rng, name)

        def keep(*arguments: object, **named: object) -> object:
            value = method(*arguments, **named)
            if np.ndim(value) == 0:
                self.drawn.append((name, value.item() if hasattr(value, "item") else value))
            return value

        return keep


@pytest.mark.parametrize("name", sorted(set(ALL) - {"everything", "gaps", "crackle"}))
def test_conditions_do_not_depend_on_the_length(name: str) -> None:
    """All clips of a device, however long, go through the same conditions."""
    for seed in range(5):
        short, long = Recorder(seed), Recorder(seed)
        ALL[name](speech_like(0.3, 0), RATE_HZ, short)  # type: ignore[arg-type]
        ALL[name](speech_like(0.7, 0), RATE_HZ, long)  # type: ignore[arg-type]
        assert short.drawn == long.drawn


@dataclass(frozen=True)
class Spy:
    """Draws a condition, then as much noise as there are samples."""

    drawn: list[float] = field(default_factory=list)

    def __call__(self, samples: Samples, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
        self.drawn.append(float(rng.random()))
        rng.standard_normal(len(samples))
        return samples


def test_a_chain_goes_through_the_same_conditions_for_every_length() -> None:
    picked = []
    for n_samples in (FRAME, 999, 12_345):
        spies = [Spy(), Spy(), Spy()]
        chain = Chain([(0.5, spies[0]), (1.0, spies[1]), (0.5, spies[2])])
        for seed in range(20):
            chain(np.zeros(n_samples, np.float32), RATE_HZ, generator(seed))
        picked.append([spy.drawn for spy in spies])
    assert picked[0] == picked[1] == picked[2]
    assert [len(drawn) for drawn in picked[0]][1] == 20
    assert 0 < len(picked[0][0]) < 20


def test_chances() -> None:
    often, rarely, never = Spy(), Spy(), Spy()
    silence = np.zeros(4, np.float32)
    for seed in range(400):
        OneOf([(3.0, often), (1.0, rarely), (0.0, never)])(silence, RATE_HZ, generator(seed))
        Chain([(0.0, never)])(silence, RATE_HZ, generator(seed))
    assert not never.drawn
    assert len(often.drawn) + len(rarely.drawn) == 400
    assert len(rarely.drawn) == pytest.approx(100, abs=35)  # four standard deviations


def test_recipe() -> None:
    samples = white(0.1)
    assert recipe([])(samples, RATE_HZ, generator()) is samples
    assert len(recipe(["all"]).steps) == len(AUGMENTATIONS)
    assert recipe(["codec", "noise"]).steps == [AUGMENTATIONS["noise"], AUGMENTATIONS["codec"]]
    with pytest.raises(UsageError, match="unknown augmentation none, nose; there are: reverb"):
        recipe(["nose", "noise", "none"])


@pytest.fixture
def all_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ffmpeg that has them all."""
    encoders = frozenset(encoder for encoder, _, _ in FFMPEG.values())
    monkeypatch.setattr(codecs, "ffmpeg_encoders", lambda: encoders)


def codecs_in(names: list[str]) -> set[str]:
    """Codecs of a recipe."""
    steps = [step for _, step in recipe(names).steps]
    return {name for step in steps if isinstance(step, Codec) for name in step.names}


@pytest.mark.usefixtures("all_encoders")
def test_codecs_of_ffmpeg_are_for_those_who_name_them() -> None:
    assert not codecs_in(["all"]) & set(FFMPEG)
    assert not codecs_in(list(AUGMENTATIONS)) & set(FFMPEG)
    for name, step in FFMPEG_CODECS.items():
        assert recipe([name]).steps == [step]
        assert recipe([name, "all"]).steps == [*AUGMENTATIONS.values(), step]
        assert recipe([name, "gaps", "noise"]).steps == [
            AUGMENTATIONS["noise"], AUGMENTATIONS["gaps"], step
        ]  # fmt: skip
        assert set(step[1].names) <= set(FFMPEG)
    both = recipe(["calls", "all", "aac"])
    assert both.steps == [*AUGMENTATIONS.values(), *FFMPEG_CODECS.values()]
    with pytest.raises(UsageError, match=r"there are: .*gaps, aac, calls, all$"):
        recipe(["nose"])


@pytest.mark.parametrize(
    ("there", "names", "absent"),
    [
        ((), ["aac"], "aac"),
        (("aac",), ["all", "calls", "aac"], "amr-nb, amr-wb, g722, speex"),
        (("aac", "g722", "libspeex"), ["calls"], "amr-nb, amr-wb"),
    ],
)
def test_without_its_encoder_an_augmentation_is_refused(
    there: tuple[str, ...], names: list[str], absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "ffmpeg_encoders", lambda: frozenset(there))
    for refused in (check_names, recipe):
        with pytest.raises(MissingDependencyError, match=f"augmentation with {absent} needs an ff"):
            refused(names)
    check_names(["all", "telephone", "codec"])
    if "aac" in there:
        assert codecs_in(["aac"]) == {"aac"}


@settings(max_examples=30)
@given(st.integers(0, 20), st.integers(1, 20))
def test_fitted(n_samples: int, wanted: int) -> None:
    samples = np.arange(1, n_samples + 1, dtype=np.float32)
    result = fitted(samples, wanted)
    kept = min(n_samples, wanted)
    assert len(result) == wanted
    np.testing.assert_array_equal(result[:kept], samples[:kept])
    assert not result[kept:].any()


# Noise


@pytest.mark.parametrize("snr_db", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_has_the_snr_asked_for(snr_db: float, exponent: float) -> None:
    samples = speech_like(1.0, 3) / 4
    noisy = ColouredNoise(snr_db, snr_db, exponent, exponent)(samples, RATE_HZ, generator())
    assert 20 * np.log10(rms(samples) / rms(noisy - samples)) == pytest.approx(snr_db, abs=0.2)


@pytest.mark.parametrize("kind", [Babble, MainsHum])
def test_other_noises_have_the_snr_asked_for(kind: type[Babble] | type[MainsHum]) -> None:
    samples = speech_like(1.0, 3) / 4
    noisy = kind(15, 15)(samples, RATE_HZ, generator())
    assert 20 * np.log10(rms(samples) / rms(noisy - samples)) == pytest.approx(15, abs=0.2)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_has_the_slope_asked_for(exponent: float) -> None:
    noise = coloured_noise(1 << 18, exponent, generator())
    assert rms(noise) == pytest.approx(1.0, abs=1e-3)
    frequency, power = scipy.signal.welch(noise, RATE_HZ, nperseg=4096)
    inside = (frequency > 100) & (frequency < 12_000)
    slope, _ = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_hum_is_of_the_mains_and_its_harmonics() -> None:
    samples = white(2.0, level=0.01)
    hum = MainsHum(0, 0)(samples, RATE_HZ, generator()) - samples
    spectrum = np.abs(np.fft.rfft(hum * np.hanning(len(hum)))) ** 2
    frequency = np.fft.rfftfreq(len(hum), 1 / RATE_HZ)
    near = [
        sum(spectrum[np.abs(frequency - base * k) <= 2].sum() for k in range(1, 21))
        for base in (50, 60)
    ]
    assert max(near) > 0.999 * spectrum.sum()


def test_crackle_leaves_most_samples_alone() -> None:
    samples = speech_like(2.0, 1)
    changed = Crackle(5, 5)(samples, RATE_HZ, generator())
    assert 0 < (changed != samples).mean() < 0.2


# Level


@pytest.mark.parametrize("gain_db", [-20.0, -3.0, 6.0])
def test_gain(gain_db: float) -> None:
    samples = speech_like(0.5, 2) / 10
    changed = Gain(gain_db, gain_db)(samples, RATE_HZ, generator())
    assert 20 * np.log10(rms(changed) / rms(samples)) == pytest.approx(gain_db, abs=0.05)
    steps = changed * 32768
    np.testing.assert_array_equal(steps, np.round(steps))  # as a file of 16 bits holds it


def test_no_gain_makes_a_loud_clip_louder() -> None:
    samples = white(0.5, level=0.2)
    changed = Gain(12, 12)(samples, RATE_HZ, generator())
    assert rms(changed) == pytest.approx(rms(samples), rel=1e-3)


def test_clipping_clips_the_share_asked_for() -> None:
    samples = white(1.0, level=0.1)
    for seed in range(4):
        changed = np.abs(Clipping(0.05, 0.05)(samples, RATE_HZ, generator(seed)))
        assert (changed >= 0.9999 * changed.max()).mean() == pytest.approx(0.05, abs=0.001)


def test_automatic_gain_evens_the_level() -> None:
    samples = np.concatenate([white(0.5, level=0.01), white(0.5, level=0.1)])
    changed = AutomaticGain()(samples, RATE_HZ, generator())
    quiet, loud = rms(changed[: len(samples) // 2]), rms(changed[len(samples) // 2 :])
    assert loud / quiet < 7


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_gaps_take_the_share_asked_for(share: float) -> None:
    samples = white(10.0)
    torn = Gaps(share, share, 0.005, 0.02)(samples, RATE_HZ, generator())
    # Gaps that overlap take less, the last one up to 20 ms more.
    assert 0.93 * share - share**2 / 2 < (torn == 0).mean() < share + 0.002
    kept = torn != 0
    np.testing.assert_array_equal(torn[kept], samples[kept])


# Bandwidth and rooms


def band_level_db(changed: Samples, samples: Samples, low_hz: float, high_hz: float) -> float:
    """Power of a band after a change, over before."""
    frequency = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    inside = (frequency >= low_hz) & (frequency < high_hz)
    window = np.hanning(len(samples))
    after, before = (np.abs(np.fft.rfft(x * window)[inside]) ** 2 for x in (changed, samples))
    return float(10 * np.log10(after.sum() / before.sum()))


@pytest.mark.parametrize("seed", range(4))
def test_band_limits_limit(seed: int) -> None:
    samples = white(1.0)
    limit = BandLimit((4000, 4000), (400, 400), 1.0)
    changed = limit(samples, RATE_HZ, generator(seed))
    assert band_level_db(changed, samples, 8000, 16_000) < -12
    assert band_level_db(changed, samples, 1500, 2000) == pytest.approx(0, abs=0.6)
    assert band_level_db(changed, samples, 20, 100) < -11
    low_pass_only = BandLimit((4000, 4000), (400, 400), 0.0)(samples, RATE_HZ, generator(seed))
    assert band_level_db(low_pass_only, samples, 20, 100) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("rate_hz", Resampling().rates_hz)
def test_resampling_keeps_the_low_band(rate_hz: int) -> None:
    samples = white(1.0)
    for seed in range(4):  # of all qualities
        changed = Resampling((rate_hz,))(samples, RATE_HZ, generator(seed))
        kept = min(0.35 * rate_hz, 0.35 * RATE_HZ)
        lost = changed - samples
        assert band_level_db(lost, samples, 0, kept) < -40
        if rate_hz < RATE_HZ:
            assert band_level_db(changed, samples, 0.56 * rate_hz, 16_000) < -40


@pytest.mark.parametrize(("rt60_s", "drr_db"), [(0.2, 10.0), (0.6, 0.0), (1.0, -3.0)])
def test_rooms_ring_as_long_and_as_loud_as_asked(rt60_s: float, drr_db: float) -> None:
    for seed in range(3):
        response = room_response(RATE_HZ, rt60_s, drr_db, generator(seed)).astype(np.float64)
        assert response[0] == 1.0
        assert -10 * np.log10((response[1:] ** 2).sum()) == pytest.approx(drr_db, abs=0.01)
        # Schroeder's backward integral of the octave around 1 kHz, from 5 to 25 dB down.
        sos = scipy.signal.butter(2, [707, 1414], "bandpass", fs=RATE_HZ, output="sos")
        tail = scipy.signal.sosfilt(sos, response)[round(0.035 * RATE_HZ) :]
        decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])
        decay_db -= decay_db[0]
        inside = (decay_db < -5) & (decay_db > -25)
        slope, _ = np.polyfit(np.flatnonzero(inside) / RATE_HZ, decay_db[inside], 1)
        assert -60 / slope == pytest.approx(rt60_s, rel=0.3)


def test_a_room_keeps_the_level() -> None:
    samples = speech_like(1.0, 0) / 4
    assert rms(Reverberation()(samples, RATE_HZ, generator())) == pytest.approx(
        rms(samples), rel=1e-3
    )


def test_noise_suppression_takes_the_noise_between_words() -> None:
    speech = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), speech_like(0.5, 1)])
    noisy = speech + white(1.0, level=0.002)
    cleaned = SpectralSubtraction()(noisy, RATE_HZ, generator())
    quiet = slice(1000, RATE_HZ // 2 - 1000)
    assert rms(cleaned[quiet]) < 0.7 * rms(noisy[quiet])
    assert rms(cleaned[RATE_HZ // 2 :]) == pytest.approx(rms(speech[RATE_HZ // 2 :]), rel=0.1)


# Codecs

CODEC_RATES = [(name, rate) for name, form in SNDFILE.items() for rate in form.rates_hz]


def tone(n_samples: int, peak: float = 0.3) -> Samples:
    return (peak * np.sin(2 * np.pi * 440 * np.arange(n_samples) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(("name", "rate_hz"), CODEC_RATES)
@settings(deadline=None, max_examples=12)
@given(
    n_samples=st.one_of(st.just(FRAME), st.integers(FRAME, 3000)),
    quality=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    peak=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_codecs_take_short_clips_and_silence(
    name: str, rate_hz: int, n_samples: int, quality: float, peak: float
) -> None:
    samples = tone(n_samples, peak)
    decoded = through_sndfile(samples, RATE_HZ, name, rate_hz, quality)
    assert decoded.shape == samples.shape
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max() <= 1.0
    if peak == 0:
        assert np.abs(decoded).max() < 0.01


@pytest.mark.parametrize(("name", "rate_hz"), CODEC_RATES)
def test_codecs_round_trip(name: str, rate_hz: int) -> None:
    samples = tone(RATE_HZ)
    for quality in (0.0, 0.5, 1.0):
        decoded = through_sndfile(samples, RATE_HZ, name, rate_hz, quality)
        assert np.corrcoef(decoded, samples)[0, 1] > 0.95


@pytest.mark.parametrize("name", SNDFILE)
def test_codecs_clip_what_is_beyond_full_scale(name: str) -> None:
    """Telephone codecs of libsndfile give garbage above full scale, which resampling overshoots."""
    loud = np.sign(tone(RATE_HZ))
    decoded = through_sndfile(loud, RATE_HZ, name, 8_000, 0.5)
    assert np.corrcoef(decoded, loud)[0, 1] > 0.9


def test_a_lower_quality_loses_more() -> None:
    samples = speech_like(1.0, 0)
    for name in ("mp3", "vorbis", "opus"):
        lost = [
            rms(through_sndfile(samples, RATE_HZ, name, None, quality) - samples)
            for quality in (0.05, 0.95)
        ]
        assert lost[0] > lost[1]


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 60))
def test_nearest_rate(rates: list[int], wanted: int) -> None:
    rate = codecs.nearest_rate(tuple(rates), wanted)
    assert rate in rates
    assert rate == max(rates) or rate >= wanted
    assert not [other for other in rates if wanted <= other < rate]


@pytest.mark.parametrize("name", FFMPEG)
def test_codecs_of_ffmpeg(name: str) -> None:
    if not codecs.ffmpeg_encoders():
        pytest.skip("ffmpeg is not installed")
    if not codecs.has_codec(name):
        pytest.skip(f"this ffmpeg lacks the encoder {FFMPEG[name][0]}")
    for rate_hz in FFMPEG[name][2][:2]:
        for n_samples, peak in ((FRAME, 0.3), (FRAME + 1, 0.0), (RATE_HZ, 0.3)):
            samples = tone(n_samples, peak)
            decoded = through_ffmpeg(samples, RATE_HZ, name, rate_hz, None)
            assert decoded.shape == samples.shape
            assert decoded.dtype == np.float32
            assert np.abs(decoded).max() <= (1.0 if peak else 0.01)
    assert 0.5 < rms(decoded) / rms(samples) < 1.2  # speech codecs are no friends of tones
    augmented = Codec((name,))(samples, RATE_HZ, generator())
    assert augmented.shape == samples.shape


@pytest.fixture
def other_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that programs are looked for in, and nowhere else."""
    monkeypatch.setenv("PATH", str(tmp_path))
    codecs.ffmpeg_encoders.cache_clear()
    yield tmp_path
    codecs.ffmpeg_encoders.cache_clear()


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("script", [None, "echo ' A....D pcm_s16le  PCM signed 16-bit'"])
def test_without_the_encoder_there_is_one_clear_error(
    other_ffmpeg: Path, script: str | None
) -> None:
    if script is not None:
        write_program(other_ffmpeg / "ffmpeg", script)
        assert "pcm_s16le" in codecs.ffmpeg_encoders()
    assert not codecs.has_codec("aac")
    assert codecs.has_codec("mp3")
    with pytest.raises(MissingDependencyError) as caught:
        through_ffmpeg(tone(FRAME), RATE_HZ, "aac", None, None)
    assert caught.value.lines == ("codec aac needs ffmpeg with the encoder aac",)


def test_a_failing_ffmpeg_is_one_line(other_ffmpeg: Path) -> None:
    write_program(
        other_ffmpeg / "ffmpeg",
        'case "$*" in *encoders*) echo " A..... aac AAC"; exit 0;; esac\n'
        "echo first >&2; echo cannot encode >&2; exit 1",
    )
    with pytest.raises(DevrecError, match=r"^ffmpeg failed on aac: cannot encode$"):
        through_ffmpeg(tone(FRAME), RATE_HZ, "aac", None, None)
