"""Whether the agent works: what readiness and the watchdog go by."""

from __future__ import annotations

import time

from agent.input_stream import InputStream

WINDOW_PATIENCE_S = 3.0  #: a running input may be this late with its next window


def has_heard(streams: list[InputStream]) -> bool:
    """Whether real audio has gone all the way: a window of some input has been decided on."""
    return any(stream.figures.windows for stream in streams)


def windows_flow(streams: list[InputStream], hop_s: float) -> bool:
    """Whether there are inputs, and every running one yields windows.

    An input that is known to be lost does not count: it has been said, it is being reopened, and
    starting the agent again would not bring it back.

    Args:
        streams: the inputs.
        hop_s: seconds between windows.
    """
    latest = time.monotonic() - hop_s - WINDOW_PATIENCE_S
    return bool(streams) and all(
        stream.last_window_s >= latest for stream in streams if stream.figures.state == "running"
    )


def status_line(streams: list[InputStream]) -> str:
    """All inputs in one line, for ``systemctl status``."""
    return "; ".join(f"{stream.name}: {_status(stream)}" for stream in streams)


def _status(stream: InputStream) -> str:
    figures = stream.figures
    if figures.state != "running":
        return figures.state if stream.failure is None else f"{figures.state}, {stream.failure}"
    if figures.device is None:
        return "undecided"
    return f"{figures.device} ({100 * (figures.probability or 0.0):.0f} %)"
