"""The running agent as its configuration wants it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from agent.capture.worker_process import CAPTURE_WORKER
from agent.config.settings import Config
from agent.configured_inputs import ConfiguredInputs
from agent.configured_outlets import ConfiguredOutlets
from agent.events import Event, EventStamp
from agent.input_stream import InputStream
from agent.listening import Listening
from agent.live_report import LiveReport
from agent.loaded_model import LoadedModel, load_model
from agent.outlets.outlet import Say
from export.engine import Engine

EventWatcher = Callable[[Mapping[str, Any]], None]


class ConfiguredAgent:
    """Engine, inputs and outlets, kept as the configuration describes them.

    Args:
        say: tells the operator one line.
        fast: read files as fast as they can be read.
        watchers: also get every event's JSON object, on the listening thread.
        worker: command line of the capture workers, if not the real ones are wanted.

    :meth:`apply` starts what is new in a configuration, stops what is gone and leaves everything
    else alone, so that reading it again loses no sample.
    """

    def __init__(
        self,
        say: Say,
        *,
        fast: bool,
        watchers: list[EventWatcher],
        worker: tuple[str, ...] = CAPTURE_WORKER,
    ) -> None:
        self._say = say
        self._watchers = watchers
        self._config: Config | None = None
        self._model: LoadedModel | None = None
        self._stamp: EventStamp | None = None
        self._listening: Listening | None = None
        self._outlets = ConfiguredOutlets(say, lambda: [s.figures for s in self.streams])
        self._inputs = ConfiguredInputs(
            self._emit, self._outlets.hear, self._outlets.forget, fast=fast, worker=worker
        )

    @property
    def engine(self) -> Engine:
        """The engine in use.

        Raises:
            ValueError: no configuration has been applied yet.
        """
        if self._model is None:
            raise ValueError("no configuration has been applied yet")
        return self._model.engine

    @property
    def hop_s(self) -> float:
        """Seconds between windows."""
        return 0.5 if self._config is None else self._config.agent.hop_s

    @property
    def streams(self) -> list[InputStream]:
        """The inputs."""
        return self._inputs.streams

    @property
    def ended(self) -> bool:
        """Whether all inputs have ended; live ones never do."""
        return self._listening is not None and self._listening.ended

    def prepare(self, config: Config) -> LoadedModel:
        """Load the model of a configuration, if it is another one; may take minutes. Changes
        nothing, so that another thread may call it while the agent listens.

        Raises:
            DevrecError: it cannot be used.
        """
        return load_model(config.agent, self._say, self._model)

    def apply(self, config: Config, model: LoadedModel) -> None:
        """Make the running agent what the configuration describes.

        Args:
            config: the configuration.
            model: what :meth:`prepare` made of it.

        Raises:
            DevrecError: inputs or outlets could not be opened; everything else has been applied,
                and outlets are tried again later.
        """
        if self._config is None or config.agent.name != self._config.agent.name:
            self._stamp = EventStamp(config.agent.name, secrets.token_hex(4))
        self._config, self._model = config, model
        troubles = self._outlets.apply(config, model)
        troubles += self._inputs.apply(config, model)
        self._listening = Listening(model.engine, self._inputs.streams, model.known)
        for trouble in troubles[1:]:
            self._say(str(trouble))
        if troubles:
            raise troubles[0]

    def step(self) -> list[LiveReport]:
        """Wait until something is due, for a moment at most, and deal with it.

        Raises:
            AudioError: a file is damaged.
        """
        if self._listening is None:
            raise ValueError("no configuration has been applied yet")
        reports = self._listening.step()
        self._outlets.poll()
        return reports

    def close(self, deadline: float) -> None:
        """Hand over the last events and end before ``deadline`` (``time.monotonic()``)."""
        self._inputs.close()
        self._outlets.close(deadline)

    def _emit(self, event: Event) -> None:
        """Hand an event to all that want it; never waits."""
        if self._stamp is None:
            return
        stamped = self._stamp.stamp(event)
        self._outlets.offer(stamped)
        for watcher in self._watchers:
            watcher(stamped)
