"""The configuration in effect: defaults, files, variables and flags, merged and validated.

The higher rank wins: defaults < ``/etc/devrec-agent/config.toml`` <
``$XDG_CONFIG_HOME/devrec-agent/config.toml`` < variables < flags. A file given by ``--config`` or
``DEVREC_AGENT_CONFIG`` stands in place of the two files. Tables are merged key by key; lists,
among them the inputs, are replaced whole. What the decision table of an input leaves out is taken
from ``[decision]``, whatever rank that has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config.complaints import complaints
from agent.config.file import ConfigFile, Location, read_config_file, shown
from agent.config.layers import Layer, Origin, file_layer, flag_layer
from agent.config.merging import merge, origin_at, with_defaults
from agent.config.settings import Config
from agent.config.variables import CONFIG_VARIABLE, instance_layer, read_variables
from model.errors import ConfigError

SYSTEM_FILE = Path("/etc/devrec-agent/config.toml")


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration and where it comes from.

    Attributes:
        config: the values.
        origins: where each comes from, for every value in effect, defaults among them, and for
            the tables that somebody wrote; a location is e.g. ``("input", 0, "name")``.
        files: the files that were read, lowest rank first.
        warnings: what was passed over, one line each.
    """

    config: Config
    origins: Mapping[Location, Origin]
    files: tuple[Path, ...]
    warnings: tuple[str, ...]

    def origin(self, location: Location) -> Origin:
        """Where a value comes from; for a part of a list, the list."""
        return origin_at(location, self.origins)


def config_files(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that count, whether they exist or not, lowest rank first.

    Args:
        path: the file of ``--config``.
        environ: the environment.
    """
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    if path is not None:
        return (path.absolute(),)
    # The specification of XDG says to ignore relative folders.
    folder = environ.get("XDG_CONFIG_HOME", "")
    home = environ.get("HOME", "")
    if not folder.startswith("/"):
        folder = f"{home}/.config" if home.startswith("/") else ""
    return (SYSTEM_FILE, Path(folder, "devrec-agent", "config.toml")) if folder else (SYSTEM_FILE,)


def load_config(
    path: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> LoadedConfig:
    """Read, merge and validate. To load again (SIGHUP), call it with the same arguments.

    Args:
        path: the file of ``--config``; ``None`` to search.
        flags: values of flags by setting, e.g. ``{"agent.hop_s": 0.25}``; ``None`` = not given.
        environ: the environment.

    Raises:
        ConfigError: something is wrong; all that is wrong, one line each, with where it stands.
    """
    files, problems, warnings = _read_files(path, environ)
    variables = read_variables(environ)
    problems += variables.problems
    if problems:
        raise ConfigError(*problems)
    layers = [layer for layer in (instance_layer(environ),) if layer is not None]
    layers += [file_layer(file, rank) for rank, file in enumerate(files, 1)]
    layers += [variables.layer, flag_layer(flags)]
    config, origins = _validated(layers)
    warnings += variables.warnings
    return LoadedConfig(config, origins, tuple(file.path for file in files), tuple(warnings))


def _read_files(
    path: Path | None, environ: Mapping[str, str]
) -> tuple[list[ConfigFile], list[str], list[str]]:
    """The files, problems, and warnings."""
    searched = path is None and not environ.get(CONFIG_VARIABLE)
    files: list[ConfigFile] = []
    problems: list[str] = []
    warnings: list[str] = []
    for candidate in config_files(path, environ):
        try:
            if searched and not _is_there(candidate):
                continue
            files.append(read_config_file(candidate))
        except FileNotFoundError:
            problems.append(f"{shown(candidate)}: no such file")
        except PermissionError:
            # A service may have a home that it must not enter; /etc is another matter.
            line = f"{shown(candidate)}: its folder cannot be entered: Permission denied"
            if candidate == SYSTEM_FILE:
                problems.append(line)
            else:
                warnings.append(f"{line}; passed over")
        except ConfigError as error:
            problems += error.lines
    return files, problems, warnings


def _is_there(path: Path) -> bool:
    """Whether a file that was not asked for exists.

    Raises:
        PermissionError: nobody can tell.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise
    except OSError:
        return True  # reading it will tell what is wrong
    return True


def _validated(layers: list[Layer]) -> tuple[Config, Mapping[Location, Origin]]:
    merged = merge(layers)
    # Strict, so that "1" is no number and 1 is no switch; as JSON, so that lists make tuples and
    # text makes paths all the same.
    text = json.dumps(merged.values)
    try:
        config = Config.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = complaints(error.errors(include_url=False), merged)
        raise ConfigError(*problems) from None  # it quotes values, perhaps a misplaced password
    if merged.unusable:  # none stands where a value is needed
        raise ConfigError(*complaints([], merged))
    return config, with_defaults(config.model_dump(mode="json"), merged.origins)
