"""What networks are trained on, checked before anything long is begun (torch)."""

from __future__ import annotations

from model.checked_values import one_of
from model.errors import UsageError

ACCELERATORS = ("auto", "cpu", "gpu")  #: Lightning's names for them


def check_accelerator(name: str) -> None:
    """See that there is such an accelerator, and that it is there.

    Raises:
        UsageError: an unknown name, or no GPU.
    """
    if one_of("accelerator", name, ACCELERATORS) != "gpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError("accelerator gpu: PyTorch sees no GPU here")
