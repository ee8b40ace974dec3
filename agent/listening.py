"""The live loop: all inputs polled, their windows scored in one engine call, decisions taken."""

from __future__ import annotations

import select
from collections.abc import Iterator

from agent.input_stream import HeardWindow, InputStream
from agent.known_devices import KnownDevices, built_in_devices
from agent.live_report import LiveReport
from agent.pipeline import score
from export.engine import Engine

LONGEST_WAIT_S = 0.1  #: the view is refreshed and signals are looked at this often


class Listening:
    """Runs any number of inputs through one engine, on the thread that calls :meth:`step`.

    Args:
        engine: the model.
        streams: the inputs.
        known: the devices to score for, the same as the inputs'; the model's own without it.
    """

    def __init__(
        self, engine: Engine, streams: list[InputStream], known: KnownDevices | None = None
    ) -> None:
        self.engine = engine
        self._known = known if known is not None else built_in_devices(engine)
        self.streams = streams

    @property
    def ended(self) -> bool:
        """Whether all inputs have ended; live ones never do."""
        return bool(self.streams) and all(
            stream.figures.state == "ended" for stream in self.streams
        )

    def step(self, longest_wait_s: float = LONGEST_WAIT_S) -> list[LiveReport]:
        """Wait until something is due, and deal with it.

        Returns:
            a report for each window that was scored, in the order of time for each input.

        Raises:
            AudioError: a file is damaged.
        """
        self._wait(longest_wait_s)
        heard = [(stream, window) for stream in self.streams for window in stream.pull()]
        return list(self._take(heard))

    def _wait(self, longest_s: float) -> None:
        due_s = min((stream.due_s() for stream in self.streams), default=longest_s)
        descriptors = [fd for stream in self.streams if (fd := stream.source.fileno()) is not None]
        select.select(descriptors, [], [], min(max(0.0, due_s), longest_s))

    def _take(self, heard: list[tuple[InputStream, HeardWindow]]) -> Iterator[LiveReport]:
        if not heard:
            return
        scored = score(self.engine, self._known, [window.window for _, window in heard])
        for (stream, window), scores in zip(heard, scored, strict=True):
            yield stream.take(window, scores.log_posterior, scores.embedding)
