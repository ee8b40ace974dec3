"""The outlets and the evidence as the configuration wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.config.settings import Config
from agent.live_figures import InputFigures
from agent.loaded_model import LoadedModel
from agent.outlets.context import OutletContext
from agent.outlets.opening import OUTLET_SECTIONS, open_outlet
from agent.outlets.outlet import OutletQueue, Say
from agent.sources import Samples
from model.errors import DevrecError

if TYPE_CHECKING:
    from agent.evidence.recorder import EvidenceRecorder

STOP_S = 1.2  #: outlets may take this long to hand over what waits when they are closed
RETRY_S = 30.0  #: an outlet that cannot be opened is tried again after this long


class ConfiguredOutlets:
    """Keeps an outlet for every section of the configuration that describes one.

    Args:
        say: tells the operator one line.
        figures: the inputs' counters, for the metrics.
    """

    def __init__(self, say: Say, figures: Callable[[], list[InputFigures]]) -> None:
        self._say = say
        self._queues: dict[str, OutletQueue] = {}
        self._opened: dict[str, Any] = {}  # the settings that each one runs with
        self._evidence: EvidenceRecorder | None = None
        self._recorded: dict[str, int] = {}  # rate of the inputs that the recorder knows
        self._config: Config | None = None
        self._model: LoadedModel | None = None
        self._retry_at = float("inf")
        self._context = OutletContext(
            figures=figures,
            queues=lambda: list(self._queues.values()),
            engine=lambda: "" if self._model is None else self._model.engine.description,
            model=lambda: "" if self._model is None else str(self._model.path),
            evidence=lambda: (
                (0, 0) if self._evidence is None else (self._evidence.written, self._evidence.lost)
            ),
        )

    def apply(self, config: Config, model: LoadedModel) -> list[DevrecError]:
        """Open what is new, close what is gone, and leave what is the same alone.

        Returns:
            why outlets could not be opened; :meth:`poll` tries them again.
        """
        self._config, self._model = config, model
        troubles: list[DevrecError] = []
        for section in (*OUTLET_SECTIONS, "evidence"):
            wanted = self._wanted(section, config, model)
            if self._opened.get(section) == wanted:
                continue
            self._close(section)
            if wanted is None:
                continue
            try:
                self._open(section, config, model)
            except DevrecError as error:
                troubles.append(error)
            else:
                self._opened[section] = wanted
        self._retry_at = time.monotonic() + RETRY_S if troubles else float("inf")
        return troubles

    def offer(self, event: Mapping[str, Any]) -> None:
        """Hand an event's JSON object to all; never waits."""
        for queue in self._queues.values():
            queue.offer(event)
        if self._evidence is not None:
            self._evidence.on_event(event)

    def hear(self, name: str, sample_rate_hz: int, position: int, samples: Samples) -> None:
        """Samples of an input, for the evidence; see :data:`agent.input_stream.AudioTap`."""
        if self._evidence is None:
            return
        if self._recorded.get(name) != sample_rate_hz:
            self._recorded[name] = sample_rate_hz
            self._evidence.add_input(name, sample_rate_hz)
        self._evidence.accept(name, position, samples)

    def forget(self, name: str) -> None:
        """An input is not listened to any more."""
        if self._evidence is not None:
            self._evidence.remove_input(name)
        self._recorded.pop(name, None)

    def poll(self) -> None:
        """What is due now and then."""
        if self._evidence is not None:
            self._evidence.poll()
        if time.monotonic() >= self._retry_at and self._config and self._model:
            for trouble in self.apply(self._config, self._model):
                self._say(f"still: {trouble}")

    def begin_close(self, deadline: float) -> None:
        """Take no more events; returns at once."""
        for queue in self._queues.values():
            queue.begin_stop(deadline)

    def close(self, deadline: float) -> None:
        """Hand over what waits and end before ``deadline`` (``time.monotonic()``)."""
        self.begin_close(deadline)
        if self._evidence is not None:
            self._evidence.close(deadline)
        for queue in self._queues.values():
            queue.stop(deadline)

    @staticmethod
    def _wanted(section: str, config: Config, model: LoadedModel) -> Any:
        """The settings of a section, with what else makes it another one."""
        settings = getattr(config, section)
        if settings is None:
            return None
        return settings, model.facts if section == "evidence" else config.agent.name

    def _open(self, section: str, config: Config, model: LoadedModel) -> None:
        if section != "evidence":
            self._queues[section] = open_outlet(section, config, self._say, self._context)
        elif config.evidence is not None:
            from agent.evidence.recorder import EvidenceRecorder

            self._evidence = EvidenceRecorder(config.evidence, model.facts, self._say)

    def _close(self, section: str) -> None:
        self._opened.pop(section, None)
        deadline = time.monotonic() + STOP_S
        queue = self._queues.pop(section, None)
        if queue is not None:
            queue.stop(deadline)
        if section == "evidence" and self._evidence is not None:
            self._evidence.close(deadline)
            self._evidence = None
            self._recorded.clear()
