"""The front end at its edges: odd framings, bad samples, reused buffers, bad configs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ModelError
from model.features import FrontEnd, FrontEndConfig, extract
from tests.simulated import speech_like

SAMPLES = speech_like(1.2, seed=11)
LOG_CONFIG = FrontEndConfig(prefbank="log", remove_dc=True)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_framing_and_chunking_gives_the_same_bits(data: st.DataObject) -> None:
    """Odd frame lengths and hops down to one sample: other FFTs, other strides."""
    length = data.draw(st.integers(2, 600))
    hop = data.draw(st.integers(1, length))
    n_mels = data.draw(st.integers(2, 80))
    config = FrontEndConfig(
        frame_length=length,
        hop_length=hop,
        n_mels=n_mels,
        n_mfcc=data.draw(st.integers(1, n_mels - 1)),
        remove_dc=data.draw(st.booleans()),
        prefbank=data.draw(st.sampled_from(["linear", "log"])),
    )
    samples = SAMPLES[: min(len(SAMPLES), length + 100 * hop)]
    chunk = data.draw(st.integers(max(1, hop // 2), len(samples)))
    front_end = FrontEnd(config)
    parts = [front_end.accept(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    parts.append(front_end.flush())
    np.testing.assert_array_equal(np.concatenate(parts), extract(samples, config))


def test_a_bad_sample_does_not_poison_the_stream() -> None:
    """Only frames that see it, directly or through deltas, may differ."""
    broken = SAMPLES.copy()
    broken[8000] = np.nan
    front_end = FrontEnd(LOG_CONFIG)
    parts = [front_end.accept(broken[i : i + 256]) for i in range(0, len(broken), 256)]
    parts.append(front_end.flush())
    touched = np.flatnonzero((np.concatenate(parts) != extract(SAMPLES, LOG_CONFIG)).any(axis=1))
    first = -(-(8000 - 511) // 256)  # the first frame whose 512 samples include it
    last = 8001 // 256  # pre-emphasis hands it on to the next sample
    assert touched.min() >= first - LOG_CONFIG.look_ahead
    assert touched.max() <= last + LOG_CONFIG.look_ahead


def test_the_callers_buffer_may_be_reused() -> None:
    """Capture callbacks pass the same buffer again and again."""
    front_end = FrontEnd()
    buffer = np.empty(256, np.float32)
    parts = []
    n_samples = len(SAMPLES) // 256 * 256
    for start in range(0, n_samples, 256):
        buffer[:] = SAMPLES[start : start + 256]
        parts.append(front_end.accept(buffer))
        buffer[:] = np.nan
    parts.append(front_end.flush())
    np.testing.assert_array_equal(np.concatenate(parts), extract(SAMPLES[:n_samples]))


@pytest.mark.parametrize(
    "changes",
    [
        {"mel_floor": float("nan")},
        {"energy_floor": float("inf")},
        {"mel_floor": 1e-50},  # zero in float32
        {"frame_length": 512.5},
        {"delta_width": 1.5},
        {"n_mels": "34"},
        {"hop_length": 700},  # longer than the frame
        {"remove_dc": "no"},
        {"bogus": 1},
    ],
)
def test_bad_config_is_refused_when_read(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        FrontEndConfig.from_dict({**FrontEndConfig().to_dict(), **changes})
