"""Whether what a configuration names is there: files to read, folders to write, a program."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config.file import Location, shown
from agent.config.folders import may, mode_of, why_unwritable
from agent.config.loading import LoadedConfig
from agent.config.schema import setting_name
from agent.config.settings import Config
from model.errors import ConfigError

Finding = tuple[Location, str]


@dataclass(frozen=True)
class Findings:
    """What looking at the machine has shown, as ``WHERE: setting: what is wrong``.

    Attributes:
        problems: what would fail when the agent starts.
        warnings: what would work, but should not be so.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def look_around(loaded: LoadedConfig) -> Findings:
    """Look for everything that the configuration names.

    Nothing is written, nobody is connected to, and inputs are not opened: they come and go.
    Permissions are those of the user who asks.
    """
    config = loaded.config
    found = [*_unreadable(config), *_unwritable(config), *_no_program(config)]
    warnings: list[Finding] = []
    if config.mqtt is not None and not any(location[0] == "mqtt" for location, _ in found):
        from agent.outlets.mqtt_security import check_security

        try:
            check_security(config.mqtt, lambda line: warnings.append((("mqtt",), line)))
        except ConfigError as error:
            found.append((("mqtt",), str(error)))

    def lines(findings: list[Finding]) -> tuple[str, ...]:
        placed = sorted((loaded.origin(at), setting_name(at), why) for at, why in findings)
        return tuple(f"{origin}: {name}: {shown(why)}" for origin, name, why in placed)

    return Findings(lines(found), lines(warnings))


def _unreadable(config: Config) -> Iterator[Finding]:
    files: dict[Location, Path | None] = {("agent", "model"): config.agent.model}
    for number, entry in enumerate(config.input):
        files["input", number, "device"] = entry.audio_file
    if config.mqtt is not None:
        for key in ("ca_file", "cert_file", "key_file", "credentials_file"):
            files["mqtt", key] = getattr(config.mqtt, key)
    for location, path in files.items():
        if path is not None and (why := _why_unreadable(path)):
            yield location, why


def _why_unreadable(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return f"{path} is not a file"
        with path.open("rb"):
            return None
    except PermissionError as error:
        return f"{path} cannot be read: {error.strerror}{_who_may(path)}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def _who_may(path: Path) -> str:
    """Whose the file is and what its mode allows, where that can be told."""
    try:
        status = path.stat()
    except OSError:
        return " (to enter its folder)"
    return (
        f" (user {os.geteuid()}; the file is of user {status.st_uid}, group {status.st_gid}, "
        + (f"mode {stat.S_IMODE(status.st_mode):04o})")
    )


def _unwritable(config: Config) -> Iterator[Finding]:
    if config.jsonl is not None:
        path = config.jsonl.path
        if (mode := mode_of(path)) is not None and not stat.S_ISREG(mode):
            yield ("jsonl", "path"), f"{path} is not a file"
        elif mode is not None and not may(path, os.W_OK):
            yield ("jsonl", "path"), f"{path} cannot be written to"
        elif why := why_unwritable(path.parent, made=False):
            yield ("jsonl", "path"), why
    folders: dict[Location, Path | None] = {}
    if config.mqtt is not None:
        folders["mqtt", "spool"] = config.mqtt.spool
    if config.evidence is not None:
        folders["evidence", "folder"] = config.evidence.folder
    for location, folder in folders.items():
        if folder is not None and (why := why_unwritable(folder, made=True)):
            yield location, why


def _no_program(config: Config) -> Iterator[Finding]:
    if config.hook is not None and shutil.which(config.hook.command[0]) is None:
        yield ("hook", "command"), f"there is no program {config.hook.command[0]} that may be run"
