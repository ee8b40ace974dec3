"""``devrec-agent listen``: which device is heard on these inputs, live?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import ConfigOption, complain, console, reports_errors

if TYPE_CHECKING:
    from agent.config.settings import Config
    from agent.presentation import Presentation


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
    config: ConfigOption = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Model file (.onnx) or engine (.plan); the built-in model without it.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            help="Devices to name: built-in (the model's), gallery (enrolled ones), or both.",
            show_default="built-in",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Folder of enrolled devices.", show_default=False),
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
    from agent.presentation import LinePresentation, ViewPresentation
    from agent.service import Service
    from agent.service_notify import ServiceNotifier

    flags: dict[str, Any] = {
        "agent.model": None if model is None else str(model.absolute()),
        "agent.devices": devices if devices or gallery is None else "gallery",
        "agent.gallery": None if gallery is None else str(gallery.absolute()),
        "agent.hop_s": hop_s,
        "agent.threads": threads,
        "agent.engine": engine_choice,
        "decision.memory_s": memory_s,
    }
    only_shown = bool(source) and config is None

    view = not (json_lines or events)
    presentation: Presentation = (
        ViewPresentation(console(), complain, top)
        if view
        else LinePresentation(complain, top, windows=json_lines)
    )

    def load() -> Config:
        loaded = load_config(config, flags, os.environ)
        for warning in loaded.warnings:
            presentation.say(warning)
        return _narrowed(loaded.config, source or [], only_shown=only_shown)

    agent = ConfiguredAgent(presentation.say, fast=fast, watchers=[presentation.on_event])
    notifier = ServiceNotifier()
    service = Service(agent, load, presentation.say, notifier, patient=not source, at_terminal=view)
    presentation.run(service, agent)


def _narrowed(config: Config, devices: list[str], *, only_shown: bool) -> Config:
    """The configuration with the inputs given by flag in place of its own, and without outlets if
    they are only to be shown."""
    from agent.capture.input_device import resolved_device
    from agent.config.settings import InputSection
    from agent.outlets.opening import OUTLET_SECTIONS
    from model.errors import UsageError

    changes: dict[str, Any] = {}
    if "" in devices:
        raise UsageError("--input must not be empty")
    if devices:
        devices = [resolved_device(device, Path.cwd()) for device in devices]
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
    import itertools
    import re

    from agent.capture.input_device import names_audio_file

    names: list[str] = []
    for device in devices:
        stem = Path(device).stem if names_audio_file(device) else device
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:48] or "input"
        candidates = (f"{name}-{number}" for number in itertools.count(2))
        names.append(name if name not in names else next(c for c in candidates if c not in names))
    return names
