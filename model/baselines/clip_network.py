"""Baselines that are neural networks on whole clips: how they are trained (torch)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.baselines.baseline import BaselineClip, IntArray, fitted
from model.features import FloatArray

Inputs = tuple[FloatArray, ...]


@dataclass(frozen=True)
class ClipTraining:
    """How a network on clips is trained: Adam on cross entropy.

    Attributes:
        epochs: passes over the clips.
        batch: clips a step.
        learning_rate: at the start.
        step_epochs: epochs after which it falls to a tenth; 0 = never.
        label_smoothing: of the cross entropy.
    """

    epochs: int = 60
    batch: int = 32
    learning_rate: float = 1e-3
    step_epochs: int = 0
    label_smoothing: float = 0.0


class ClipNetwork(ABC):
    """Everything but the network, and what it takes of a clip.

    Small inputs (supervectors) are computed once and stay in memory; frames are asked for anew in
    every pass, so that a corpus may be larger than the memory.

    Args:
        training: hyper-parameters.
        seed: of weights, order, crops and dropout.
    """

    #: of the losses of the network's outputs, the answer first
    loss_weights: tuple[float, ...] = (1.0,)

    def __init__(self, training: ClipTraining, seed: int) -> None:
        self._training, self._seed = training, seed
        self._trained: nn.Module | None = None

    @abstractmethod
    def _network(self, n_devices: int) -> nn.Module:
        """A network: ``forward(*kept, *read)``, batches first, to logits ``(B, n_devices)``.

        Or a tuple of such logits, one for each of :attr:`loss_weights`.
        """

    def _prepare(self, clips: Sequence[BaselineClip], labels: IntArray) -> list[Inputs]:
        """Learn what comes before the network: background model, normalisation.

        Returns:
            what :meth:`_kept` gives of the clips.
        """
        return [self._kept(clip) for clip in clips]

    def _kept(self, clip: BaselineClip) -> Inputs:
        """Inputs that are computed once; float32."""
        return ()

    def _read(self, clip: BaselineClip, rng: np.random.Generator | None) -> Inputs:
        """Inputs that are read whenever they are needed; float32, of one shape for all clips.

        Args:
            clip: what to read.
            rng: for random crops while training; ``None`` where the clip is judged, and there the
                shape may differ from clip to clip.
        """
        return ()

    @property
    def n_prepared(self) -> int:
        """Numbers that :meth:`_prepare` has set and that scoring needs."""
        return 0

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Learn; see :class:`model.baselines.baseline.Baseline`."""
        kept = self._prepare(clips, labels)
        config = self._training
        rng = np.random.default_rng(self._seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self._seed)
            network = self._network(int(labels.max()) + 1).train()
            optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
            steps = config.step_epochs or config.epochs + 1
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, steps, gamma=0.1)
            for _ in range(config.epochs):
                order = rng.permutation(len(clips))
                # Nearly equal batches: batch norm must not see a single clip.
                n_batches = max(1, round(len(clips) / config.batch))
                for batch in np.array_split(order, n_batches):
                    inputs = [(*kept[i], *self._read(clips[int(i)], rng)) for i in batch]
                    answers = network(*_stacked(inputs))
                    loss = self._loss(answers, torch.from_numpy(labels[batch]))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                schedule.step()
        self._trained = network.eval()

    @torch.no_grad()
    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """Logits, float32 ``(clips, devices)``."""
        network = fitted(self._trained)
        rows = []
        for clip in clips:
            answers = network(*_stacked([(*self._kept(clip), *self._read(clip, None))]))
            rows.append(answers[0] if isinstance(answers, tuple) else answers)
        return torch.cat(rows).numpy()

    @property
    def n_parameters(self) -> int:
        """Trained numbers, running statistics of batch norms, and what was prepared before."""
        network = fitted(self._trained)
        numbers = [*network.parameters(), *network.buffers()]
        # No count of batches: scoring does not need it.
        return self.n_prepared + sum(n.numel() for n in numbers if n.is_floating_point())

    def _loss(self, answers: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        heads = answers if isinstance(answers, tuple) else (answers,)
        smoothing = self._training.label_smoothing
        losses = [
            weight * functional.cross_entropy(logits, labels, label_smoothing=smoothing)
            for weight, logits in zip(self.loss_weights, heads, strict=True)
        ]
        return torch.stack(losses).sum()


def _stacked(inputs: Sequence[Inputs]) -> list[Tensor]:
    """Inputs of clips as batches."""
    return [torch.from_numpy(np.stack(column)) for column in zip(*inputs, strict=True)]
