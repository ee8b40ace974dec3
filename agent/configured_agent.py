"""The running agent as its configuration wants it: engine, inputs, outlets, evidence."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.capture.supervised_input import Patience, SupervisedInput
from agent.capture.worker_process import CAPTURE_WORKER
from agent.config.settings import Config, EvidenceSection, InputSection, names_audio_file
from agent.events import Event, EventStamp
from agent.file_source import FileSource
from agent.input_stream import InputStream
from agent.listening import Listening
from agent.outlets.outlet import OutletQueue, Say
from agent.sources import Samples, Source
from export.engine_choice import choose_engine
from model.builtin import BUILTIN_MODEL
from model.errors import DevrecError, MissingDependencyError

if TYPE_CHECKING:
    from agent.evidence.recorder import EvidenceRecorder
    from export.engine import Engine

OUTLET_SECTIONS = ("jsonl", "mqtt", "prometheus", "hook")
STOP_S = 1.2  #: outlets may take this long to hand over what waits when they are closed

EventWatcher = Callable[[Mapping[str, Any]], None]


class ConfiguredAgent:
    """Everything that a configuration describes, kept as it describes it.

    Args:
        say: tells the operator one line.
        fast: read files as fast as they can be read.
        watchers: also get every event's JSON object, on the listening thread.
        worker: command line of the capture workers, if not the real ones are wanted.

    Attributes:
        listening: the live loop over all inputs.
        config: the configuration in force.

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
        self._fast = fast
        self._watchers = watchers
        self._worker = worker
        self.config: Config | None = None
        self.listening: Listening | None = None
        self._stamp: EventStamp | None = None
        self._run = secrets.token_hex(4)
        self._outlets: dict[str, list[OutletQueue]] = {}
        self._opened: dict[str, Any] = {}  # the settings that each section's outlets run with
        self._evidence: EvidenceRecorder | None = None
        self._recorded: dict[str, int] = {}  # rate of the inputs that the recorder knows
        self._evidence_of: tuple[EvidenceSection | None, dict[str, Any]] | None = None
        self._facts: dict[str, Any] = {}

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._started.engine

    @property
    def streams(self) -> list[InputStream]:
        """The inputs."""
        return self._started.streams

    @property
    def _started(self) -> Listening:
        if self.listening is None:
            raise ValueError("no configuration has been applied yet")
        return self.listening

    def apply(self, config: Config) -> None:
        """Make the running agent what ``config`` describes.

        Raises:
            DevrecError: the model cannot be used: nothing has changed. Or an outlet, a folder or a
                file cannot be opened: everything else has been applied.
        """
        before = self.config
        engine = self._engine_for(config)
        if self._stamp is None or before is None or config.agent.name != before.agent.name:
            self._stamp = EventStamp(config.agent.name, self._run)
            self._run = secrets.token_hex(4)  # for the next one: identities are never used twice
        self.config = config
        troubles: list[DevrecError] = []
        if self.listening is None:
            self.listening = Listening(engine, [])
        self._facts = self._facts_about(engine, config)
        self._apply_outlets(before, config, engine, troubles)
        self._apply_evidence(config, troubles)
        self._apply_inputs(before, config, engine, troubles)
        self.listening.engine = engine
        if troubles:
            for trouble in troubles[1:]:
                self._say(str(trouble))
            raise troubles[0]

    def emit(self, event: Event) -> None:
        """Hand an event to all that want it; never waits."""
        if self._stamp is None:
            return
        stamped = self._stamp.stamp(event)
        for queues in self._outlets.values():
            for queue in queues:
                queue.offer(stamped)
        if self._evidence is not None:
            self._evidence.on_event(stamped)
        for watcher in self._watchers:
            watcher(stamped)

    def poll(self) -> None:
        """What is due now and then; called after each step."""
        if self._evidence is not None:
            self._evidence.poll()

    def close(self, deadline: float) -> None:
        """Hand over the last events and end before ``deadline`` (``time.monotonic()``)."""
        for stream in [] if self.listening is None else self.listening.streams:
            stream.end()
            stream.close()
        queues = [queue for group in self._outlets.values() for queue in group]
        for queue in queues:
            queue.begin_stop(deadline)
        if self._evidence is not None:
            self._evidence.close(deadline)
        for queue in queues:
            queue.stop(deadline)

    # Parts

    def _engine_for(self, config: Config) -> Engine:
        def choice(of: Config) -> tuple[Any, ...]:
            return of.agent.model, of.agent.engine, of.agent.threads

        if self.listening is not None and self.config and choice(self.config) == choice(config):
            return self.listening.engine
        path = config.agent.model or BUILTIN_MODEL
        return choose_engine(path, config.agent.engine, config.agent.threads, self._say)

    def _facts_about(self, engine: Engine, config: Config) -> dict[str, Any]:
        from export.engine import read_model
        from export.sidecar import sha256_of

        path: Path = config.agent.model or BUILTIN_MODEL
        return {
            "model": str(path),
            "model_sha256": sha256_of(read_model(path)),
            "engine": engine.description,
        }

    def _apply_outlets(
        self, before: Config | None, config: Config, engine: Engine, troubles: list[DevrecError]
    ) -> None:
        named_anew = before is not None and before.agent.name != config.agent.name
        for section in OUTLET_SECTIONS:
            wanted = getattr(config, section)
            if self._opened.get(section) == wanted and not named_anew:
                continue
            self._opened[section] = None
            deadline = time.monotonic() + STOP_S
            for queue in self._outlets.pop(section, []):
                queue.stop(deadline)
            if wanted is None:
                continue
            others = {name: None for name in OUTLET_SECTIONS if name != section}
            from agent.outlets.opening import open_outlets  # paho and the rest only when wanted

            alone = config.model_copy(update=others)
            try:
                self._outlets[section] = open_outlets(
                    alone,
                    self._say,
                    lambda: [stream.figures for stream in self.streams],
                    engine=engine.description,
                    model=str(self._facts["model"]),
                    other_queues=lambda: [q for group in self._outlets.values() for q in group],
                )
                self._opened[section] = wanted
            except DevrecError as error:
                troubles.append(error)
            except ModuleNotFoundError as error:
                install = "pip install 'devrec-agent[service]'"
                problem = f"[{section}] needs {error.name}, which is missing: {install}"
                troubles.append(MissingDependencyError(problem))

    def _apply_evidence(self, config: Config, troubles: list[DevrecError]) -> None:
        if self._evidence_of == (config.evidence, self._facts):
            return
        self._evidence_of = None
        if self._evidence is not None:
            self._evidence.close(time.monotonic() + STOP_S)
            self._evidence = None
        self._recorded = {}
        if config.evidence is None:
            return
        from agent.evidence.recorder import EvidenceRecorder

        try:
            self._evidence = EvidenceRecorder(config.evidence, self._facts, self._say)
            self._evidence_of = (config.evidence, self._facts)
        except DevrecError as error:
            troubles.append(error)

    def _apply_inputs(
        self,
        before: Config | None,
        config: Config,
        engine: Engine,
        troubles: list[DevrecError],
    ) -> None:
        listening = self._started
        same_capture = before is not None and before.capture == config.capture
        known = {} if before is None else {entry.name: entry for entry in before.input}
        running = {stream.name: stream for stream in listening.streams}
        streams = []
        for entry in config.input:
            rules = entry.decision or config.decision
            stream = running.get(entry.name)
            if (
                stream is not None
                and same_capture
                and _source_of(known[entry.name]) == _source_of(entry)
            ):
                del running[entry.name]
                stream.rules = rules
                if engine is not listening.engine or (
                    before is not None and before.agent.hop_s != config.agent.hop_s
                ):
                    stream.use(engine.metadata, config.agent.hop_s)
                streams.append(stream)
                continue
            if stream is not None:
                self._end_stream(running.pop(entry.name))
            try:
                source = self._open(entry, config)
            except DevrecError as error:
                troubles.append(error)
                continue
            streams.append(
                InputStream(
                    entry.name,
                    source,
                    engine.metadata,
                    config.agent.hop_s,
                    rules,
                    self.emit,
                    self._tap,
                    {"engine": engine.description, "model_sha256": self._facts["model_sha256"]},
                )
            )
        for stream in running.values():
            self._end_stream(stream)
        listening.streams = streams

    def _end_stream(self, stream: InputStream) -> None:
        stream.end()
        stream.close()
        if self._evidence is not None:
            self._evidence.remove_input(stream.name)
        self._recorded.pop(stream.name, None)

    def _open(self, entry: InputSection, config: Config) -> Source:
        if entry.device is not None and _means_file(entry.device):
            return FileSource(Path(entry.device), paced=not self._fast)
        capture = config.capture
        patience = Patience(
            capture.stall_s,
            capture.restart_s,
            capture.backoff_s,
            capture.backoff_max_s,
            capture.buffer_s,
        )
        return SupervisedInput(entry.device, entry.rate_hz, patience, self._worker)

    def _tap(self, name: str, sample_rate_hz: int, position: int, samples: Samples) -> None:
        if self._evidence is None:
            return
        if self._recorded.get(name) != sample_rate_hz:
            self._recorded[name] = sample_rate_hz
            self._evidence.add_input(name, sample_rate_hz)
        self._evidence.accept(name, position, samples)


def _source_of(entry: InputSection) -> tuple[Any, ...]:
    """What makes an input another one, rather than the same with other rules."""
    return entry.device, entry.rate_hz


def _means_file(device: str) -> bool:
    return names_audio_file(device) or Path(device).is_file()
