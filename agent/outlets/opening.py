"""From the configuration to a running outlet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.extras import missing_dependency
from agent.outlets.context import OutletContext
from agent.outlets.outlet import Outlet, OutletQueue, Say
from model.errors import ConfigError

if TYPE_CHECKING:
    from agent.config.settings import Config, MqttSection

#: Sections of the configuration that each describe an outlet.
OUTLET_SECTIONS = ("jsonl", "mqtt", "prometheus", "hook")


def open_outlet(section: str, config: Config, say: Say, context: OutletContext) -> OutletQueue:
    """Open the outlet that a section of the configuration describes.

    Args:
        section: one of :data:`OUTLET_SECTIONS`; the configuration has it.
        config: the configuration.
        say: tells the operator one line; called from many threads, must not wait.
        context: what the outlet may ask.

    Returns:
        The outlet; to be stopped by the caller.

    Raises:
        DevrecError: it cannot be opened: a file, an address or a spool in use, say.
        MissingDependencyError: it needs a package that is not installed.
        ConfigError: its settings cannot be used.
    """
    kinds = None
    if section == "hook" and config.hook is not None:
        kinds = config.hook.events
    elif section == "prometheus":
        kinds = ()
    try:
        outlet = _outlet(section, config, say, context)
    except ModuleNotFoundError as error:
        missing = missing_dependency(error)
        if missing is None:
            raise
        raise missing from error
    return OutletQueue(outlet, say, kinds=kinds)


def _outlet(section: str, config: Config, say: Say, context: OutletContext) -> Outlet:
    if section == "jsonl" and config.jsonl is not None:
        from agent.outlets.json_lines import JsonLinesFile

        lines = config.jsonl
        return JsonLinesFile(lines.path, say, lines.max_mb, lines.keep)
    if section == "hook" and config.hook is not None:
        from agent.outlets.hook import Hook

        return Hook(config.hook.command, config.hook.timeout_s, say)
    if section == "mqtt" and config.mqtt is not None:
        return _open_mqtt(config.mqtt, config.agent.name, say)
    if section == "prometheus" and config.prometheus is not None:
        from agent.outlets.metrics import FiguresCollector
        from agent.outlets.prometheus import PrometheusEndpoint

        address, port = config.prometheus.address, config.prometheus.port
        return PrometheusEndpoint(address, port, FiguresCollector(context), say)
    raise ValueError(f"the configuration has no section {section!r} of an outlet")


def _open_mqtt(settings: MqttSection, agent: str, say: Say) -> Outlet:
    from agent.outlets.mqtt import MqttOutlet
    from agent.outlets.spool import Spool

    spool = Spool(settings.spool or state_folder(os.environ) / "spool", say, settings.spool_max_mb)
    try:
        return MqttOutlet(settings, agent, spool, say)
    except BaseException:
        spool.close()
        raise


def state_folder(environment: Mapping[str, str]) -> Path:
    """Where the agent keeps what outlives it.

    Args:
        environment: environment variables: ``STATE_DIRECTORY`` (systemd), ``XDG_STATE_HOME``.

    Raises:
        ConfigError: neither is there, and this user has no home folder.
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environment.get("XDG_STATE_HOME", "")
    # The specification ignores relative paths.
    if home.startswith("/"):
        return Path(home) / "devrec-agent"
    try:
        return Path.home() / ".local" / "state" / "devrec-agent"
    except RuntimeError as error:  # no $HOME, and a user whom the system does not know
        raise ConfigError(
            "mqtt.spool: this user has no home folder: set it to a folder where events can wait"
        ) from error
