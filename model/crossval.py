"""Leave-one-group-out: the network and its baselines on the same folds, side by side.

With augmented copies to train on, both are trained on the same copies; with test conditions, both
are tested under each of them as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from model.augmentation.recipe import recipe
from model.baselines.logmel_lda import LogMelLDA
from model.baselines.trivial import nearest_mean_accuracy
from model.condition_tests import ConditionTests, pooled_conditions
from model.corpus import Clip
from model.evaluation import Scorer, evaluate
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES, FloatArray, FrontEndConfig
from model.files import replacing
from model.loading import LoadedCorpus
from model.metrics import figures
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.split import Split, leave_one_group_out
from model.training import train
from model.training_config import TrainingConfig
from model.training_data import label_clips, spread_windows

NETWORK, STATISTICS_ALONE = "network", "network without its sequence branch"
LDA, QUIET_LDA = "log-mel LDA", "log-mel LDA, quietest 20 % of frames"


def network_scorer(network: DeviceNetwork, *, statistics_alone: bool = False) -> Scorer:
    """Score windows with the torch network, in batches; optionally with its statistics alone."""

    def logits(part: torch.Tensor) -> torch.Tensor:
        scored: torch.Tensor = (
            network.statistics_alone(part) if statistics_alone else network(part)[0]
        )
        return scored

    @torch.no_grad()
    def score(windows: FloatArray) -> FloatArray:
        network.eval()
        parts = torch.from_numpy(np.array(windows)).split(64)
        return torch.cat([logits(part) for part in parts]).numpy()

    return score


def leave_groups_out(
    data: LoadedCorpus,
    front_end: FrontEndConfig,
    make_network: Callable[[int], NetworkConfig],
    config: TrainingConfig,
    run_dir: Path,
    console: Console | None = None,
    *,
    copies: FeatureCopies | None = None,
    tests: ConditionTests | None = None,
) -> dict[str, Any]:
    """Train and test once per group; finished folds are kept in ``run_dir`` and not repeated.

    Args:
        data: clips with groups, and their features.
        front_end: config of the features.
        make_network: network settings for a number of devices.
        config: training settings.
        run_dir: folder for checkpoints and finished folds.
        console: where progress goes.
        copies: augmented copies of all clips, to train on as well.
        tests: all clips under the conditions to test.

    Returns:
        a JSON-ready report: per method and fold, and pooled over folds, figures per window and
        per clip; the accuracy of level and DC alone; wrong clips; with ``tests`` the same for every
        condition, and how honest the network's probabilities are.
    """
    corpus, features = data.corpus, data.features
    labels = corpus.devices
    settings = json.loads(
        json.dumps(
            {
                "training": config.to_dict(),
                "front_end": front_end.to_dict(),
                "network": make_network(len(labels)).to_dict(),
                "corpus": corpus.content_hash(),
                # With all their strengths: they are changed more often than their names.
                "conditions": [repr(condition) for condition in tests.conditions] if tests else [],
                "recipe": repr(recipe(config.augment)),
            }
        )
    )
    folds: list[dict[str, Any]] = []
    for group, split in leave_one_group_out(corpus):
        fold_dir = run_dir / f"fold-{len(folds) + 1}"
        finished = fold_dir / "fold.json"
        if finished.is_file():
            fold = json.loads(finished.read_text())
            if fold["settings"] == settings:
                folds.append(fold)
                continue
        if console is not None:
            console.print(f"fold {len(folds) + 1} of {len(corpus.groups)}: {split.name}")
        trained = train(
            split,
            features,
            make_network(len(labels)),
            front_end,
            config,
            fold_dir,
            labels=labels,
            copies=copies,
            resume=True,
            fingerprint=settings["corpus"],
            devices=1,  # several processes would each run all folds
            console=console,
        )
        scorers = {NETWORK: network_scorer(trained.network)}
        if trained.network.config.profile == "hybrid":
            scorers[STATISTICS_ALONE] = network_scorer(trained.network, statistics_alone=True)
        if front_end.prefbank == "log":
            scorers |= _baselines(split, features, front_end, labels, copies)
        test = [(clip, features[clip]) for clip in split.test]
        results = {
            name: evaluate(scorer, test, labels, WINDOW_FRAMES).to_dict()
            for name, scorer in scorers.items()
        }
        index = {label: i for i, label in enumerate(labels)}
        trivial = nearest_mean_accuracy(
            [(index[clip.device], data.levels[clip]) for clip in split.train],
            [(index[clip.device], data.levels[clip]) for clip in split.test],
        )
        fold = {"group": group, "settings": settings, "methods": results, "level_and_dc": trivial}
        if tests is not None:
            compared = {name: scorers[name] for name in (NETWORK, LDA) if name in scorers}
            fold |= tests.run(compared, split.test, labels)
        with replacing(finished) as temporary:
            temporary.write_text(json.dumps(fold))
        folds.append(fold)
        if console is not None:
            for name, result in results.items():
                accuracy, right = result["windows"]["accuracy"], result["clips"]["correct"]
                console.print(
                    f"  {name}: {100 * accuracy:.2f} % of windows, "
                    f"{right}/{result['clips']['count']} clips"
                )
    return _report(folds, labels)


def _baselines(
    split: Split,
    features: Mapping[Clip, FloatArray],
    front_end: FrontEndConfig,
    labels: tuple[str, ...],
    copies: FeatureCopies | None,
) -> dict[str, Scorer]:
    clips = label_clips(split.train, features, labels, copies)
    windows, targets = (part.numpy() for part in spread_windows(clips))
    scorers: dict[str, Scorer] = {}
    for name, quietest in ((LDA, 1.0), (QUIET_LDA, 0.2)):
        baseline = LogMelLDA(front_end, quietest)
        baseline.fit(windows, targets)
        scorers[name] = baseline.logits
    return scorers


def _report(folds: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[str, Any]:
    pooled: dict[str, Any] = {}
    for name in folds[0]["methods"]:
        results = [fold["methods"][name] for fold in folds]
        pooled[name] = {
            kind: asdict(
                figures(np.sum([result[f"{kind[:-1]}_confusion"] for result in results], axis=0))
            )
            for kind in ("windows", "clips")
        }
        pooled[name]["wrong_clips"] = [row for result in results for row in result["wrong_clips"]]
    report = {
        "protocol": "leave one group out",
        "devices": len(labels),
        "settings": folds[0]["settings"],
        "pooled": pooled,
        "level_and_dc_clip_accuracy": float(np.mean([fold["level_and_dc"] for fold in folds])),
        "folds": [
            {
                "group": fold["group"],
                "methods": {
                    name: {kind: result[kind] for kind in ("windows", "clips", "wrong_clips")}
                    for name, result in fold["methods"].items()
                },
                "level_and_dc": fold["level_and_dc"],
            }
            for fold in folds
        ],
    }
    return report | (pooled_conditions(folds) if "conditions" in folds[0] else {})
