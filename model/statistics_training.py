"""Training on the statistics of windows alone: of the head, and of the discriminants (torch).

The recurrent layers are not run, so that a hundred thousand windows take half a minute on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.network import DeviceNetwork
from model.one_cycle import one_cycle
from model.response_curves import response_curves
from model.segment_windows import SegmentWindows
from model.training_config import TrainingConfig

RATE = 5e-3  #: peak learning rate
BATCH = 512  #: windows a step
PIECES = (2, 4, 8)  #: that a spliced window is put together from
REAL_WINDOWS = 30_000  #: of the devices of the corpus, for the discriminants
VIRTUAL_WINDOWS = 40  #: of each virtual device
REAL_WEIGHT = 5.0  #: how many virtual devices a real one counts for
LINEAR_SHARE = 0.45  #: of the linear log posteriors in the logits
SPEECH_SHARE = 0.4  #: of the virtual devices that stand on further speech, where there is any
_CHUNK = 1000


def train_head(network: DeviceNetwork, windows: SegmentWindows, config: TrainingConfig) -> float:
    """Train MLP and softmax on the statistics alone, by cross entropy.

    Args:
        network: with fitted statistics; without a statistics branch nothing happens.
        windows: what to draw from.
        config: ``warm_up_steps``, ``splice``, ``weight_decay``, ``label_smoothing``, ``seed``.

    Returns:
        the last loss, 0 without training.
    """
    if network.statistics is None or not config.warm_up_steps:
        return 0.0
    rng = np.random.default_rng((config.seed, 1))
    network.train()
    head = [*network.mlp.parameters(), *network.mlp_norm.parameters()]
    head += network.classifier.parameters()
    if network.config.profile == "statistics":
        head += [*network.hidden.parameters(), *network.hidden_norm.parameters()]
    optimizer = torch.optim.AdamW(head, weight_decay=config.weight_decay)
    schedule = one_cycle(optimizer, RATE, config.warm_up_steps, rise=0.1)
    loss = torch.tensor(0.0)
    for _ in range(config.warm_up_steps):
        pieces = int(rng.choice(PIECES)) if rng.random() < config.splice else 1
        devices = rng.integers(0, windows.n_devices, BATCH)
        copies = rng.integers(0, windows.n_copies, BATCH)
        logits, _ = network.from_mels(windows.draw(copies, devices, pieces, rng))
        loss = functional.cross_entropy(
            logits, torch.from_numpy(devices), label_smoothing=config.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())


@torch.no_grad()
def fit_linear(
    network: DeviceNetwork,
    windows: SegmentWindows,
    config: TrainingConfig,
    further: SegmentWindows | None = None,
) -> None:
    """Measure the discriminants, on real and on virtual devices, and the linear scores.

    A real recording under a random response curve is a recording by another device. Hundreds of
    these show which directions tell devices apart that nobody trained on.

    Args:
        network: of the ``statistics`` profile, with a trained head: the scores add to it.
        windows: what to draw from.
        config: ``virtual_devices``, ``seed``.
        further: recordings by one further device, many voices and words, that virtual devices are
            made from as well; all labels 0.
    """
    rng = np.random.default_rng((config.seed, 2))
    n_real, n_virtual = windows.n_devices, config.virtual_devices
    real = np.arange(REAL_WINDOWS) % n_real
    values: list[Tensor] = []
    for part in np.array_split(real, -(-len(real) // _CHUNK)):
        mels = windows.draw(rng.integers(0, windows.n_copies, len(part)), part, 1, rng)
        values.append(_statistics(network, mels))
    network.linear_scores.fit(torch.cat(values), torch.from_numpy(real), LINEAR_SHARE)
    curves = torch.from_numpy(response_curves(n_virtual, network.config.n_mels, rng))
    bases = rng.integers(0, n_real, n_virtual)
    on_speech = round(SPEECH_SHARE * n_virtual) if further is not None else 0
    virtual = np.arange(n_virtual)
    labels = [real]
    for source, owners in ((further, virtual[:on_speech]), (windows, virtual[on_speech:])):
        drawn = np.repeat(owners, VIRTUAL_WINDOWS)
        for part in np.array_split(drawn, max(1, -(-len(drawn) // _CHUNK))):
            if source is None or not len(part):
                continue
            base = np.zeros(len(part), np.int64) if source is further else bases[part]
            mels = source.draw(rng.integers(0, source.n_copies, len(part)), base, 1, rng)
            mels = mels + curves[torch.from_numpy(part)][:, None]
            values.append(_statistics(network, mels))
            labels.append(n_real + part)
    owner = torch.from_numpy(np.concatenate(labels))
    network.discriminants.fit(torch.cat(values), owner, n_real, REAL_WEIGHT)


def _statistics(network: DeviceNetwork, mels: Tensor) -> Tensor:
    """Statistics of raw mel bands, not whitened: ``(n, n_statistics)``."""
    assert network.statistics is not None  # a profile that has them
    return network.statistics.statistics(network.input_norm.mels(mels))
