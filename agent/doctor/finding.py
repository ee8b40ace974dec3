"""What an examination of the machine finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]

#: From harmless to serious.
STATES: tuple[State, ...] = ("ok", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was looked at.
        state: ``ok``; ``warning``: it works, but not as well as it might; ``problem``: the agent
            cannot do its work.
        found: what was found, in a line.
        hint: what to do about it; empty when there is nothing to do.
        details: the single things of which ``found`` gives the sum, a line each.
    """

    check: str
    state: State
    found: str
    hint: str = ""
    details: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Finding:
        """The finding that :meth:`to_dict` has written."""
        return cls(**{**values, "details": tuple(values["details"])})


def worst(findings: list[Finding]) -> State:
    """The most serious state; ``ok`` for no findings."""
    return max((finding.state for finding in findings), key=STATES.index, default="ok")
