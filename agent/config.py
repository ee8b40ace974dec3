"""The agent's configuration: every setting, its type, its range and its default."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.events import ALARMS, EventKind

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Probability = Annotated[float, Field(ge=0, le=1)]
Megabytes = Annotated[int, Field(ge=1, le=1_000_000)]
#: Goes into topics, labels and file names.
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class Section(BaseModel):
    """A table of the file: typed, no unknown keys, read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentSection(Section):
    """The agent as a whole."""

    name: Name = Field(default_factory=lambda: platform.node()[:64] or "agent")
    model: Path | None = None
    engine: Literal["auto", "onnx", "tensorrt"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    hop_s: Annotated[float, Field(ge=0.008, le=60)] = 0.5


class CaptureSection(Section):
    """How long an input may be silent or gone, and how it is reopened."""

    stall_s: Annotated[float, Field(ge=0.1, le=60)] = 0.6
    restart_s: Annotated[float, Field(ge=0.2, le=600)] = 1.5
    backoff_s: Annotated[float, Field(ge=0.05, le=60)] = 0.25
    backoff_max_s: Annotated[float, Field(ge=0.05, le=600)] = 1.0
    buffer_s: Annotated[float, Field(ge=1, le=600)] = 30.0

    @model_validator(mode="after")
    def _ordered(self) -> CaptureSection:
        if self.restart_s < self.stall_s:
            raise ValueError("restart_s must not be below stall_s")
        if self.backoff_max_s < self.backoff_s:
            raise ValueError("backoff_max_s must not be below backoff_s")
        return self


class DecisionSection(Section):
    """When evidence becomes an event."""

    memory_s: Seconds = 3.0
    enter: Probability = 0.7
    leave: Probability = 0.4
    patience_s: Annotated[float, Field(ge=0, le=3600)] = 1.5
    unknown_after_s: Seconds = 8.0
    silence_dbfs: Annotated[float, Field(ge=-200, le=0)] = -70.0
    silence_after_s: Seconds = 3.0

    @model_validator(mode="after")
    def _hysteresis(self) -> DecisionSection:
        if self.leave > self.enter:
            raise ValueError("leave must not be above enter")
        return self


class InputSection(Section):
    """One input. ``device`` as in ``devrec-agent devices``, or an audio file; the default input
    without it."""

    name: Name
    device: str | None = None
    rate_hz: Annotated[int, Field(ge=2_000, le=768_000)] | None = None
    decision: DecisionSection | None = None


class JsonLinesSection(Section):
    """A file with one JSON object a line, rotated."""

    path: Path
    max_mb: Megabytes = 16
    keep: Annotated[int, Field(ge=0, le=1000)] = 5


class MqttSection(Section):
    """An MQTT broker. Credentials come from a file: user name on the first line, password on the
    second."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: bool = True
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    credentials_file: Path | None = None
    topic: Annotated[str, Field(min_length=1, pattern=r"^[^#+\0]+$")] = "devrec-agent"
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    late_after_s: Seconds = 5.0
    spool: Path | None = None
    spool_max_mb: Megabytes = 64


class PrometheusSection(Section):
    """The metrics endpoint."""

    address: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9419


class HookSection(Section):
    """A program run for events, without a shell; the event comes as JSON on its standard input."""

    command: Annotated[list[str], Field(min_length=1)]
    events: tuple[EventKind, ...] = ALARMS
    timeout_s: Seconds = 10.0


class EvidenceSection(Section):
    """Audio kept around events."""

    folder: Path
    before_s: Annotated[float, Field(ge=0, le=600)] = 10.0
    after_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    quota_mb: Megabytes = 512
    events: tuple[EventKind, ...] = ("device_identified", "device_changed", "unknown")


class Config(Section):
    """The whole configuration."""

    agent: AgentSection = Field(default_factory=AgentSection)
    capture: CaptureSection = Field(default_factory=CaptureSection)
    decision: DecisionSection = Field(default_factory=DecisionSection)
    input: tuple[InputSection, ...] = ()
    jsonl: JsonLinesSection | None = None
    mqtt: MqttSection | None = None
    prometheus: PrometheusSection | None = None
    hook: HookSection | None = None
    evidence: EvidenceSection | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [entry.name for entry in self.input]
        if len(set(names)) < len(names):
            raise ValueError("two inputs have the same name")
        return self
