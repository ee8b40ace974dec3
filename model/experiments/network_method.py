"""Our networks behind the interface of the baselines (torch)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
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
from model.training_config import TrainingConfig


class NetworkMethod:
    """A profile of the network, trained on the clips as they are.

    A clip's scores are the mean log posteriors of its windows. The paper's windows are cut from
    where the frames lie; the statistics profile copies the mel bands of all clips into memory.

    Args:
        profile: of the network.
        training: hyper-parameters.
        fitting: accelerator, and where checkpoints go.
        blocks: of the ``paper`` profile.
    """

    def __init__(
        self,
        profile: Profile,
        training: TrainingConfig,
        fitting: Fitting,
        blocks: tuple[Block, ...] = BLOCKS,
    ) -> None:
        self._profile, self._blocks = profile, blocks
        self._training, self._fitting = training, fitting
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
        with ExitStack() as stack:
            run = self._fitting.checkpoints
            trained = train(
                Split("experiment", tuple(features), (), ()),
                features,
                replace(config, blocks=self._blocks),
                self._front_end,
                self._training,
                run or Path(stack.enter_context(tempfile.TemporaryDirectory())),
                labels=names,
                resume=run is not None,
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
        """Trained numbers, and measured ones: scales, whitening, linear scores.

        What only the embedding needs is left out.
        """
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return sum(
            tensor.numel()
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not name.startswith("discriminants")
        )
