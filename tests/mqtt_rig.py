"""The MQTT outlet as the agent opens it, and events for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.config.settings import Config, MqttSection
from agent.events import Moment
from agent.outlets.outlet import OutletQueue
from tests.outlet_rig import open_one


def event(number: int, kind: str = "gap", run: str = "a", age_s: float = 0) -> dict[str, Any]:
    return {
        "event": kind,
        "id": f"{run}-{number}",
        "agent": "edge",
        "input": "mic",
        "device": "Phone" if kind == "device_identified" else None,
        "probability": 0.9,
        "end": Moment(0, time.time() - age_s).iso,
    }


def settings(port: int, spool: Path, **how: Any) -> MqttSection:
    values = {"tls": False, "reconnect_max_s": 0.5, "late_after_s": 2.0, **how}
    return MqttSection(host="127.0.0.1", port=port, spool=spool, **values)


@contextmanager
def outlet(section: MqttSection, said: list[str], close_s: float = 3.0) -> Iterator[OutletQueue]:
    """The outlet as the agent opens it."""
    config = Config.model_validate({"agent": {"name": "edge"}, "mqtt": section})
    queue = open_one(config, said.append)
    try:
        yield queue
    finally:
        queue.stop(time.monotonic() + close_s)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [entry["id"] for entry in events]


def numbered(first: int, end: int, run: str = "a") -> list[str]:
    return [f"{run}-{number}" for number in range(first, end)]
