"""Live capture: PortAudio's callback fills a ring buffer, the listener empties it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.inputs import InputDevice, portaudio
from agent.ring import RingBuffer
from model.errors import CaptureError

Samples = npt.NDArray[np.float32]

BLOCK_S = 0.02  #: fixed block length; PortAudio's own choice gives ragged blocks
RING_S = 30.0  #: how long the listener may be busy before samples are dropped
SILENT_LIMIT_S = 2.0  #: without a sample for this long the input counts as dead


class Capture:
    """An open input; use as a context manager.

    Args:
        device: which input.
        ring_s: seconds that the ring buffer holds.

    Raises:
        CaptureError: the input cannot be opened.

    Attributes:
        sample_rate_hz: rate of the samples: the device's native one, so that nothing below us
            resamples.

    The callback copies samples into the ring and sets a flag; it never waits for anybody. Losses
    are counted by samples, since PortAudio's own overflow flag is not to be relied on.
    """

    def __init__(self, device: InputDevice, ring_s: float = RING_S) -> None:
        self._sounddevice = portaudio()
        self._device = device
        self.sample_rate_hz = device.native_rate_hz
        self._ring = RingBuffer(round(ring_s * self.sample_rate_hz))
        self._arrived = threading.Event()
        self._ended = threading.Event()
        self._overflows = 0
        self._stream: Any = None
        self._last_arrival = 0.0

    def __enter__(self) -> Capture:
        sounddevice = self._sounddevice
        try:
            self._stream = sounddevice.InputStream(
                device=self._device.index,
                samplerate=self.sample_rate_hz,
                blocksize=round(BLOCK_S * self.sample_rate_hz),
                channels=1,
                dtype="float32",
                callback=self._callback,
                finished_callback=self._finished,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            self.close()
            raise CaptureError(f"input {self._device.name!r} cannot be opened: {error}") from error
        self._last_arrival = time.monotonic()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _callback(self, block: Samples, frames: int, when: object, status: Any) -> None:
        if status.input_overflow:
            self._overflows += 1
        self._ring.write(block[:, 0])
        self._arrived.set()

    def _finished(self) -> None:
        self._ended.set()
        self._arrived.set()

    def read(self, timeout_s: float) -> Samples:
        """All samples that have arrived, waiting for the first for at most ``timeout_s``.

        Returns:
            float32, 1-D, possibly empty.

        Raises:
            CaptureError: the stream has ended, or nothing has arrived for 2 s.
        """
        self._arrived.wait(timeout_s)
        self._arrived.clear()
        samples = self._ring.read(self._ring.written - self._ring.read_count)
        now = time.monotonic()
        if len(samples):
            self._last_arrival = now
            return samples
        name = self._device.name
        if self._ended.is_set():
            raise CaptureError(f"input {name!r} stopped: the device or its sound server went away")
        if now - self._last_arrival > SILENT_LIMIT_S:
            raise CaptureError(
                f"input {name!r} delivers nothing: no sample for {now - self._last_arrival:.1f} s"
            )
        return samples

    @property
    def dropped(self) -> int:
        """Samples that the ring buffer had no room for."""
        return self._ring.dropped

    @property
    def overflows(self) -> int:
        """Times that PortAudio reported an overflow of its own."""
        return self._overflows

    def close(self) -> None:
        """Stop and release the input."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            # abort, not stop: stop waits for a buffer that a dead device never fills.
            stream.abort(ignore_errors=True)
            stream.close(ignore_errors=True)
