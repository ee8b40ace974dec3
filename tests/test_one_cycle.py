"""The schedule has a rate for every step of runs of any length."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

from model.one_cycle import one_cycle  # noqa: E402


@pytest.mark.parametrize("rise", [0.1, 0.2])
@pytest.mark.parametrize("steps", [*range(1, 31), 1500])
def test_runs_of_any_length(steps: int, rise: float) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    schedule = one_cycle(optimizer, 0.5, steps, rise)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert all(0 < rate <= 0.5 for rate in rates)
    if steps > 2:
        highest = rates.index(max(rates))
        assert max(rates) == pytest.approx(0.5, rel=0.1)
        assert highest <= max(1, rise * steps)
        assert rates[:highest] == sorted(rates[:highest])
        assert rates[highest:] == sorted(rates[highest:], reverse=True)
