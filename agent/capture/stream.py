"""An open PortAudio input: the callback fills a ring buffer, the capture worker empties it."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture.inputs import InputDevice, portaudio
from agent.capture.ring import RingBuffer
from agent.capture.wire import AudioMessage
from model.errors import CaptureError

Samples = npt.NDArray[np.float32]

BLOCK_S = 0.02  #: fixed block length; PortAudio's own choice gives ragged blocks
RING_S = 30.0  #: how long the reader may be busy before samples are dropped


class Capture:
    """An open input; use as a context manager.

    Args:
        device: which input.
        rate_hz: rate to open it at; its native one without it, so that nothing below us resamples.
        ring_s: seconds that the ring buffer holds.

    Raises:
        CaptureError: the input cannot be opened.

    Attributes:
        sample_rate_hz: rate of the samples.

    The callback copies samples into the ring and sets a flag; it never waits for anybody. Losses
    are counted by samples, since PortAudio's own overflow flag is not to be relied on.
    """

    def __init__(
        self, device: InputDevice, rate_hz: int | None = None, ring_s: float = RING_S
    ) -> None:
        self._sounddevice = portaudio()
        self._device = device
        self.sample_rate_hz = rate_hz or device.native_rate_hz
        self._ring = RingBuffer(round(ring_s * self.sample_rate_hz))
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._arrived = (0, 0.0)  # replaced as a whole: a reader never sees half of it
        self._stream: Any = None

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
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _callback(self, block: Samples, frames: int, when: object, status: Any) -> None:
        self._ring.write(block[:, 0])
        self._arrived = (self._ring.written + self._ring.dropped, time.monotonic())
        self._woken.set()

    def _finished(self) -> None:
        self._ended.set()
        self._woken.set()

    @property
    def ended(self) -> bool:
        """Whether the stream has stopped by itself: the device or its sound server went away."""
        return self._ended.is_set()

    def read(self, timeout_s: float) -> AudioMessage:
        """The oldest contiguous samples that have arrived, at most a second of them.

        Args:
            timeout_s: how long to wait for the first.

        Returns:
            perhaps without samples, when none arrived in time or the stream has ended.
        """
        if not self._ring.written > self._ring.read_count:
            self._woken.wait(timeout_s)
            self._woken.clear()
        position, samples = self._ring.read(self.sample_rate_hz)
        arrived, arrived_s = self._arrived
        return AudioMessage(position, samples, arrived, arrived_s)

    def close(self) -> None:
        """Stop and release the input."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            # abort, not stop: stop waits for a buffer that a dead device never fills.
            stream.abort(ignore_errors=True)
            stream.close(ignore_errors=True)
