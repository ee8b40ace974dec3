"""Outlets as the agent opens them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.config.settings import Config
from agent.outlets.context import OutletContext
from agent.outlets.opening import OUTLET_SECTIONS, open_outlet
from agent.outlets.outlet import OutletQueue

#: What a test does not ask about.
NOTHING = OutletContext(figures=list, queues=list, engine=str, model=str, evidence=lambda: (0, 0))


def open_one(
    values: Config | dict[str, Any],
    say: Callable[[str], None],
    context: OutletContext = NOTHING,
) -> OutletQueue:
    """The outlet of a configuration that has one."""
    config = values if isinstance(values, Config) else Config.model_validate(values)
    [section] = [name for name in OUTLET_SECTIONS if getattr(config, name) is not None]
    return open_outlet(section, config, say, context)
