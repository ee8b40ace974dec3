"""Parity with independent implementations under matched settings: kaldi-native-fbank, librosa."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.features import FrontEnd, FrontEndConfig, extract
from model.mel import dct_matrix, mel_filters
from tests.simulated import speech_like

SAMPLES = speech_like(2.0, seed=21)
# A noise floor, for relative tolerances: digital silence has no scale.
SAMPLES += 1e-3 * np.random.default_rng(0).standard_normal(len(SAMPLES)).astype(np.float32)
CONFIG = FrontEndConfig(prefbank="log", remove_dc=True)
Array = npt.NDArray[np.float64]


def pre_emphasised(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Over the whole signal; both references do it per frame or not at all."""
    return np.append(samples[:1], samples[1:] - np.float32(0.97) * samples[:-1]).astype(np.float32)


def kaldi_fbank(*, power: bool, log: bool) -> Array:
    knf = pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = 32_000
    options.frame_opts.frame_length_ms = 16
    options.frame_opts.frame_shift_ms = 8
    options.frame_opts.dither = 0
    options.frame_opts.preemph_coeff = 0
    options.frame_opts.remove_dc_offset = True
    options.frame_opts.window_type = "hamming"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 34
    options.mel_opts.low_freq = 0
    options.mel_opts.high_freq = 0  # half the rate
    options.use_power = power
    options.use_log_fbank = log
    online = knf.OnlineFbank(options)
    online.accept_waveform(32_000, pre_emphasised(SAMPLES).tolist())
    online.input_finished()
    return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)]).astype(float)


@pytest.mark.parametrize("power", [False, True])
def test_mel_energies_equal_kaldi(power: bool) -> None:
    """Kaldi, too, draws triangles on the mel axis; it computes in float32."""
    config = FrontEndConfig(
        spectrum="power" if power else "magnitude", remove_dc=True, mel_floor=1e-12
    )
    ours = extract(SAMPLES, config)[:, 39:]
    theirs = kaldi_fbank(power=power, log=False)
    assert ours.shape == theirs.shape
    scale = theirs.max(axis=1, keepdims=True)
    # Kaldi leaves out the bin at half the rate, which the highest filter weighs with 0 anyway.
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=3e-5)


def test_log_mel_energies_equal_kaldi() -> None:
    ours = extract(SAMPLES, CONFIG)[:, 39:]
    theirs = kaldi_fbank(power=False, log=True)
    audible = theirs > np.log(1e-3)  # below, float32 against float64 shows
    assert audible.mean() > 0.5
    np.testing.assert_allclose(ours[audible], theirs[audible], atol=2e-3)


def test_mfcc_equals_librosa() -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    frames = extract(SAMPLES, CONFIG)
    theirs = librosa.feature.mfcc(
        S=frames[:, 39:].T.astype(np.float64), n_mfcc=13, dct_type=2, norm="ortho"
    )
    np.testing.assert_allclose(frames[:, :12], theirs[1:].T, atol=1e-4)


def test_spectrogram_equals_librosa() -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    spectrum = np.abs(
        librosa.stft(
            pre_emphasised(SAMPLES).astype(np.float64),
            n_fft=512,
            hop_length=256,
            window=np.hamming(512),
            center=False,
        )
    )
    mels = librosa.feature.melspectrogram(S=spectrum, n_mels=1)  # only its frame count matters
    config = FrontEndConfig(remove_dc=False)
    ours = extract(SAMPLES, config)
    assert mels.shape[1] == len(ours)
    expected = spectrum.T @ mel_filters(32_000, 512, 34)
    np.testing.assert_allclose(ours[:, 39:], expected, rtol=1e-3)  # pre-emphasis was in float32
    energy = np.log(np.maximum(np.square(spectrum).sum(axis=0), config.energy_floor))
    np.testing.assert_allclose(ours[:, 12], energy, atol=1e-4)


def test_mel_filters_are_librosas_on_a_mel_grid() -> None:
    """librosa draws triangles in Hz, ours are straight in mel: same centres and edges."""
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    theirs = librosa.filters.mel(sr=32_000, n_fft=512, n_mels=34, htk=True, norm=None).T
    ours = mel_filters(32_000, 512, 34)
    assert ours.shape == theirs.shape
    # librosa's HTK constant is 2595 / ln 10 = 1126.99, Voicebox's 1127.01048: edges move by less
    # than a thousandth, so supports agree but for bins that lie right on an edge.
    assert ((ours > 1e-3) == (theirs > 1e-3)).mean() > 0.999
    wide = theirs.sum(axis=0) > 3
    peaks = ours.argmax(axis=0)[wide] - theirs.argmax(axis=0)[wide]
    assert np.abs(peaks).max() <= 1  # a centre halfway between two bins may fall to either
    assert np.abs(ours - theirs).max() < 0.06


def test_deltas_equal_librosa() -> None:
    """librosa's delta is a Savitzky-Golay slope; of order 1 it is the regression."""
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    frames = extract(SAMPLES, CONFIG).astype(np.float64)
    static, deltas, deltas2 = frames[:, :13], frames[:, 13:26], frames[:, 26:39]
    first = librosa.feature.delta(static.T, width=9, order=1, mode="nearest").T
    np.testing.assert_allclose(deltas, first, atol=1e-4)
    second = librosa.feature.delta(deltas.T, width=3, order=1, mode="nearest").T
    np.testing.assert_allclose(deltas2[1:-1], second[1:-1], atol=1e-4)


def test_dct_is_orthonormal() -> None:
    matrix = dct_matrix(34, 33)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(33), atol=1e-12)


def test_front_end_default_is_the_papers() -> None:
    assert FrontEnd().config == FrontEndConfig()
