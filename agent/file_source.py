"""An audio file that plays like a live input."""

from __future__ import annotations

import time
from pathlib import Path

from agent.sources import Audio, SourceItem, SourceState, StateChange, plausible
from model.audio import AudioFile
from model.errors import AudioError

PACED_BLOCK_S = 0.02  #: as PortAudio's blocks
FAST_BLOCK_S = 1.0


class FileSource:
    """A file as a source: paced in real time, or as fast as it is read.

    Args:
        path: the audio file.
        paced: hand out samples no faster than they would have been recorded.

    Raises:
        AudioError: not a readable audio file.
    """

    live = False

    def __init__(self, path: Path, *, paced: bool) -> None:
        below = path.is_relative_to(Path.cwd())
        self.name = str(path.relative_to(Path.cwd()) if below else path)
        self._audio = AudioFile(path, self.name)
        self.state: SourceState = "starting"
        self._rate = self._audio.sample_rate_hz
        self._paced = paced
        self._started = time.monotonic()
        self._block = max(1, round((PACED_BLOCK_S if paced else FAST_BLOCK_S) * self._rate))

    def poll(self) -> list[SourceItem]:
        """See :class:`agent.sources.Source`.

        Raises:
            AudioError: the file is damaged or holds samples that are not numbers.
        """
        items: list[SourceItem] = []
        if self.state == "ended":
            return items
        if self.state == "starting":
            # The clock starts when somebody listens.
            self._started = time.monotonic()
            items.append(self._changed("running"))
        while self.due_s() <= 0:
            position = self._audio.samples_read
            block = self._audio.read(self._block)
            if not len(block):
                items.append(self._changed("ended"))
                break
            if not plausible(block):
                raise AudioError(f"{self.name}: samples that are not numbers, or absurdly large")
            items.append(Audio(position, block, self._rate))
            if not self._paced:
                break  # block by block: a whole file at once would not fit every memory
        return items

    def _changed(self, state: SourceState) -> StateChange:
        self.state = state
        return StateChange(state, None, time.monotonic(), self._rate)

    def fileno(self) -> int | None:
        """None: a file is always readable."""
        return None

    def due_s(self) -> float:
        """A block is due when its last sample would have been recorded."""
        if self.state == "starting" or not self._paced:
            return 0.0
        if self.state == "ended":
            return float("inf")
        end = (self._audio.samples_read + self._block) / self._rate
        return self._started + end - time.monotonic()

    def heard_at(self, position: int) -> float:
        """As if the file had been recorded while it plays."""
        if not self._paced:
            return time.monotonic()
        return self._started + position / self._rate

    def close(self) -> None:
        """Close the file."""
        self._audio.close()
