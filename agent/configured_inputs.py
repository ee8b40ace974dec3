"""The inputs as the configuration wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.capture.supervised_input import Patience, SupervisedInput
from agent.capture.worker_process import CAPTURE_WORKER
from agent.config.settings import Config, InputSection
from agent.file_source import FileSource
from agent.input_stream import AudioTap, EventSink, InputStream
from agent.loaded_model import LoadedModel
from agent.sources import Source
from model.errors import DevrecError


class ConfiguredInputs:
    """Keeps a stream for every input of the configuration.

    Args:
        emit: takes the inputs' events.
        tap: takes all their samples.
        ended: told the name of an input that is not listened to any more.
        fast: read files as fast as they can be read.
        worker: command line of the capture workers.

    Attributes:
        streams: in the order of the configuration.
    """

    def __init__(
        self,
        emit: EventSink,
        tap: AudioTap,
        ended: Callable[[str], None],
        *,
        fast: bool,
        worker: tuple[str, ...] = CAPTURE_WORKER,
    ) -> None:
        self._emit, self._tap, self._ended = emit, tap, ended
        self._fast = fast
        self._worker = worker
        self.streams: list[InputStream] = []
        self._origins: dict[str, tuple[Any, ...]] = {}  # what each stream was opened with
        self._heard_with: tuple[LoadedModel, float] | None = None

    def apply(self, config: Config, model: LoadedModel) -> list[DevrecError]:
        """Open what is new, end what is gone, and leave what is the same alone.

        Returns:
            why inputs could not be opened; one that was open under the same name goes on.
        """
        troubles: list[DevrecError] = []
        running = {stream.name: stream for stream in self.streams}
        streams: list[InputStream] = []
        for entry in config.input:
            stream = running.get(entry.name)
            if stream is None or self._origins[entry.name] != _origin(entry, config):
                try:
                    source = self._open(entry, config)
                except DevrecError as error:
                    troubles.append(error)
                else:
                    stream = self._begin(entry, source, config, model)
            if stream is not None:
                self._update(stream, entry, config, model)
                streams.append(stream)
        for stream in running.values():
            if stream not in streams:
                self._end(stream)
                if stream.name not in [other.name for other in streams]:
                    del self._origins[stream.name]
        self.streams = streams
        self._heard_with = model, config.agent.hop_s
        return troubles

    def close(self) -> None:
        """End all inputs."""
        for stream in self.streams:
            stream.end()
            stream.close()

    def _begin(
        self, entry: InputSection, source: Source, config: Config, model: LoadedModel
    ) -> InputStream:
        self._origins[entry.name] = _origin(entry, config)
        return InputStream(
            entry.name,
            source,
            model.engine.metadata,
            config.agent.hop_s,
            entry.decision or config.decision,
            self._emit,
            self._tap,
            model.facts,
            model.known,
        )

    def _update(
        self, stream: InputStream, entry: InputSection, config: Config, model: LoadedModel
    ) -> None:
        stream.rules = entry.decision or config.decision
        if stream in self.streams and self._heard_with != (model, config.agent.hop_s):
            stream.use(model.engine.metadata, config.agent.hop_s, model.facts, model.known)

    def _end(self, stream: InputStream) -> None:
        stream.end()
        stream.close()
        self._ended(stream.name)

    def _open(self, entry: InputSection, config: Config) -> Source:
        if entry.audio_file is not None:
            return FileSource(entry.audio_file, paced=not self._fast)
        patience = Patience(**config.capture.model_dump())
        return SupervisedInput(entry.device, entry.rate_hz, patience, self._worker)


def _origin(entry: InputSection, config: Config) -> tuple[Any, ...]:
    """What makes an input another one, rather than the same with other rules."""
    if entry.audio_file is not None:
        return (entry.audio_file,)
    return entry.device, entry.rate_hz, config.capture
