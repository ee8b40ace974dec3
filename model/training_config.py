"""Training settings and their presets; no torch, so that the command line can show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from model.checked_values import one_of
from model.errors import UsageError

Schedule = Literal["step", "one-cycle"]

TRANSFER = "transfer"  #: the preset of fine-tuning

#: What fine-tuning leaves as it is: ``trunk`` all before the MLP, ``mlp`` all before the softmax.
Freeze = Literal["trunk", "mlp"]
FREEZES: tuple[Freeze, ...] = get_args(Freeze)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a training run besides data and network.

    Attributes:
        preset: name of the preset these settings started from.
        epochs: passes; one pass draws as many windows as the training clips hold without overlap
            (times ``windows_factor``).
        batch: windows per step.
        learning_rate: peak learning rate.
        schedule: ``"step"`` multiplies by 0.1 every ``step_epochs``; ``"one-cycle"`` warms up over
            20 % of the steps and anneals to zero.
        step_epochs: epochs between steps of the ``"step"`` schedule.
        weight_decay: decoupled (AdamW); 0 gives plain Adam.
        label_smoothing: of the cross entropy.
        gradient_clip: largest gradient norm; 0 for none.
        splice: probability that a training window is spliced from crops of clips of the same
            device (two, at a random frame; of the statistics alone 2, 4 or 8): other words, same
            fingerprint.
        windows_factor: windows drawn per pass, relative to the clips' non-overlapping ones.
        warm_up_steps: steps of the head on statistics alone before the epochs; all there is for
            the ``statistics`` profile, none for ``paper``.
        patience: epochs without a better validation loss before stopping early; 0 = never.
        virtual_devices: virtual devices that the embedding of the ``statistics`` profile is fitted
            on beside the real ones.
        augment: names out of :mod:`model.augmentation.recipe`; none by default.
        copies: augmented copies of every clip to draw from, beside the clip as it is; only counts
            where ``augment`` names any.
        seed: of weights, crops and dropout.
        precision: ``"32"``, or ``"16-mixed"`` / ``"bf16-mixed"`` on a GPU.
    """

    preset: str = "fast"
    epochs: int = 12
    batch: int = 64
    learning_rate: float = 1e-3
    schedule: Schedule = "one-cycle"
    step_epochs: int = 30
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    gradient_clip: float = 1.0
    splice: float = 0.5
    windows_factor: float = 1.0
    warm_up_steps: int = 1500
    patience: int = 0
    virtual_devices: int = 200
    augment: tuple[str, ...] = ()
    copies: int = 40
    seed: int = 0
    precision: str = "32"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.patience < 0:
            raise UsageError("epochs >= 1, batch >= 2, learning rate > 0 and patience >= 0, please")
        if not 0 <= self.splice <= 1:
            raise UsageError("probabilities lie between 0 and 1")
        if self.copies < 1:
            raise UsageError("at least one copy, please")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {**asdict(self), "augment": list(self.augment)}

    def with_changes(self, **changes: Any) -> TrainingConfig:
        """A copy with the given settings changed; ``None`` values are ignored."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


#: ``robust``: trained on recordings as they are and as rooms, noise and codecs leave them.
#: ``fast``: the recordings as they are. ``paper``: section IV-A (Adam, 1e-4, x 0.1 every 30 epochs,
#: batch 64, 100 epochs). ``transfer``: Table IX (Adam, 1e-5, batch 32, up to 300 epochs), to
#: fine-tune a trained network with; :mod:`model.fine_tuning` has no schedule and splices nothing.
PRESETS: dict[str, TrainingConfig] = {
    "robust": TrainingConfig(
        preset="robust",
        warm_up_steps=4000,
        augment=("all",),
    ),
    "fast": TrainingConfig(),
    "paper": TrainingConfig(
        preset="paper",
        epochs=100,
        learning_rate=1e-4,
        schedule="step",
        weight_decay=0.0,
        label_smoothing=0.0,
        gradient_clip=0.0,
        splice=0.0,
        patience=20,
    ),
    TRANSFER: TrainingConfig(
        preset=TRANSFER,
        epochs=300,
        batch=32,
        learning_rate=1e-5,
        schedule="step",
        step_epochs=300,
        weight_decay=0.0,
        label_smoothing=0.0,
        gradient_clip=0.0,
        splice=0.0,
        # At this rate an epoch changes next to nothing, so that one without progress says little.
        # And epochs cost little where the frozen layers are not run; the best one is kept.
        patience=0,
    ),
}


def preset(name: str) -> TrainingConfig:
    """Settings by preset name.

    Raises:
        UsageError: unknown name.
    """
    return PRESETS[one_of("preset", name, sorted(PRESETS))]
