"""Fine-tuning: a trained network learns other devices by its last layers alone (torch).

Zeng, Zhao and Wang (arXiv 2411.03668), Table IX: what was trained on some phones stays as it is,
and MLP and softmax, or the softmax alone, are trained on others. What stays is computed once for
each window; the epochs run only what learns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import CorpusError
from model.network import DeviceNetwork
from model.statistics_training import LINEAR_SHARE
from model.training_config import Freeze, TrainingConfig
from model.training_data import SPREAD_WINDOWS, ClipData, drawn_windows
from model.window_statistics import LinearScores

WINDOW_HOP_FRAMES = 32  #: between windows to fine-tune on
_CHUNK = 64  #: windows at a time through what is frozen


class Epoch(NamedTuple):
    """What an epoch came to.

    Attributes:
        number: from 1.
        loss: mean cross entropy of its batches, while learning.
        validation_loss: cross entropy of the validation windows after it, in which devices count
            alike; ``None`` without any.
        best: whether that is the lowest so far; of the last such epoch the weights are kept.
    """

    number: int
    loss: float
    validation_loss: float | None
    best: bool


def fine_tuning_windows(clips: Sequence[ClipData], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Windows of clips, :data:`WINDOW_HOP_FRAMES` apart.

    At most :data:`model.training_data.SPREAD_WINDOWS`, so that they fit into memory; see
    :func:`model.training_data.drawn_windows`.

    Args:
        clips: taken as they are, without their copies.
        seed: of the draw where there are more.

    Returns:
        float32 ``(n, 128, 73)`` and labels, int64 ``(n,)``.
    """
    return drawn_windows(clips, WINDOW_HOP_FRAMES, SPREAD_WINDOWS, seed)


def learning_parameters(network: DeviceNetwork, freeze: Freeze) -> list[nn.Parameter]:
    """What is trained: of the softmax layer and, under ``trunk``, of the MLP and its batch norm."""
    return [parameter for layer in _learning(network, freeze) for parameter in layer.parameters()]


def fine_tune(
    network: DeviceNetwork,
    windows: Tensor,
    labels: Tensor,
    n_devices: int,
    freeze: Freeze,
    config: TrainingConfig,
    validation: tuple[Tensor, Tensor] | None = None,
    *,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> DeviceNetwork:
    """Train a fresh softmax layer, and the MLP if it is not frozen, on other devices.

    Batch norms keep their statistics, that behind the MLP too: it learns gain and bias. A model
    file holds it folded into the MLP, and statistics of small batches would undo that.

    Devices count alike in either loss, however many windows they have.

    The ``statistics`` profile's linear scores are measured anew on the given windows, under either
    freeze; they take no part in the training, as in training from scratch. Its embedding stays.

    Args:
        network: trained; stays as it is.
        windows: float32 ``(n, 128, 73)``, raw features of the network's front end.
        labels: int64 ``(n,)``, indices of the new devices, each at least once.
        n_devices: new devices, at least two.
        freeze: what stays as it is.
        config: ``epochs``, ``batch``, ``learning_rate``, ``weight_decay``, ``label_smoothing``,
            ``patience`` and ``seed`` count.
        validation: windows and labels; then the weights of the epoch with the lowest validation
            loss are kept, else the last ones.
        track: wraps the epochs' numbers, for progress.
        on_epoch: called after each epoch.

    Returns:
        a network of its own, in evaluation mode.

    Raises:
        CorpusError: fewer than two devices, or one without windows; in the ``statistics`` profile
            also if no device has two.
    """
    counts = _counts(labels, n_devices, network.config.profile)
    tuned = copy.deepcopy(network).eval()
    tuned.config = replace(network.config, n_devices=n_devices)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)  # also of dropout
        tuned.classifier = nn.Linear(network.config.mlp_dim, n_devices)
        if network.config.profile == "statistics":
            tuned.linear_scores = LinearScores(tuned.hidden.in_features, n_devices)
        values, statistics = _frozen(tuned, freeze, windows)
        if statistics is not None:
            _fit_linear(tuned.linear_scores, statistics, labels, counts)
        held_out = None
        if validation is not None:
            held_out = (*_frozen(tuned, freeze, validation[0]), validation[1])
        weight = len(labels) / (n_devices * counts.float())
        _learn(tuned, freeze, values, labels, weight, config, held_out, track, on_epoch)
    return tuned.eval()


def shuffled_batches(n: int, size: int, rng: np.random.Generator) -> list[Tensor]:
    """One pass over ``n`` windows at random: int64 indices, ``size`` at a time, the rest last."""
    return list(torch.from_numpy(rng.permutation(n)).split(size))


_HeldOut = tuple[Tensor, "Tensor | None", Tensor]  # values, statistics, labels


def _learn(
    network: DeviceNetwork,
    freeze: Freeze,
    values: Tensor,
    labels: Tensor,
    weight: Tensor,
    config: TrainingConfig,
    held_out: _HeldOut | None,
    track: Callable[[Sequence[int]], Iterable[int]],
    on_epoch: Callable[[Epoch], None] | None,
) -> None:
    """Train what learns on what was computed of the windows before it."""
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    optimizer = kind(
        learning_parameters(network, freeze),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    rng = np.random.default_rng((config.seed, 3))
    best_loss, best_epoch, best = float("inf"), 0, _state(network, freeze)
    for number in track(range(1, config.epochs + 1)):
        network.dropout.train()
        batches = shuffled_batches(len(values), config.batch, rng)
        total = 0.0
        for batch in batches:
            loss = functional.cross_entropy(
                _logits(network, freeze, values[batch]),
                labels[batch],
                weight=weight,
                label_smoothing=config.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        network.dropout.eval()
        validation_loss = None if held_out is None else _loss(network, freeze, held_out)
        better = validation_loss is not None and validation_loss < best_loss
        if on_epoch is not None:
            on_epoch(Epoch(number, total / len(batches), validation_loss, better))
        if validation_loss is None:
            continue
        if better:
            best_loss, best_epoch, best = validation_loss, number, _state(network, freeze)
        elif config.patience and number - best_epoch >= config.patience:
            break
    optimizer.zero_grad()
    if best_epoch:
        for layer, state in zip(_learning(network, freeze), best, strict=True):
            layer.load_state_dict(state)


def _learning(network: DeviceNetwork, freeze: Freeze) -> list[nn.Module]:
    if freeze == "mlp":
        return [network.classifier]
    return [network.mlp, network.mlp_norm, network.classifier]


def _state(network: DeviceNetwork, freeze: Freeze) -> list[dict[str, Any]]:
    return [copy.deepcopy(layer.state_dict()) for layer in _learning(network, freeze)]


def _logits(network: DeviceNetwork, freeze: Freeze, values: Tensor) -> Tensor:
    """What learns, on what reaches it; the linear scores are left out."""
    if freeze == "mlp":
        return network.classifier(network.dropout(values))  # type: ignore[no-any-return]
    if network.config.profile == "statistics":  # which drops units before the MLP, too
        values = network.dropout(values)
    return network.head(values)[0]


@torch.no_grad()
def _loss(network: DeviceNetwork, freeze: Freeze, held_out: _HeldOut) -> float:
    """Cross entropy of the logits as the finished network gives them."""
    values, statistics, labels = held_out
    logits = _logits(network, freeze, values)
    if statistics is not None:
        logits = logits + network.linear_scores(statistics)
    weight = 1 / torch.bincount(labels, minlength=logits.shape[1]).clamp(min=1).float()
    return float(functional.cross_entropy(logits, labels, weight=weight))


def _frozen(
    network: DeviceNetwork, freeze: Freeze, windows: Tensor
) -> tuple[Tensor, Tensor | None]:
    """What reaches the layers that learn, ``(n, width)``, and the linear scores if there are any.

    Args:
        network: in evaluation mode.
        freeze: what is frozen.
        windows: float32 ``(n, 128, 73)``.
    """
    boundary = network.mlp if freeze == "trunk" else network.classifier
    if network.config.profile != "statistics":
        return _inputs_of([boundary], network, windows)[0], None
    values, statistics = _inputs_of([boundary, network.linear_scores], network, windows)
    return values, statistics


@torch.no_grad()
def _inputs_of(
    layers: Sequence[nn.Module], network: DeviceNetwork, windows: Tensor
) -> list[Tensor]:
    """What layers of a network are given, a row for each window."""
    seen: list[list[Tensor]] = [[] for _ in layers]

    def keep(rows: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: rows.append(inputs[0])

    hooks = [
        layer.register_forward_pre_hook(keep(rows))
        for layer, rows in zip(layers, seen, strict=True)
    ]
    try:
        for part in windows.split(_CHUNK):
            network(part)
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(rows) for rows in seen]


@torch.no_grad()
def _fit_linear(scores: LinearScores, statistics: Tensor, labels: Tensor, counts: Tensor) -> None:
    """Measure the linear scores, under equal priors."""
    scores.fit(statistics, labels, LINEAR_SHARE)
    # Discriminant analysis takes the shares of the windows for the devices' priors.
    priors = counts.float().log()
    scores.bias -= LINEAR_SHARE * (priors - priors.mean())


def _counts(labels: Tensor, n_devices: int, profile: str) -> Tensor:
    """Windows of each device, int64 ``(n_devices,)``; raises CorpusError."""
    if n_devices < 2:
        raise CorpusError("fine-tuning needs two devices or more to tell apart")
    counts = torch.bincount(labels, minlength=n_devices)
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise CorpusError(f"no window to fine-tune on of devices {missing}")
    if profile == "statistics" and int(counts.max()) < 2:
        raise CorpusError("every device has a single window: nothing to tell it from its words")
    return counts
