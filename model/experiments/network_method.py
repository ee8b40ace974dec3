"""Our networks behind the interface of the baselines (torch)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.baselines.baseline import BaselineClip, IntArray
from model.corpus import Clip
from model.crossval import network_scorer
from model.experiments.methods import Fitting
from model.experiments.window_votes import mean_log_posteriors
from model.features import FloatArray
from model.network import DeviceNetwork
from model.network_config import BLOCKS, Block, NetworkConfig, Profile, front_end_for
from model.split import Split
from model.training import train
from model.training_config import TrainingConfig, preset


class NetworkMethod:
    """A profile of the network, trained on the clips as they are.

    A clip's scores are the mean log posteriors of its windows. Clips are not copied into memory:
    windows are cut from where their frames lie.

    Args:
        profile: of the network.
        fitting: preset, epochs, seed.
        blocks: of the ``paper`` profile.
    """

    def __init__(
        self, profile: Profile, fitting: Fitting, blocks: tuple[Block, ...] = BLOCKS
    ) -> None:
        self.name = f"network, {profile} profile"
        self._profile, self._blocks, self._fitting = profile, blocks, fitting
        self._front_end = front_end_for(profile)
        self._network: DeviceNetwork | None = None

    @property
    def network(self) -> DeviceNetwork:
        """The trained network, in evaluation mode."""
        if self._network is None:
            raise ValueError("not fitted")
        return self._network

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Train; see :class:`model.baselines.baseline.Baseline`."""
        names = [f"device {label + 1}" for label in range(int(labels.max()) + 1)]
        features = {
            Clip(Path(str(i)), names[label], str(i)): clips[i].frames
            for i, label in enumerate(labels)
        }
        config = NetworkConfig.for_profile(self._profile, len(names), self._front_end)
        with tempfile.TemporaryDirectory() as folder:
            trained = train(
                Split("experiment", tuple(features), (), ()),
                features,
                replace(config, blocks=self._blocks),
                self._front_end,
                training_of(self._fitting),
                Path(folder),
                labels=names,
                accelerator=self._fitting.accelerator,
                devices=1,
            )
        self._network = trained.network

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """See :func:`model.experiments.window_votes.mean_log_posteriors`."""
        scorer = network_scorer(self.network)
        return mean_log_posteriors(scorer, clips, self.network.config.n_devices)

    @property
    def n_parameters(self) -> int:
        """Trained numbers, and those of the linear scores, which are measured."""
        trained = sum(parameter.numel() for parameter in self.network.parameters())
        if self._profile == "statistics":
            trained += sum(buffer.numel() for buffer in self.network.linear_scores.buffers())
        return trained


def training_of(fitting: Fitting) -> TrainingConfig:
    """Hyper-parameters of an experiment; no augmented copies, and nothing to stop early by."""
    config = preset(fitting.preset).with_changes(
        seed=fitting.seed, epochs=fitting.epochs, augment=(), patience=0
    )
    return replace(config, epochs=1, warm_up_steps=1) if fitting.hurried else config
