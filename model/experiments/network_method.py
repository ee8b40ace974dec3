"""Our networks behind the interface of the baselines (torch)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from model.baselines.baseline import BaselineClip, IntArray
from model.corpus import Clip
from model.crossval import network_scorer
from model.experiments.window_votes import features_of, mean_log_posteriors
from model.features import FloatArray
from model.network import DeviceNetwork
from model.network_config import NetworkConfig, Profile, front_end_for
from model.split import Split
from model.training import train
from model.training_config import preset


class NetworkMethod:
    """A profile of the network, trained on the clips as they are.

    A clip's scores are the mean log posteriors of its windows.

    Args:
        profile: of the network.
        preset_name: of the hyper-parameters.
        seed: of weights and draws.
    """

    def __init__(self, profile: Profile, preset_name: str = "fast", seed: int = 0) -> None:
        self.name = f"network, {profile} profile"
        self._profile, self._front_end = profile, front_end_for(profile)
        self._config = preset(preset_name).with_changes(seed=seed, augment=())
        self._network: DeviceNetwork | None = None

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        """Train; see :class:`model.baselines.baseline.Baseline`."""
        names = [f"{label:04d}" for label in range(int(labels.max()) + 1)]
        features = {
            Clip(Path(str(i)), names[label], str(i)): features_of(clip, self._front_end)
            for i, (clip, label) in enumerate(zip(clips, labels, strict=True))
        }
        config = NetworkConfig.for_profile(self._profile, len(names), self._front_end)
        with tempfile.TemporaryDirectory() as folder:
            trained = train(
                Split("experiment", tuple(features), (), ()),
                features,
                config,
                self._front_end,
                self._config,
                Path(folder),
                labels=names,
                accelerator="cpu",
                devices=1,
            )
        self._network = trained.network.eval()

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        """See :func:`model.experiments.window_votes.mean_log_posteriors`."""
        network = self._fitted()
        scorer = network_scorer(network)
        return mean_log_posteriors(scorer, clips, self._front_end, network.config.n_devices)

    @property
    def n_parameters(self) -> int:
        """Trained numbers, and those of the linear scores, which are measured."""
        network = self._fitted()
        trained = sum(parameter.numel() for parameter in network.parameters())
        if self._profile == "statistics":
            trained += sum(buffer.numel() for buffer in network.linear_scores.buffers())
        return trained

    def _fitted(self) -> DeviceNetwork:
        if self._network is None:
            raise ValueError("not fitted")
        return self._network
