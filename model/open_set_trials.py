"""Trials with devices that the embedding was not fitted on: enrolment, unknown, comparison (torch).

In every draw some devices are strangers: the embedding is fitted on the others alone. In every fold
of a draw one content (clip number, session) is tested, and the embedding and all enrolments are of
the other contents: no trial compares a clip with one of the same words.

The devices fall into two halves, the same in all draws. The strangers of one half serve to
calibrate the scores and to choose the threshold, those of the other to test both, and the other way
round: no figure is of devices that its threshold was chosen on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.augmentation.conditions import Condition, kinds
from model.condition_tests import ConditionTests
from model.corpus import Clip, Corpus
from model.detection_metrics import detection_figures, threshold_at_fpr
from model.embedding_scoring import cosine_scores
from model.errors import CorpusError
from model.evaluation import EVALUATION_HOP_FRAMES
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES, FrontEndConfig, windows_of
from model.likelihood_ratio import Calibration, fit_calibration, lr_bounds
from model.likelihood_ratio_validation import lr_figures
from model.mel import DoubleArray
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.open_set import thinned
from model.segment_windows import SegmentWindows
from model.statistics_training import fit_linear
from model.training_config import TrainingConfig
from model.training_data import ClipData, label_clips, spread_windows

FALSE_ACCEPTANCE = 0.01  #: of strangers, that the threshold is chosen for
STRANGERS_SHARE = 0.3  #: of the devices, in every draw
FEWEST_DEVICES = 8
FEWEST_STRANGERS = 2  #: of either half in a draw: two make a different-device trial


@dataclass(frozen=True, eq=False)
class Trials:
    """Scores of one draw and fold under one condition; cosines.

    Attributes:
        known: ``(n,)``, best score of each clip by a known device.
        named: bool ``(n,)``, whether the best device is the right one.
        unknown: two arrays ``(m,)``, best score of each clip by a stranger, a half each.
        enrolled: bool ``(k,)``, whether a stranger enrolled from one clip was named among them all.
        same: two arrays, scores of clip pairs by one stranger, a half of the strangers each.
        different: likewise by two strangers of a half.
    """

    known: DoubleArray
    named: np.ndarray
    unknown: tuple[DoubleArray, DoubleArray]
    enrolled: np.ndarray
    same: tuple[DoubleArray, DoubleArray]
    different: tuple[DoubleArray, DoubleArray]


def embedding_network(
    clips: Sequence[Clip],
    features: dict[Clip, Any],
    copies: FeatureCopies | None,
    speech: SegmentWindows | None,
    front_end: FrontEndConfig,
    config: TrainingConfig,
) -> DeviceNetwork:
    """A network of the ``statistics`` profile with a fitted embedding and an untrained head."""
    labels = sorted({clip.device for clip in clips})
    data = label_clips(clips, features, labels, copies)
    network = DeviceNetwork(NetworkConfig.for_profile("statistics", len(labels), front_end))
    network.fit_statistics(*spread_windows(data))
    fit_linear(network, SegmentWindows.for_network(data, network.config), config, speech)
    return network.eval()


def clip_embeddings(
    network: DeviceNetwork, clips: Sequence[Clip], copies: FeatureCopies, copy: int
) -> DoubleArray:
    """Mean embedding of each clip in a copy, float64 ``(clips, dims)``; each at least a window."""
    means = []
    with torch.no_grad():
        for clip in clips:
            windows = windows_of(copies.features(copy, clip), EVALUATION_HOP_FRAMES)
            embedding = network(torch.from_numpy(np.array(windows)))[1]
            means.append(embedding.numpy().mean(axis=0, dtype=np.float64))
    return np.stack(means)


def run_trials(
    corpus: Corpus,
    features: dict[Clip, Any],
    front_end: FrontEndConfig,
    config: TrainingConfig,
    copies: FeatureCopies | None,
    speech: Sequence[ClipData],
    tests: ConditionTests,
    n_draws: int,
    track: Callable[[Sequence[tuple[int, str]]], Any] = iter,
) -> dict[str, Any]:
    """All draws and folds, and what they say.

    Args:
        corpus: devices with clips of at least two groups (contents); clips shorter than a window
            are left out.
        features: of every clip as it is.
        front_end: config of the features.
        config: ``virtual_devices`` and ``seed``.
        copies: augmented copies to fit on.
        speech: see :func:`model.statistics_training.fit_linear`.
        tests: every clip under the conditions to test; the first is the clip as it is.
        n_draws: draws of strangers.
        track: shows progress over (draw, group).

    Returns:
        JSON-ready: figures per kind of condition (clean, seen, unseen) and per condition, the
        calibration and threshold to ship, and validation trials.

    Raises:
        CorpusError: fewer than 8 devices or 2 groups, or devices without clips to compare.
    """
    long_enough = (clip for clip in corpus.clips if len(features[clip]) >= WINDOW_FRAMES)
    usable = Corpus(corpus.name, tuple(long_enough))
    devices, groups = usable.devices, usable.groups
    if len(devices) < FEWEST_DEVICES or len(groups) < 2:
        raise CorpusError(
            f"strangers need {FEWEST_DEVICES} devices and clips of two contents or more; "
            f"{corpus.name} has {len(devices)} and {len(groups)}"
        )
    network_config = NetworkConfig.for_profile("statistics", len(devices), front_end)
    further = SegmentWindows.for_network(speech, network_config) if speech else None
    by_condition: list[list[Trials]] = [[] for _ in tests.conditions]
    mixed = np.random.default_rng((config.seed, 4)).permutation(len(devices))
    first = {devices[i] for i in mixed[: len(devices) // 2]}
    n_strangers = max(2 * FEWEST_STRANGERS, round(STRANGERS_SHARE * len(devices)))
    for draw, group in track([(draw, group) for draw in range(n_draws) for group in groups]):
        rng = np.random.default_rng((config.seed, 3, draw))
        known, halves = _drawn(devices, first, n_strangers, rng)
        others = [c for c in usable.clips if c.group != group]
        enrolled = {clip.device for clip in others}
        known = [device for device in known if device in enrolled]
        tested = [c for c in usable.clips if c.group == group]
        if len(known) < 2:  # nothing to tell apart
            continue
        fitted_on = [c for c in others if c.device in known]
        network = embedding_network(fitted_on, features, copies, further, front_end, config)
        enrolments = clip_embeddings(network, others, tests.copies, 0)
        for number, trials in enumerate(by_condition):
            questioned = clip_embeddings(network, tested, tests.copies, number)
            trials.append(_trials(known, halves, others, enrolments, tested, questioned))
    _check_trials(by_condition[0], corpus.name)
    n_known = len(devices) - n_strangers
    return _report(tests.conditions, by_condition, corpus, n_draws, n_known, bool(speech))


def _drawn(
    devices: Sequence[str], first: set[str], n_strangers: int, rng: np.random.Generator
) -> tuple[list[str], tuple[list[str], list[str]]]:
    """Known devices, and the strangers of either half, enough of both."""
    while True:
        shuffled = [devices[i] for i in rng.permutation(len(devices))]
        strangers, known = shuffled[:n_strangers], sorted(shuffled[n_strangers:])
        halves = ([d for d in strangers if d in first], [d for d in strangers if d not in first])
        if min(map(len, halves)) >= FEWEST_STRANGERS:
            return known, halves


def _check_trials(trials: Sequence[Trials], name: str) -> None:
    """Whether there are trials of every kind; raises CorpusError."""
    kinds = ("unknown", "same", "different")
    counts = [sum(len(getattr(t, kind)[half]) for t in trials) for kind in kinds for half in (0, 1)]
    if not all(counts) or not sum(len(t.known) for t in trials):
        raise CorpusError(f"{name}: too few devices have clips of two contents or more")


def _trials(
    known: Sequence[str],
    halves: tuple[Sequence[str], Sequence[str]],
    others: Sequence[Clip],
    enrolments: DoubleArray,
    tested: Sequence[Clip],
    questioned: DoubleArray,
) -> Trials:
    owner = np.array([clip.device for clip in others])
    asked = np.array([clip.device for clip in tested])
    prototypes = np.stack([enrolments[owner == device].mean(axis=0) for device in known])
    of_known = np.isin(asked, known)
    scores = cosine_scores(prototypes, questioned)
    named = np.array(known)[scores.argmax(axis=1)] == asked
    strangers = [*halves[0], *halves[1]]
    pairs = cosine_scores(enrolments, questioned)  # (tested, others)
    same_device = asked[:, None] == owner[None]
    enrolled = []
    for group in sorted({clip.group for clip in others}):
        of_group = np.array([clip.group == group for clip in others]) & np.isin(owner, strangers)
        if len(set(owner[of_group])) < len(strangers):
            continue
        for i in np.flatnonzero(np.isin(asked, strangers)):
            best = np.flatnonzero(of_group)[pairs[i, of_group].argmax()]
            enrolled.append(owner[best] == asked[i])

    def within(half: Sequence[str]) -> np.ndarray:
        return np.isin(asked, half)[:, None] & np.isin(owner, half)[None]

    return Trials(
        known=scores.max(axis=1)[of_known],
        named=named[of_known],
        unknown=tuple(scores.max(axis=1)[np.isin(asked, half)] for half in halves),
        enrolled=np.array(enrolled, bool),
        same=tuple(pairs[same_device & within(half)] for half in halves),
        different=tuple(pairs[~same_device & within(half)] for half in halves),
    )


def _report(
    conditions: Sequence[Condition],
    by_condition: Sequence[Sequence[Trials]],
    corpus: Corpus,
    n_draws: int,
    n_known: int,
    has_speech: bool,
) -> dict[str, Any]:
    flat = {
        kind: [trials for k in of for trials in by_condition[k]]
        for kind, of in kinds([condition.seen for condition in conditions]).items()
    }
    fitting = flat["clean"] + flat.get("seen", [])
    # For the strangers of either half, chosen on those of the other.
    thresholds = [
        threshold_at_fpr(_pooled(fitting, "unknown", 1 - half), FALSE_ACCEPTANCE) for half in (0, 1)
    ]
    calibrations = [
        fit_calibration(_pooled(fitting, "same", 1 - half), _pooled(fitting, "different", 1 - half))
        for half in (0, 1)
    ]
    report: dict[str, Any] = {
        "protocol": "strangers held out of the embedding, one content held out of all enrolments",
        "corpus": corpus.content_hash(),
        "corpus_name": corpus.name,
        "devices": len(corpus.devices),
        "known_devices": n_known,
        "draws": n_draws,
        "speech": has_speech,
        "kinds": {kind: _figures(trials, thresholds) for kind, trials in flat.items()},
        "conditions": [
            {
                "name": condition.name,
                "family": condition.family,
                "seen": condition.seen,
                **_figures(by_condition[k], thresholds),
            }
            for k, condition in enumerate(conditions)
        ],
    }
    same, different = _pooled(fitting, "same"), _pooled(fitting, "different")
    calibration = fit_calibration(same, different)
    unknown = calibration.log10_lr(_pooled(fitting, "unknown"))
    known = calibration.log10_lr(np.concatenate([trials.known for trials in fitting]))
    threshold = threshold_at_fpr(unknown, FALSE_ACCEPTANCE)
    same_lr, different_lr = calibration.log10_lr(same), calibration.log10_lr(different)
    report["shipped"] = {
        "calibration": calibration.to_dict(),
        "bounds": lr_bounds(same_lr, different_lr).to_dict(),
        "threshold": threshold,
        "false_acceptance": float((unknown > threshold).mean()),
        "true_acceptance": float((known > threshold).mean()),
    }
    validation = [_validated(trials, calibrations) for trials in (flat["clean"], fitting)]
    report["comparison"] = {
        name: lr_figures(*trials).to_dict()
        for name, trials in zip(("clean", "clean and seen"), validation, strict=True)
    }
    report["validation"] = {
        name: thinned(np.sort(trials)).round(3).tolist()
        for name, trials in zip(("same", "different"), validation[1], strict=True)
    }
    return report


def _pooled(trials: Sequence[Trials], name: str, half: int | None = None) -> DoubleArray:
    """Scores of a kind over draws, folds and conditions; of one half of the devices or of both."""
    halves = (0, 1) if half is None else (half,)
    return np.concatenate([getattr(part, name)[h] for part in trials for h in halves])


def _figures(trials: Sequence[Trials], thresholds: Sequence[float]) -> dict[str, Any]:
    """Detection and enrolment figures, and rates at thresholds chosen on other strangers."""
    known = np.concatenate([part.known for part in trials])
    named = np.concatenate([part.named for part in trials])
    enrolled = np.concatenate([part.enrolled for part in trials])
    unknown = _pooled(trials, "unknown")
    accepted = [(known > threshold).mean() for threshold in thresholds]
    passed = [
        (_pooled(trials, "unknown", half) > threshold).mean()
        for half, threshold in enumerate(thresholds)
    ]
    return {
        **detection_figures(known, unknown, FALSE_ACCEPTANCE, named).to_dict(),
        "known_named_right": float(named.mean()),
        "enrolled_named_right": float(enrolled.mean()) if len(enrolled) else None,
        "enrolment_trials": len(enrolled),
        "at_threshold_of_other_strangers": {
            "known_accepted": float(np.mean(accepted)),
            "unknown_accepted": float(np.mean(passed)),
        },
    }


def _validated(
    trials: Sequence[Trials], calibrations: Sequence[Calibration]
) -> tuple[DoubleArray, DoubleArray]:
    """Log10 LRs of comparisons, each calibrated on the other half of the strangers."""
    same, different = [], []
    for half, calibration in enumerate(calibrations):
        same.append(calibration.log10_lr(_pooled(trials, "same", half)))
        different.append(calibration.log10_lr(_pooled(trials, "different", half)))
    return np.concatenate(same), np.concatenate(different)
