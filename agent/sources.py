"""Where samples come from: a live input or a file that plays like one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from model.audio import AudioFile

if TYPE_CHECKING:
    from agent.capture import Capture

Samples = npt.NDArray[np.float32]

BLOCK_S = 0.02  #: length of a block of a paced file, as PortAudio's


class Source(Protocol):
    """A stream of samples that one thread reads.

    Attributes:
        name: what it is, for people.
        sample_rate_hz: rate of the samples.
    """

    name: str
    sample_rate_hz: int

    def read(self, timeout_s: float) -> Samples | None:
        """Samples that have arrived (float32, 1-D), perhaps none after ``timeout_s``; ``None`` at
        the end of the stream.

        Raises:
            CaptureError: the input failed.
            AudioError: the file is damaged.
        """
        ...

    @property
    def dropped(self) -> int:
        """Samples lost because nobody read them in time."""
        ...

    def close(self) -> None:
        """Stop and release."""
        ...


class FileSource:
    """A file as a source: paced in real time, or as fast as it is read.

    Args:
        path: the audio file.
        paced: hand out samples no faster than they would have been recorded.

    Raises:
        AudioError: not a readable audio file.
    """

    def __init__(self, path: Path, *, paced: bool) -> None:
        self._audio = AudioFile(path)
        self.name = str(path)
        self.sample_rate_hz = self._audio.sample_rate_hz
        self._paced = paced
        self._started: float | None = None
        self._block = max(1, round((BLOCK_S if paced else 1.0) * self.sample_rate_hz))

    def read(self, timeout_s: float) -> Samples | None:
        """See :class:`Source`."""
        if self._paced:
            now = time.monotonic()
            if self._started is None:
                self._started = now
            # A block can be handed out when its last sample would have been recorded.
            due = self._started + (self._audio.samples_read + self._block) / self.sample_rate_hz
            if due - now > timeout_s:
                time.sleep(timeout_s)
                return np.zeros(0, np.float32)
            time.sleep(max(0.0, due - now))
        block = self._audio.read(self._block)
        return block if len(block) else None

    @property
    def dropped(self) -> int:
        """A file waits: nothing is ever dropped."""
        return 0

    def close(self) -> None:
        """Close the file."""
        self._audio.close()


class LiveSource:
    """A PortAudio input as a source.

    Args:
        spec: name, part of a name or index of the input; ``None`` for the default.

    Raises:
        CaptureError: unknown or ambiguous input, or it cannot be opened.
    """

    def __init__(self, spec: str | None) -> None:
        from agent.capture import Capture
        from agent.inputs import find_input

        device = find_input(spec)
        self.name = device.name
        self._capture: Capture = Capture(device).__enter__()
        self.sample_rate_hz = self._capture.sample_rate_hz

    def read(self, timeout_s: float) -> Samples | None:
        """See :class:`Source`; a live input has no end."""
        return self._capture.read(timeout_s)

    @property
    def dropped(self) -> int:
        """Samples that the ring buffer had no room for."""
        return self._capture.dropped

    def close(self) -> None:
        """Stop the stream."""
        self._capture.__exit__(None, None, None)


def open_source(spec: str | None, *, fast: bool) -> Source:
    """A file when ``spec`` names one, else a PortAudio input.

    Args:
        spec: path of an audio file, or name or index of an input; ``None`` = default input.
        fast: do not pace a file.

    Raises:
        AudioError, CaptureError: as the sources.
    """
    if spec is not None:
        path = Path(spec)
        # Something with a folder or an audio suffix is meant as a file, also when it is missing.
        if (
            path.is_file()
            or "/" in spec
            or path.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3")
        ):
            return FileSource(path, paced=not fast)
    return LiveSource(spec)
