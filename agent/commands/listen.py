"""``devrec-agent listen``: which device is heard on these inputs, live?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import complain, console, reports_errors

if TYPE_CHECKING:
    from agent.config.settings import Config
    from agent.configured_agent import ConfiguredAgent
    from agent.input_stream import LiveReport
    from agent.outlets.outlet import OutletQueue
    from agent.service import Service

REFRESH_PER_S = 8  #: of the live view


@reports_errors
def listen(
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="Name, part of a name, identity or index of an input (see `devices`), or an audio "
            "file; may be given several times.",
            show_default="the configured inputs, else the default input",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar="DEVREC_AGENT_CONFIG",
            help="Configuration file instead of the usual ones (see `config path`).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model file (.onnx) or engine (.plan); the built-in model without it.",
            show_default=False,
        ),
    ] = None,
    hop_s: Annotated[
        float | None,
        typer.Option("--hop", help="Seconds between windows.", show_default="0.5"),
    ] = None,
    memory_s: Annotated[
        float | None,
        typer.Option("--memory", help="Seconds of evidence behind an answer.", show_default="3"),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Run files as fast as they can be read, not paced.")
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option("--json", help="A JSON object for every window and event, no live view."),
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="A JSON object for every event, no live view.")
    ] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Candidates to show.")] = 5,
    threads: Annotated[
        int | None,
        typer.Option("--threads", help="Threads of the engine.", show_default="1"),
    ] = None,
    engine_choice: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="auto (TensorRT where `export` has built a plan, else ONNX Runtime), onnx or "
            "tensorrt.",
            show_default="auto",
        ),
    ] = None,
) -> None:
    """Score inputs window by window until they end, or until Ctrl-C or SIGTERM.

    Inputs, outlets (files, MQTT, Prometheus, a hook), evidence and rules come from the
    configuration (`config show`); SIGHUP reads it again. Inputs given by --input replace those of
    the configuration and, without --config, are only shown: no outlet is used. An input given so
    must be there at the start; a configured one is waited for. Lost inputs are reopened for ever.

    Exit code 0 after the end of all files, Ctrl-C or SIGTERM; 3 for a file that cannot be read, 4
    for a model that cannot be used, 6 for an input that cannot be opened, 7 or 8 for an engine that
    cannot run here, 10 for a wrong configuration.
    """
    from agent.config.loading import load_config
    from agent.configured_agent import ConfiguredAgent
    from agent.service import Service
    from agent.service_notify import ServiceNotifier

    flags: dict[str, Any] = {
        "agent.model": None if model is None else str(model.absolute()),
        "agent.hop_s": hop_s,
        "agent.threads": threads,
        "agent.engine": engine_choice,
        "decision.memory_s": memory_s,
    }
    only_shown = bool(source) and config is None

    view = not (json_lines or events)
    presentation = _Presentation(top, view=view, windows=json_lines)

    def load() -> Config:
        loaded = load_config(config, flags, os.environ)
        for warning in loaded.warnings:
            presentation.say(warning)
        return _narrowed(loaded.config, source or [], only_shown=only_shown)

    agent = ConfiguredAgent(presentation.say, fast=fast, watchers=[presentation.on_event])
    notifier = ServiceNotifier()
    service = Service(agent, load, presentation.say, notifier, patient=not source)
    presentation.run(service, agent)


def _narrowed(config: Config, devices: list[str], *, only_shown: bool) -> Config:
    """The configuration with the inputs given by flag in place of its own, and without outlets if
    they are only to be shown."""
    from agent.config.settings import InputSection
    from agent.configured_agent import OUTLET_SECTIONS

    changes: dict[str, Any] = {}
    if devices:
        names = _names(devices)
        changes["input"] = tuple(
            InputSection(name=name, device=device)
            for name, device in zip(names, devices, strict=True)
        )
    elif not config.input:
        changes["input"] = (InputSection(name="default"),)
    if only_shown:
        changes |= dict.fromkeys((*OUTLET_SECTIONS, "evidence"))
    return config.model_copy(update=changes)


def _names(devices: list[str]) -> list[str]:
    """Names for inputs given by flag: of the file or device, numbered where two are alike."""
    import re

    from agent.config.settings import names_audio_file

    names: list[str] = []
    for device in devices:
        stem = Path(device).stem if names_audio_file(device) else device
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:48] or "input"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


class _Presentation:
    """How the user sees the agent: a live view, or JSON lines on standard output.

    Args:
        top: candidates to show.
        view: the live view rather than JSON lines.
        windows: JSON lines for windows too, not for events alone.
    """

    def __init__(self, top: int, *, view: bool, windows: bool) -> None:
        self._top = top
        self._windows = windows
        self._view: Any = None
        self._speaker: Any = None
        self._out: OutletQueue | None = None
        self._wanted_view = view
        self._paced_by_reader = False

    def say(self, line: str) -> None:
        """Tell the operator one line."""
        if self._view is not None:
            self._view.say(line)
        elif self._speaker is not None:
            self._speaker(line)
        else:
            complain(line)

    def on_event(self, event: Any) -> None:
        """Take in an event's JSON object."""
        if self._view is not None:
            self._view.on_event(event)
        elif self._out is not None:
            self._out.offer(event)

    def run(self, service: Service, agent: ConfiguredAgent) -> None:
        """Run the service and present it."""
        if self._wanted_view:
            self._run_view(service, agent)
        else:
            self._run_lines(service, agent)

    def _run_view(self, service: Service, agent: ConfiguredAgent) -> None:
        from rich.live import Live

        from agent.live_view import LiveView

        # Live draws on a thread of its own: a slow terminal does not hold up the listening.
        live = Live(console=console(), refresh_per_second=REFRESH_PER_S)

        def begin() -> None:
            self._view = LiveView(agent.engine.description, self._top)
            live.start()

        def draw(reports: list[LiveReport]) -> None:
            for report in reports:
                self._view.update(report)
            live.update(self._view.render(agent.streams))

        try:
            service.run(begin, draw)
        finally:
            if self._view is not None:
                live.update(self._view.render(agent.streams))
            live.stop()
            self._view = None

    def _run_lines(self, service: Service, agent: ConfiguredAgent) -> None:
        import time

        from agent.outlets.json_lines import StandardOutput
        from agent.outlets.outlet import OutletQueue
        from agent.service import END_S
        from agent.speaking import Speaker

        self._speaker = speaker = Speaker(complain)
        out = self._out = OutletQueue(StandardOutput(), speaker)

        def write(reports: list[LiveReport]) -> None:
            out.check()
            for report in reports if self._windows else []:
                out.offer(report.to_dict(self._top))
            if not any(stream.source.live for stream in agent.streams):
                out.wait_for_room()  # a file can wait for whoever reads

        try:
            service.run(lambda: None, write)
        finally:
            deadline = time.monotonic() + END_S
            out.stop(deadline)
            self._speaker = None
            speaker.close(deadline)
