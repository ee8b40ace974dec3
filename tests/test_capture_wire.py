"""Messages of the capture worker survive any chunking."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.wire import (
    AudioMessage,
    MessageReader,
    PhaseMessage,
    audio_message,
    phase_message,
)


@given(
    sizes=st.lists(st.integers(0, 500), max_size=8),
    cuts=st.lists(st.integers(0, 20_000), max_size=20),
)
def test_any_chunking(sizes: list[int], cuts: list[int]) -> None:
    rng = np.random.default_rng(0)
    sent: list[AudioMessage | PhaseMessage] = []
    data = b""
    for number, size in enumerate(sizes):
        audio = AudioMessage(number, rng.standard_normal(size).astype(np.float32), 7, 1.5 + number)
        phase = PhaseMessage("waiting", {"reason": f"Mikrofon weg, {number} ß", "retry_s": 0.5})
        sent += [audio, phase]
        data += audio_message(audio) + phase_message(phase.phase, **phase.details)
    reader = MessageReader()
    received: list[AudioMessage | PhaseMessage] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        received += reader.accept(data[start:end])
    assert len(received) == len(sent)
    for ours, reference in zip(received, sent, strict=True):
        if isinstance(reference, AudioMessage):
            assert isinstance(ours, AudioMessage)
            np.testing.assert_array_equal(ours.samples, reference.samples)
            assert (ours.position, ours.arrived, ours.arrived_s) == (
                reference.position,
                reference.arrived,
                reference.arrived_s,
            )
        else:
            assert ours == reference
