"""The one-cycle schedule of learning rates, for runs of any length (torch)."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(optimizer: Optimizer, peak: float, steps: int, rise: float) -> OneCycleLR:
    """Warm up over a share of the steps, anneal over the others.

    Args:
        optimizer: whose rate it sets.
        peak: highest learning rate.
        steps: of the whole run, at least one.
        rise: share of the steps that warm up, 0 to 1; two steps at least where there are three.
    """
    # A rise of exactly one step would be a phase of no length, which torch divides by.
    share = max(rise, 2 / steps) if steps > 2 else min(rise, 0.4)
    return OneCycleLR(optimizer, peak, total_steps=steps, pct_start=share)
