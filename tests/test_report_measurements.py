"""What the report measures in a file: facts, spectrogram, long-term spectra, bandwidth."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.report.file_facts import measure_file
from agent.report.spectra import (
    LEVEL_BAND_HZ,
    MOST_COLUMNS,
    FileSpectra,
    SpectraMeter,
    mel_centres_hz,
)
from model.errors import AudioError
from model.features import FrontEndConfig
from model.mel import mel_filters
from tests.simulated import RATE_HZ, record, speech_like

CONFIG = FrontEndConfig(remove_dc=True, prefbank="log")
Samples = npt.NDArray[np.float32]


def spectra_of(samples: Samples, rate_hz: int = RATE_HZ, block: int = 1 << 20) -> FileSpectra:
    meter = SpectraMeter(rate_hz, CONFIG)
    for first in range(0, len(samples), block):
        meter.accept(samples[first : first + block])
    return meter.finish()


def tone(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def written(path: Path, samples: npt.NDArray[np.float32], rate_hz: int = RATE_HZ) -> Path:
    soundfile.write(path, samples, rate_hz)
    return path


@pytest.mark.parametrize("rate_hz", [8000, 22_050, 32_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("hz", [1000.0, 3100.0])
def test_a_tone_is_where_it_should_be(hz: float, rate_hz: int) -> None:
    measured = spectra_of(tone(hz, 2.0, rate_hz), rate_hz)
    picture, long_term = measured.spectrogram, measured.long_term
    assert picture.level_db.max() == 0.0
    rows = picture.first_hz + picture.row_hz * np.arange(len(picture.level_db))
    strongest = rows[picture.level_db.argmax(axis=0)]
    assert np.all(np.abs(strongest - hz) <= picture.row_hz / 2)
    top = rows[-1] + picture.row_hz / 2
    assert abs(top - rate_hz / 2) <= picture.row_hz / 2 + 1e-6
    peak = long_term.centres_hz[long_term.level_db.argmax()]
    assert abs(math.log2(peak / hz)) <= 0.5 / 12 + 1e-9
    centres = measured.mel.centres_hz
    if rate_hz >= RATE_HZ:
        assert centres[measured.mel.mean_log_mel.argmax()] == pytest.approx(hz, rel=0.1)


def test_a_burst_is_when_it_should_be() -> None:
    samples = np.zeros(8 * RATE_HZ, np.float32)
    samples[3 * RATE_HZ : 4 * RATE_HZ] = tone(1000, 1.0)
    picture = spectra_of(samples).spectrogram
    loud = np.flatnonzero(picture.level_db.max(axis=0) > -20)
    assert picture.first_s + picture.column_s * loud[0] == pytest.approx(3.0, abs=0.02)
    assert picture.first_s + picture.column_s * (loud[-1] + 1) == pytest.approx(4.0, abs=0.02)
    assert picture.duration_s == 8.0


def test_long_recordings_stay_small_and_keep_their_times() -> None:
    samples = np.zeros(60 * RATE_HZ, np.float32)
    samples[45 * RATE_HZ : 46 * RATE_HZ] = tone(1000, 1.0)
    picture = spectra_of(samples).spectrogram
    assert MOST_COLUMNS // 2 <= picture.level_db.shape[1] <= MOST_COLUMNS
    loud = np.flatnonzero(picture.level_db.max(axis=0) > -20)
    assert picture.first_s + picture.column_s * loud[0] == pytest.approx(45.0, abs=0.15)


def test_mel_spectrum_is_that_of_the_model() -> None:
    samples = record(speech_like(2.0, seed=3), device=1)
    found = spectra_of(samples).mel.mean_log_mel
    emphasised = samples.astype(np.float64)
    emphasised[1:] -= 0.97 * samples[:-1].astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, 512)[::256]
    centred = frames - frames.mean(axis=1, keepdims=True)
    magnitude = np.abs(np.fft.rfft(centred * np.hamming(512), axis=1))
    log_mel = np.log(magnitude @ mel_filters(RATE_HZ, 512, 34)).mean(axis=0)
    assert found == pytest.approx(log_mel - log_mel.mean(), abs=1e-3)
    assert found.mean() == pytest.approx(0.0, abs=1e-9)


def test_mel_centres_are_the_peaks_of_the_filters() -> None:
    centres = mel_centres_hz(CONFIG)
    fine = mel_filters(CONFIG.sample_rate_hz, 16 * CONFIG.frame_length, CONFIG.n_mels)
    bin_hz = CONFIG.sample_rate_hz / (16 * CONFIG.frame_length)
    assert np.abs(fine.argmax(axis=0) * bin_hz - centres).max() <= bin_hz


def test_level_leaves_the_long_term_spectra_alone() -> None:
    samples = record(speech_like(3.0, seed=4), device=2)
    loud, soft = spectra_of(samples), spectra_of(samples * np.float32(0.1))
    assert soft.long_term.level_db == pytest.approx(loud.long_term.level_db, abs=1e-3)
    assert soft.mel.mean_log_mel == pytest.approx(loud.mel.mean_log_mel, abs=0.01)
    low, high = LEVEL_BAND_HZ
    centres = loud.long_term.centres_hz
    common = loud.long_term.level_db[(centres >= low) & (centres <= high)]
    assert common.mean() == pytest.approx(0.0, abs=1e-9)


def test_white_noise_is_flat() -> None:
    noise = np.random.default_rng(5).standard_normal(20 * RATE_HZ).astype(np.float32) * 0.1
    level = spectra_of(noise).long_term.level_db
    assert np.abs(level).max() < 1.5
    assert np.abs(level[-24:]).max() < 0.4  # two octaves of wide bands


@settings(max_examples=15, deadline=None)
@given(block=st.integers(200, 50_000))
def test_blocks_do_not_matter(block: int) -> None:
    samples = speech_like(1.5, seed=6)
    whole, cut = spectra_of(samples), spectra_of(samples, block=block)
    assert np.array_equal(whole.spectrogram.level_db, cut.spectrogram.level_db)
    assert whole.long_term.level_db == pytest.approx(cut.long_term.level_db, abs=1e-9)
    assert whole.mel.mean_log_mel == pytest.approx(cut.mel.mean_log_mel, abs=1e-9)


def test_facts_of_a_file(tmp_path: Path) -> None:
    samples = tone(1000, 2.0) + np.float32(0.01)
    samples[:64] = 1.0
    path = written(tmp_path / "tone.wav", samples)
    facts = measure_file(path, "a tone", CONFIG).facts
    assert facts.name == "a tone"
    assert facts.size_bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.modified_utc == datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    assert (facts.container, facts.codec, facts.bits) == (
        "WAV (Microsoft)",
        "Signed 16 bit PCM",
        16,
    )
    assert (facts.sample_rate_hz, facts.channels, facts.duration_s) == (RATE_HZ, 1, 2.0)
    assert facts.dc == pytest.approx(0.011, abs=5e-4)
    assert facts.clipped_share == pytest.approx(64 / 64_000)
    assert facts.peak_dbfs == pytest.approx(0.0, abs=1e-3)
    assert facts.level_dbfs == pytest.approx(20 * math.log10(0.3 / math.sqrt(2)), abs=0.1)


def test_facts_of_standard_input_and_of_other_codings(tmp_path: Path) -> None:
    samples = speech_like(1.5, seed=7)
    path = written(tmp_path / "clip.flac", np.stack([samples, samples * 0], axis=1))
    facts = measure_file(path.read_bytes(), "-", CONFIG).facts
    assert facts.modified_utc is None
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (facts.bits, facts.channels) == (16, 2)
    assert facts.level_dbfs > -60  # the first channel, not the mean of both
    facts = measure_file(written(tmp_path / "clip.ogg", samples), "clip.ogg", CONFIG).facts
    assert (facts.codec, facts.bits) == ("Vorbis", None)


@pytest.mark.parametrize("cut_hz", [3400.0, 7000.0])
def test_bandwidth_is_where_the_energy_ends(cut_hz: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(8).standard_normal(4 * RATE_HZ) * 0.05
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / RATE_HZ) > cut_hz] = 0.0
    samples = np.fft.irfft(spectrum).astype(np.float32)
    facts = measure_file(written(tmp_path / "low.wav", samples), "low", CONFIG).facts
    assert facts.bandwidth_hz == pytest.approx(cut_hz, abs=350)
    full = written(tmp_path / "full.wav", noise.astype(np.float32))
    assert measure_file(full, "full", CONFIG).facts.bandwidth_hz == pytest.approx(16_000, rel=0.02)


def test_a_noise_floor_does_not_come_and_go(tmp_path: Path) -> None:
    noise = np.random.default_rng(9).standard_normal(6 * RATE_HZ).astype(np.float32) * 0.001
    even = measure_file(written(tmp_path / "even.wav", noise), "even", CONFIG).facts
    assert even.varying_up_to_hz is None
    low_pass = scipy.signal.firwin(255, 5000, fs=RATE_HZ)
    bursts = np.repeat(np.tile([0.0, 0.3], 12), RATE_HZ // 4)
    voice = np.random.default_rng(10).standard_normal(len(bursts)) * bursts
    speech = scipy.signal.fftconvolve(voice, low_pass, mode="same")[: len(noise)]
    both = (noise + 0.3 * speech).astype(np.float32)
    facts = measure_file(written(tmp_path / "both.wav", both), "both", CONFIG).facts
    assert facts.varying_up_to_hz == pytest.approx(5000, rel=0.1)
    assert facts.bandwidth_hz == pytest.approx(16_000, rel=0.02)


def test_silence_can_be_measured(tmp_path: Path) -> None:
    path = written(tmp_path / "silence.wav", np.zeros(RATE_HZ, np.float32))
    measured = measure_file(path, "silence", CONFIG)
    assert measured.facts.bandwidth_hz is measured.facts.varying_up_to_hz is None
    assert measured.facts.level_dbfs == measured.facts.peak_dbfs == -math.inf
    assert np.isfinite(measured.spectra.spectrogram.level_db).all()
    assert np.isfinite(measured.spectra.long_term.level_db).all()


def test_what_cannot_be_measured_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        measure_file(tmp_path / "none.wav", "none.wav", CONFIG)
    short = written(tmp_path / "short.wav", tone(1000, 0.01))
    with pytest.raises(AudioError, match=r"short\.wav: shorter than one frame"):
        measure_file(short, "short.wav", CONFIG)
    empty = written(tmp_path / "empty.wav", np.zeros(0, np.float32))
    with pytest.raises(AudioError, match="holds no samples"):
        measure_file(empty, "empty.wav", CONFIG)
