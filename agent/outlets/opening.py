"""From the configuration to running outlets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent.live_figures import InputFigures
from agent.outlets.outlet import OutletQueue, Say
from model.errors import MissingDependencyError

if TYPE_CHECKING:
    from agent.config.settings import Config, MqttSection
    from agent.outlets.mqtt import MqttOutlet
    from agent.outlets.prometheus import PrometheusEndpoint

PACKAGES = ("paho", "prometheus_client")  #: of the extra ``service``


def open_outlets(
    config: Config,
    say: Say,
    figures: Callable[[], list[InputFigures]],
    *,
    engine: str = "",
    model: str = "",
    other_queues: Callable[[], list[OutletQueue]] = list,
) -> list[OutletQueue]:
    """Open all outlets of a configuration, the metrics endpoint among them; all of them or none.

    Args:
        config: the configuration.
        say: tells the operator one line; called from many threads, must not wait.
        figures: the inputs' figures, read when metrics are asked for.
        engine: description of the engine, for the metrics.
        model: the model's name, for the metrics.
        other_queues: outlets opened elsewhere whose figures belong into the metrics too.

    Returns:
        The outlets; each is to be stopped by the caller.

    Raises:
        DevrecError: one cannot be opened: a file, an address or a spool in use, say.
        MissingDependencyError: one needs a package that is not installed.
    """
    queues: list[OutletQueue] = []

    def all_queues() -> list[OutletQueue]:
        others = other_queues()
        return [*queues, *(queue for queue in others if queue not in queues)]

    try:
        for queue in _opened(config, say, figures, all_queues, engine, model):
            queues.append(queue)
    except BaseException as error:
        deadline = time.monotonic() + 1.0
        for queue in queues:
            queue.begin_stop(deadline)
        for queue in queues:
            queue.stop(deadline)
        package = (getattr(error, "name", None) or "").split(".")[0]
        if isinstance(error, ModuleNotFoundError) and package in PACKAGES:
            raise MissingDependencyError(
                f"this needs {package}, which is missing: pip install 'devrec-agent[service]'"
            ) from error
        raise
    return queues


def _opened(
    config: Config,
    say: Say,
    figures: Callable[[], list[InputFigures]],
    all_queues: Callable[[], list[OutletQueue]],
    engine: str,
    model: str,
) -> Iterator[OutletQueue]:
    if config.jsonl is not None:
        from agent.outlets.json_lines import JsonLinesFile

        lines = config.jsonl
        yield OutletQueue(JsonLinesFile(lines.path, say, lines.max_mb, lines.keep), say)
    if config.hook is not None:
        from agent.outlets.hook import Hook

        hook = config.hook
        yield OutletQueue(Hook(hook.command, hook.timeout_s, say), say, kinds=hook.events)
    if config.mqtt is not None:
        yield OutletQueue(_open_mqtt(config.mqtt, config.agent.name, say), say)
    if config.prometheus is not None:
        from agent.outlets.prometheus import FiguresCollector, PrometheusEndpoint

        collector = FiguresCollector(figures, all_queues, engine, model)
        address, port = config.prometheus.address, config.prometheus.port
        endpoint: PrometheusEndpoint = PrometheusEndpoint(address, port, collector, say)
        yield OutletQueue(endpoint, say, kinds=())


def _open_mqtt(settings: MqttSection, agent: str, say: Say) -> MqttOutlet:
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
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environment.get("XDG_STATE_HOME", "")
    # The specification ignores relative paths.
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return base / "devrec-agent"
