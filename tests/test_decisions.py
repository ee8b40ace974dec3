"""Decisions do not flicker: patience, hysteresis, silence, doubt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.settings import DecisionSection
from agent.decisions import Decider, Decision, Evidence
from agent.signal_checks import SignalChecks
from agent.windows import Window

RATE_HZ = 32_000
HOP = RATE_HZ // 2
LENGTH = 33_024
LABELS = ("A", "B", "C")
NOTHING = np.zeros((128, 73), np.float32)


@dataclass
class Line:
    """An input: windows at a hop of half a second, each speaking for a device."""

    rules: DecisionSection = field(default_factory=DecisionSection)
    count: int = 0

    def __post_init__(self) -> None:
        self.decider = Decider(LABELS, self.rules, RATE_HZ)

    def hear(
        self, device: str | None, windows: int = 1, level: float = 0.1, p: float = 0.97
    ) -> list[Decision]:
        """``None``: windows that speak for nothing."""
        decisions = []
        for _ in range(windows):
            posterior = np.full(3, 1 / 3)
            if device is not None:
                posterior = np.full(3, (1 - p) / 2)
                posterior[LABELS.index(device)] = p
            start = self.count * HOP
            window = Window(0, start, start + LENGTH, NOTHING)
            checks = SignalChecks()
            tone = level * np.sin(np.arange(3200) * 0.3)
            checks.accept(np.clip(tone, -1, 1).astype(np.float32))
            decisions += self.decider.accept(window, np.log(posterior), checks)
            self.count += 1
        return decisions


def kinds(decisions: list[Decision]) -> list[str]:
    return [decision.kind for decision in decisions]


def test_identified_once_after_patience() -> None:
    line = Line()
    assert line.hear("A", 2) == []
    (decision,) = line.hear("A")
    assert (decision.kind, decision.device, decision.previous) == ("device_identified", "A", None)
    assert decision.start == 0
    assert decision.end == 2 * HOP + LENGTH
    assert decision.windows == 3
    assert decision.probability > 0.97
    assert line.hear("A", 200) == []


def test_a_change_is_one_event() -> None:
    line = Line()
    line.hear("A", 40)
    decisions = line.hear("B", 60)
    assert kinds(decisions) == ["device_changed"]
    (change,) = decisions
    assert (change.device, change.previous) == ("B", "A")
    assert (change.end - 40 * HOP) / RATE_HZ < 6


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["B", "C", None]), min_size=1, max_size=2), st.integers(0, 8))
def test_a_few_wrong_windows_change_nothing(wrong: list[str | None], settle: int) -> None:
    line = Line()
    line.hear("A", 20 + settle)
    for device in wrong:
        assert line.hear(device) == []
    assert line.hear("A", 30) == []
    assert line.decider.device == "A"


def test_certainty_can_be_overturned_however_long_it_lasted() -> None:
    after: dict[int, float] = {}
    for heard_s in (20, 3600):
        line = Line()
        line.hear("A", 2 * heard_s)
        (change,) = line.hear("B", 60)
        after[heard_s] = change.end / RATE_HZ - heard_s
    assert after[3600] == pytest.approx(after[20])


def test_every_third_window_wrong_is_no_flicker() -> None:
    line = Line()
    decisions = [d for n in range(300) for d in line.hear("B" if n % 3 == 2 else "A")]
    assert kinds(decisions) == ["device_identified"]
    assert decisions[0].device == "A"


def test_doubt_becomes_unknown_once_and_the_return_is_said() -> None:
    line = Line()
    line.hear("A", 20)
    decisions = line.hear(None, 100)
    assert kinds(decisions) == ["unknown"]
    assert decisions[0].previous == "A"
    assert line.decider.device is None
    back = line.hear("A", 40)
    assert kinds(back) == ["device_identified"]
    assert back[0].previous == "A"


def test_another_device_after_unknown_is_a_change() -> None:
    line = Line()
    line.hear("A", 20)
    line.hear(None, 60)
    assert [(d.kind, d.previous) for d in line.hear("C", 40)] == [("device_changed", "A")]


def test_silence_is_no_evidence() -> None:
    line = Line()
    line.hear("A", 20)
    decisions = line.hear("B", 60, level=1e-5)
    assert kinds(decisions) == ["silence"]
    assert decisions[0].details["digital"] is False
    assert line.decider.device is None
    assert kinds(line.hear("A", 20)) == ["device_identified"]


def test_quiet_time_counts_neither_for_patience_nor_for_doubt() -> None:
    line = Line(DecisionSection(patience_s=1.5))
    for _ in range(2):
        assert line.hear("A") == []
        assert line.hear("B", 4, level=1e-5) == []  # a pause between two words
    line = Line()
    line.hear("A", 20)
    for _ in range(6):
        assert line.hear(None) == []
        assert line.hear("A", 4, level=1e-5) == []


def test_a_window_that_the_engine_cannot_score_does_no_lasting_harm() -> None:
    line = Line()
    line.hear("A", 20)
    window = Window(0, 0, LENGTH, NOTHING)
    checks = SignalChecks()
    checks.accept(np.full(100, 0.1, np.float32) * np.tile([1, -1], 50).astype(np.float32))
    assert line.decider.accept(window, np.full(3, np.nan), checks) == []
    assert line.hear("A", 20) == []
    assert line.decider.device == "A"
    assert np.isfinite(line.decider.posterior).all()


def test_all_zero_is_said() -> None:
    (decision,) = Line().hear("A", 20, level=0.0)
    assert (decision.kind, decision.details) == ("silence", {"level_dbfs": None, "digital": True})


def test_a_pause_is_not_silence() -> None:
    line = Line()
    line.hear("A", 20)
    assert line.hear("B", 3, level=1e-5) == []
    assert line.hear("A", 20) == []


def test_clipping_is_said_once() -> None:
    line = Line()
    decisions = line.hear("A", 100, level=4.0)
    assert kinds(decisions).count("clipping") == 1
    line.hear("A", 60)
    assert kinds(line.hear("A", 5, level=4.0)) == ["clipping"]


def test_after_a_gap_the_same_device_is_identified_again_and_another_is_a_change() -> None:
    line = Line()
    line.hear("A", 20)
    line.decider.restart()
    assert kinds(line.hear("A", 10)) == ["device_identified"]
    line.decider.restart()
    assert kinds(line.hear("B", 10)) == ["device_changed"]


def test_rules_may_change_while_listening() -> None:
    line = Line()
    line.hear("A", 20)
    line.decider.rules = DecisionSection(memory_s=0.5, patience_s=0.0)
    assert kinds(line.hear("B", 4)) == ["device_changed"]


@given(st.lists(st.floats(0.1, 0.85), min_size=1, max_size=30))
def test_evidence_is_a_weighted_sum(probabilities: list[float]) -> None:
    """Against the direct formula."""
    evidence = Evidence(2, memory_s=3.0)
    logs = [np.log([p, 1 - p]) for p in probabilities]
    for log in logs:
        evidence.add(log, elapsed_s=0.5, new_share=0.4)
    weights = 0.4 * np.exp(-0.5 * np.arange(len(logs))[::-1] / 3.0)
    total = (weights[:, None] * np.stack(logs)).sum(axis=0)
    np.testing.assert_allclose(evidence.posterior, np.exp(total) / np.exp(total).sum(), atol=1e-9)


@pytest.mark.parametrize("hop", [0.1, 0.25, 1.0])
def test_evidence_does_not_depend_on_the_hop(hop: float) -> None:
    evidence = Evidence(2, memory_s=3.0)
    for _ in range(round(30 / hop)):
        evidence.add(np.log([0.6, 0.4]), elapsed_s=hop, new_share=hop)
    # A memory of 3 s holds three windows' worth of independent seconds.
    assert evidence.posterior[0] == pytest.approx(1 / (1 + (0.4 / 0.6) ** 3), abs=0.04)
