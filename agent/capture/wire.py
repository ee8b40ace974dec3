"""What a capture worker writes to its pipe, and how the agent reads it.

Two kinds of message follow each other: audio, and a phase of the worker as a JSON object. A header
of fixed size goes before each.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

#: kind, payload bytes, position of the first sample, samples that had arrived, when they had.
_HEADER = struct.Struct("<cxxxIqqd")
_AUDIO, _PHASE = b"A", b"P"

Phase = Literal["opening", "open", "waiting", "ended"]


@dataclass(frozen=True)
class AudioMessage:
    """Samples of the stream that the worker has open.

    Attributes:
        position: of the first sample since the stream was opened, dropped ones counted.
        samples: float32, 1-D, contiguous.
        arrived: samples that the sound system had delivered at ``arrived_s``, dropped ones counted.
        arrived_s: ``time.monotonic()`` of that, the same clock in all processes of a machine.
    """

    position: int
    samples: Samples
    arrived: int
    arrived_s: float


@dataclass(frozen=True)
class PhaseMessage:
    """What the worker is about to do, or what has happened to it.

    Attributes:
        phase: ``opening`` an input; ``open``, with ``name``, ``rate_hz``; ``waiting`` before the
            next attempt, with the ``reason`` why the last one ended, and ``retry_s``; ``ended``
            when nothing more will come, which no sound card ever says.
        details: the values named above.
    """

    phase: Phase
    details: dict[str, Any]


def audio_message(message: AudioMessage) -> bytes:
    """The bytes of an audio message."""
    payload = message.samples.astype("<f4", copy=False).tobytes()
    header = _HEADER.pack(
        _AUDIO, len(payload), message.position, message.arrived, message.arrived_s
    )
    return header + payload


def phase_message(phase: Phase, **details: Any) -> bytes:
    """The bytes of a phase message; ``details`` are JSON-ready."""
    payload = json.dumps({"phase": phase, **details}).encode()
    return _HEADER.pack(_PHASE, len(payload), 0, 0, 0.0) + payload


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, waiting for whoever reads a pipe.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


class MessageReader:
    """Cuts a stream of bytes into messages, however it was chunked."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def accept(self, data: bytes) -> list[AudioMessage | PhaseMessage]:
        """Feed bytes and collect the messages that they complete, oldest first."""
        self._bytes += data
        messages: list[AudioMessage | PhaseMessage] = []
        start = 0
        while len(self._bytes) - start >= _HEADER.size:
            kind, length, position, arrived, arrived_s = _HEADER.unpack_from(self._bytes, start)
            end = start + _HEADER.size + length
            if len(self._bytes) < end:
                break
            payload = bytes(self._bytes[start + _HEADER.size : end])
            if kind == _AUDIO:
                samples = np.frombuffer(payload, "<f4").astype(np.float32, copy=False)
                messages.append(AudioMessage(position, samples, arrived, arrived_s))
            else:
                details = json.loads(payload)
                messages.append(PhaseMessage(details.pop("phase"), details))
            start = end
        del self._bytes[:start]
        return messages
