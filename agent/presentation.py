"""How the user of ``listen`` sees the agent: a live view, or JSON lines on standard output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from agent.configured_agent import ConfiguredAgent
from agent.live_report import LiveReport
from agent.live_view import LiveView
from agent.outlets.json_lines import StandardOutput
from agent.outlets.outlet import OutletQueue, Say
from agent.service import Service
from agent.speaking import Speaker

REFRESH_PER_S = 8  #: of the live view
READER_S = 0.1  #: how long a file waits at a time for a reader who takes his


class Presentation(Protocol):
    """What the agent tells its user."""

    def say(self, line: str) -> None:
        """Tell the operator one line; called from any thread."""
        ...

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in an event's JSON object."""
        ...

    def run(self, service: Service, agent: ConfiguredAgent) -> None:
        """Run the service to its end."""
        ...


class ViewPresentation:
    """A live view in the terminal.

    Args:
        console: the terminal.
        complain: writes a line to standard error, before and after the view.
        top: candidates to show.
    """

    def __init__(self, console: Console, complain: Say, top: int) -> None:
        # It draws on a thread of its own: a slow terminal does not hold up the listening.
        self._live = Live(console=console, refresh_per_second=REFRESH_PER_S)
        self._complain = complain
        self._top = top
        self._view: LiveView | None = None

    def say(self, line: str) -> None:
        """Show a line below the view, or write it where there is none."""
        if self._view is not None and self._live.is_started:
            self._view.say(line)
        else:
            self._complain(line)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Show an event below the view."""
        if self._view is not None:
            self._view.on_event(event)

    def run(self, service: Service, agent: ConfiguredAgent) -> None:
        """Run the service under the view."""
        view = self._view = LiveView(self._top)

        def draw(reports: list[LiveReport]) -> None:
            for report in reports:
                view.update(report)
            self._live.update(view.render(agent.streams, agent.engine.description))
            # Not before there is something to see: an input that is not there is one line.
            heard = any(stream.figures.samples for stream in agent.streams)
            if not self._live.is_started and (heard or service.patient):
                self._live.start()

        try:
            service.run(draw)
        finally:
            if self._live.is_started:
                self._live.update(view.render(agent.streams, agent.engine.description))
                self._live.stop()
        _explain_short_files(agent, self._complain)


class LinePresentation:
    """JSON lines on standard output.

    Args:
        complain: writes a line to standard error; may block.
        top: candidates of a window.
        windows: a line for every window, too, not for events alone.
    """

    def __init__(self, complain: Say, top: int, *, windows: bool) -> None:
        self._complain = complain
        self._top = top
        self._windows = windows
        self._speaker = Speaker(complain)
        self._out = OutletQueue(StandardOutput(), self._speaker)

    def say(self, line: str) -> None:
        """Write a line to standard error, without waiting for whoever reads it."""
        self._speaker(line)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Write an event."""
        self._out.offer(event)

    def run(self, service: Service, agent: ConfiguredAgent) -> None:
        """Run the service and write what comes.

        Raises:
            BrokenPipeError: the reader has gone.
        """

        def write(reports: list[LiveReport]) -> None:
            self._out.check()
            for report in reports if self._windows else []:
                self._out.offer(report.to_dict(self._top))
            if not any(stream.source.live for stream in agent.streams):
                while not self._out.wait_for_room(READER_S) and not service.stopping:
                    pass  # a file can wait for whoever reads

        try:
            service.run(write)
        finally:
            self._out.stop(service.deadline)
            self._speaker.close(service.deadline + READER_S)
        _explain_short_files(agent, self._complain)


def _explain_short_files(agent: ConfiguredAgent, complain: Say) -> None:
    """Nothing at all about an input needs an explanation."""
    for stream in agent.streams:
        if stream.figures.state == "ended" and not stream.figures.windows:
            complain(f"{stream.name}: {stream.seconds_heard:.2f} s is shorter than one window")
