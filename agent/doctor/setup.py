"""What the doctor examines: what the configuration says, or the defaults where it is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.capture.input_device import names_audio_file, resolved_device
from agent.doctor.finding import Finding, State
from model.errors import ConfigError, DevrecError

if TYPE_CHECKING:
    from agent.config.settings import Config


@dataclass(frozen=True)
class ExaminedInput:
    """An input that is listened to.

    Attributes:
        name: its name.
        device: as in the configuration; ``None`` for the default input.
        rate_hz: rate to open it at; ``None`` for its own.
        is_file: whether ``device`` is an audio file.
    """

    name: str
    device: str | None
    rate_hz: int | None = None
    is_file: bool = False


@dataclass(frozen=True)
class ExaminedFolder:
    """A folder that the agent writes.

    Attributes:
        setting: of the configuration.
        path: the folder.
        quota_mb: megabytes that may come into it, if that is limited.
        makes: whether the agent makes it when it is missing.
    """

    setting: str
    path: str
    quota_mb: int | None
    makes: bool


@dataclass(frozen=True)
class Setup:
    """Settings that matter to the doctor; by default those of an agent without configuration."""

    model: str | None = None
    engine: str = "auto"
    threads: int = 1
    hop_s: float = 0.5
    inputs: tuple[ExaminedInput, ...] = (ExaminedInput("the default input", None),)
    folders: tuple[ExaminedFolder, ...] = ()
    sections: frozenset[str] = frozenset()


def read_setup(
    path: Path | None, flags: Mapping[str, Any], input: str | None, environ: Mapping[str, str]
) -> tuple[Finding, Setup]:
    """Read the configuration.

    Args:
        path: the file of ``--config``; ``None`` to search.
        flags: settings given on the command line.
        input: an input to examine in place of those configured.
        environ: the environment.

    Returns:
        what is to be said about it; and what to examine.
    """
    given = flags.get("agent.model")
    setup = Setup(model=None if given is None else str(Path(given).absolute()))
    try:
        from agent.config.loading import load_config

        loaded = load_config(path, flags, environ)
        setup = _setup_of(loaded.config, environ)
    except DevrecError as error:
        lines = error.lines if isinstance(error, ConfigError) else (str(error),)
        hint = "mend it; the other checks go by the defaults"
        found = f"{len(lines)} mistake{'s' if len(lines) > 1 else ''}"
        finding = Finding("configuration", "problem", found, hint, lines)
    except Exception as error:  # whatever it is, the rest can still be examined
        found = f"the check failed: {type(error).__name__}: {' '.join(str(error).split())}"
        finding = Finding("configuration", "problem", found)
    else:
        read = ", ".join(map(str, loaded.files)) or "no file, the defaults"
        state: State = "warning" if loaded.warnings else "ok"
        finding = Finding("configuration", state, read, details=loaded.warnings)
    if input is not None:
        setup = _with_input(setup, input)
    return finding, setup


def _setup_of(config: Config, environ: Mapping[str, str]) -> Setup:
    agent = config.agent
    inputs = tuple(
        ExaminedInput(entry.name, entry.device, entry.rate_hz, entry.audio_file is not None)
        for entry in config.input
    )
    return Setup(
        model=None if agent.model is None else str(agent.model.absolute()),
        engine=agent.engine,
        threads=agent.threads,
        hop_s=agent.hop_s,
        inputs=inputs or Setup.inputs,
        folders=_folders(config, environ),
        sections=frozenset(
            name for name in ("mqtt", "prometheus") if getattr(config, name) is not None
        ),
    )


def _folders(config: Config, environ: Mapping[str, str]) -> tuple[ExaminedFolder, ...]:
    found = []
    if config.jsonl is not None:
        lines = config.jsonl
        room = lines.max_mb * (1 + lines.keep)
        folder = str(lines.path.absolute().parent)
        found.append(ExaminedFolder("jsonl.path", folder, room, makes=False))
    if config.mqtt is not None:
        from agent.outlets.opening import state_folder

        spool = config.mqtt.spool or state_folder(environ) / "spool"
        room = config.mqtt.spool_max_mb
        found.append(ExaminedFolder("mqtt.spool", str(spool.absolute()), room, makes=True))
    if config.evidence is not None:
        folder, room = str(config.evidence.folder.absolute()), config.evidence.quota_mb
        found.append(ExaminedFolder("evidence.folder", folder, room, makes=True))
    return tuple(found)


def _with_input(setup: Setup, device: str) -> Setup:
    """Only this input is examined; as configured, where it is."""
    resolved = resolved_device(device, Path.cwd())
    configured = [one for one in setup.inputs if device == one.name or resolved == one.device]
    given = ExaminedInput(device, resolved, is_file=names_audio_file(resolved))
    return replace(setup, inputs=(next(iter(configured), given),))
