"""The agent's configuration: every setting, its type, its range and its default."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from agent.capture.input_device import names_audio_file
from agent.events import ALARMS, EventKind

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Probability = Annotated[float, Field(ge=0, le=1)]
Megabytes = Annotated[int, Field(ge=1, le=1_000_000)]
LONGEST_NAME = 64
#: Goes into topics, labels and file names. ``expected`` is what error messages say.
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        json_schema_extra={
            "expected": "1 to 64 letters, digits, dots, dashes or underscores, "
            "the first no dot and no dash"
        },
    ),
]

#: No @: the user and password before it would go into messages and logs.
_HOST_PATTERN = r"^[^\s/@]+$"


def name_of_machine(instance: str = "") -> str:
    """The host's name, as a :data:`Name`; followed by a dash and the instance, where there are
    several agents. What a name may not have becomes a dash."""
    ending = f"-{_name_part(instance)}"[:LONGEST_NAME] if instance else ""
    host = _name_part(platform.node()).lstrip(".-")[: LONGEST_NAME - len(ending)]
    return f"{host}{ending}".lstrip(".-") or "agent"


def _name_part(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


class Section(BaseModel):
    """A table of the file: typed, no unknown keys, read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentSection(Section):
    """The agent as a whole."""

    name: Name = Field(
        default_factory=name_of_machine,
        description="Name of this agent in events and topics, no other agent's; the host's name by "
        "default, with -INSTANCE behind it where $DEVREC_AGENT_INSTANCE is set.",
    )
    model: Path | None = Field(
        default=None,
        description="Model file (.onnx) or engine (.plan); the built-in model without it.",
    )
    engine: Literal["auto", "onnx", "tensorrt"] = Field(
        default="auto",
        description="auto takes TensorRT where `export` has built a plan, else ONNX Runtime.",
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Threads of the engine."
    )
    hop_s: Annotated[float, Field(ge=0.008, le=60)] = Field(
        default=0.5, description="Seconds between windows."
    )
    devices: Literal["built-in", "gallery", "both"] = Field(
        default="built-in",
        description="Devices to name: those of the model, those enrolled in the gallery, or both.",
    )
    gallery: Path | None = Field(
        default=None,
        description="Folder of enrolled devices; the user's own without it (see `enroll`).",
    )


class CaptureSection(Section):
    """How long an input may be silent or gone, and how it is reopened."""

    stall_s: Annotated[float, Field(ge=0.1, le=60)] = Field(
        default=0.6, description="Seconds without a sample until an open input counts as stalled."
    )
    restart_s: Annotated[float, Field(ge=0.2, le=600)] = Field(
        default=1.5,
        description="Seconds without a sample until the input is opened again; not below stall_s.",
    )
    backoff_s: Annotated[float, Field(ge=0.05, le=60)] = Field(
        default=0.25, description="Pause before the second attempt to open; doubles each time."
    )
    backoff_max_s: Annotated[float, Field(ge=0.05, le=600)] = Field(
        default=1.0, description="Longest pause between attempts; not below backoff_s."
    )
    buffer_s: Annotated[float, Field(ge=1, le=600)] = Field(
        default=30.0, description="Seconds of audio kept while the engine is busy."
    )

    @model_validator(mode="after")
    def _ordered(self) -> CaptureSection:
        if self.restart_s < self.stall_s:
            raise ValueError("restart_s must not be below stall_s")
        if self.backoff_max_s < self.backoff_s:
            raise ValueError("backoff_max_s must not be below backoff_s")
        return self


class DecisionSection(Section):
    """When evidence becomes an event."""

    memory_s: Seconds = Field(
        default=3.0, description="Seconds of evidence behind a decision; older evidence fades."
    )
    enter: Probability = Field(
        default=0.7, description="Probability from which a device is taken to be heard."
    )
    leave: Probability = Field(
        default=0.4,
        description="Probability below which a device is no longer believed; not above enter.",
    )
    patience_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=1.0, description="Seconds that a device must hold before it is reported."
    )
    unknown_after_s: Seconds = Field(
        default=8.0, description="Seconds of sound without a believed device until `unknown`."
    )
    silence_dbfs: Annotated[float, Field(ge=-200, le=0)] = Field(
        default=-70.0, description="Level below which there is silence, dB of full scale (RMS)."
    )
    silence_after_s: Seconds = Field(
        default=3.0, description="Seconds below that level until `silence`."
    )

    @model_validator(mode="after")
    def _hysteresis(self) -> DecisionSection:
        if self.leave > self.enter:
            raise ValueError("leave must not be above enter")
        return self


class InputSection(Section):
    """One input; the default input where none is named. What its decision table leaves out is as
    in [decision]."""

    name: Name = Field(description="Name in events, topics and labels; no two inputs share one.")
    device: str | None = Field(
        default=None,
        min_length=1,
        description="As `devrec-agent devices` lists it: identity, name, part of a name or index; "
        "or an audio file: what has a slash or a suffix such as .wav, or is a file. A name that "
        "looks like something else is written portaudio:NAME. The default input without it.",
    )
    rate_hz: Annotated[int, Field(ge=2_000, le=768_000)] | None = Field(
        default=None, description="Rate to capture at; the input's own without it."
    )
    decision: DecisionSection | None = Field(
        default=None, description="What this input decides otherwise than [decision]."
    )

    @property
    def audio_file(self) -> Path | None:
        """``device`` when it means a file, see :mod:`agent.capture.input_device`."""
        if self.device is None or not names_audio_file(self.device):
            return None
        return Path(self.device)


class JsonLinesSection(Section):
    """A file with one JSON object a line, rotated."""

    path: Path = Field(description="The file; its folder must exist.")
    max_mb: Megabytes = Field(
        default=16, description="Megabytes (10^6 bytes) after which a new file is begun."
    )
    keep: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=5, description="Older files that are kept: path.1 is the youngest of them."
    )


class MqttSection(Section):
    """An MQTT broker. Events wait on disk until it has acknowledged them."""

    host: Annotated[str, Field(max_length=255, pattern=_HOST_PATTERN)] = Field(
        description="Name or address of the broker.",
        json_schema_extra={
            "expected": "a host name or address; user and password go into credentials_file"
        },
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="TCP port; without it 8883 with TLS, 1883 without."
    )
    tls: bool = Field(
        default=True, description="Encrypt, and check the broker's certificate and name."
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) that the broker's is checked against; the system's "
        "without it.",
    )
    cert_file: Path | None = Field(
        default=None, description="This agent's own certificate (PEM), if the broker wants one."
    )
    key_file: Path | None = Field(
        default=None, description="Its unencrypted key (PEM), if that is not in cert_file."
    )
    credentials_file: Path | None = Field(
        default=None,
        description="File with the user name on its first line and the password on its second.",
    )
    topic: Annotated[
        str, Field(max_length=256, pattern=r"^[^$/#+\x00]([^#+\x00]*[^/#+\x00])?$")
    ] = Field(
        default="devrec-agent",
        description="Topics are <topic>/<agent>/status, <topic>/<agent>/<input>/event and "
        "<topic>/<agent>/<input>/device.",
        json_schema_extra={
            "expected": "a topic without the wildcards # and + that neither begins with $ or "
            "a slash nor ends with a slash"
        },
    )
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds of silence after which the broker is asked for an answer."
    )
    reconnect_max_s: Annotated[float, Field(ge=0.5, le=600)] = Field(
        default=15.0, description="Longest pause between attempts to connect; the first is 0.5 s."
    )
    late_after_s: Seconds = Field(
        default=5.0, description="Age from which an event is marked as late."
    )
    spool: Path | None = Field(
        default=None,
        description="Folder where events wait, of this agent alone; without it one in "
        "$STATE_DIRECTORY, else in $XDG_STATE_HOME/devrec-agent or ~/.local/state/devrec-agent.",
    )
    spool_max_mb: Megabytes = Field(
        default=64, description="Most megabytes (10^6 bytes) in that folder; the oldest events go."
    )

    @model_validator(mode="after")
    def _tls_fits(self) -> MqttSection:
        if not self.tls:
            for key in ("ca_file", "cert_file", "key_file"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} is of no use without tls")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is of no use without cert_file")
        return self


class PrometheusSection(Section):
    """The metrics endpoint. Nothing protects it: better left on this machine."""

    address: Annotated[str, Field(max_length=255, pattern=_HOST_PATTERN)] = Field(
        default="127.0.0.1",
        description="Address of this machine to listen on.",
        json_schema_extra={"expected": "an address of this machine"},
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=9419, description="TCP port; 0 for any free one."
    )


class HookSection(Section):
    """A program run for events, without a shell, in /; the event comes as JSON on its standard
    input."""

    command: Annotated[
        list[
            Annotated[
                str,
                Field(pattern=r"^[^\x00]*$", json_schema_extra={"expected": "text without NUL"}),
            ]
        ],
        Field(min_length=1),
    ] = Field(description="The program, in full or as found on PATH, and its arguments.")
    events: tuple[EventKind, ...] = Field(default=ALARMS, description="Events that it is run for.")
    timeout_s: Seconds = Field(
        default=10.0,
        description="Seconds after which it is killed with all that it has started.",
    )


class EvidenceSection(Section):
    """Audio kept around events."""

    folder: Path = Field(description="Where the audio goes; made when it is not there.")
    before_s: Annotated[float, Field(ge=0, le=600)] = Field(
        default=10.0, description="Seconds kept before the event."
    )
    after_s: Annotated[float, Field(ge=0, le=600)] = Field(
        default=2.0, description="Seconds kept after the event."
    )
    quota_mb: Megabytes = Field(
        default=512, description="Most megabytes in the folder; the oldest audio goes first."
    )
    events: tuple[EventKind, ...] = Field(
        default=("device_identified", "device_changed", "unknown"),
        description="Events whose audio is kept.",
    )


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
        for index, name in enumerate(names):
            if name in names[:index]:
                # ``at`` tells the loader which of the two to point at.
                at = ("input", index, "name")
                raise PydanticCustomError("same_name", "another input has this name", {"at": at})
        return self
