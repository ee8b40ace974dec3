"""What outlets may ask the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.live_figures import InputFigures
from agent.outlets.outlet import OutletQueue


@dataclass(frozen=True)
class OutletContext:
    """What outlets may ask the agent at any time, from threads of their own.

    Attributes:
        figures: the inputs' figures.
        queues: all outlets that are open.
        engine: description of the engine.
        model: the model's name.
        evidence: events whose audio was written, and whose audio was lost.
    """

    figures: Callable[[], list[InputFigures]]
    queues: Callable[[], list[OutletQueue]]
    engine: Callable[[], str]
    model: Callable[[], str]
    evidence: Callable[[], tuple[int, int]]
