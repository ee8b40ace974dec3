"""What the tests of the experiments share: the commands in this process, and cheap networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from agent.cli import app
from model.baselines.baseline import BaselineClip, IntArray
from model.corpus import Clip
from model.experiments import tasks
from model.features import FloatArray, FrontEndConfig
from model.network_config import NetworkConfig
from model.split import Split
from model.training_config import TrainingConfig
from tests.in_process import results_here


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No process is started from here on; names of the tasks that are run, not read."""
    done: list[str] = []
    run_one = tasks._run

    def spied(job: Any) -> dict[str, Any]:
        done.append(job[0].name)
        return run_one(job)

    monkeypatch.setattr(tasks, "_run", spied)
    monkeypatch.setattr(tasks, "results_of", results_here)
    monkeypatch.setattr("model.feature_copies.results_of", results_here)
    return done


def run(*arguments: str | Path, code: int = 0) -> Result:
    """``devrec-agent experiment``, which must end with the code."""
    done = CliRunner().invoke(app, ["experiment", *map(str, arguments)], env={"COLUMNS": "100"})
    assert done.exit_code == code, done.stderr
    return done


def refused(done: Result, message: str) -> None:
    """A single line was said, with this in it."""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


class NearestMean:
    """A method that is fitted in no time: the mean frame that a clip's lies nearest to."""

    def fit(self, clips: Sequence[BaselineClip], labels: IntArray) -> None:
        frames = self._frames(clips)
        self._means = np.stack([frames[labels == n].mean(axis=0) for n in range(labels.max() + 1)])

    def scores(self, clips: Sequence[BaselineClip]) -> FloatArray:
        distances = self._frames(clips)[:, None] - self._means
        scores: FloatArray = -np.square(distances).sum(axis=2).astype(np.float32)
        return scores

    @property
    def n_parameters(self) -> int:
        return int(self._means.size)

    def _frames(self, clips: Sequence[BaselineClip]) -> FloatArray:
        return np.stack([clip.features.mean(axis=0) for clip in clips])


def cheap_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NetworkConfig, TrainingConfig]]:
    """Our networks are small and learn nothing but their inputs' scale; settings asked for."""
    from model.experiments import network_method
    from model.network import DeviceNetwork
    from model.training import Trained
    from model.training_data import spread_windows, training_clips

    asked: list[tuple[NetworkConfig, TrainingConfig]] = []
    sizes = {"filters": (2, 2), "lstm_units": 4, "heads": 2, "head_dim": 2, "feed_forward": 3}
    sizes |= {"hidden_dim": 8, "mlp_dim": 6, "n_discriminants": 4, "n_robust": 2}

    def train(
        split: Split,
        features: Mapping[Clip, FloatArray],
        network_config: NetworkConfig,
        front_end: FrontEndConfig,
        config: TrainingConfig,
        run_dir: Path,
        *,
        labels: Sequence[str],
        **further: object,
    ) -> Trained:
        asked.append((network_config, config))
        network = DeviceNetwork(replace(network_config, **sizes))
        network.fit_statistics(*spread_windows(training_clips(split.train, features, labels)))
        return Trained(network.eval(), tuple(labels), config.epochs, False, {})

    monkeypatch.setattr(network_method, "train", train)
    return asked
