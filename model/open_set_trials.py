"""Trials with devices that the embedding was not fitted on: enrolment, unknown, comparison (torch).

In every draw some devices are strangers: the embedding is fitted on the others alone. In every fold
of a draw one content (clip number, session) is tested, and the embedding and all enrolments are of
the other contents: no trial compares a clip with one of the same words.

The devices fall into two halves, the same in all draws: what is chosen on the strangers of one is
tested on those of the other (:mod:`model.open_set_report`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model.condition_tests import ConditionTests
from model.corpus import Clip, Corpus
from model.domain_training import Mels, fit_other_domains, recording_embeddings
from model.errors import CorpusError
from model.evaluation import EVALUATION_HOP_FRAMES
from model.feature_copies import FeatureCopies
from model.features import WINDOW_FRAMES, FrontEndConfig, windows_of
from model.mel import DoubleArray
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.open_set_report import Elsewhere, open_set_report
from model.segment_windows import SegmentWindows
from model.statistics_training import fit_linear
from model.training_config import TrainingConfig
from model.training_data import ClipData, label_clips, spread_windows
from model.trial_pairs import PairScores, Trials, prototypes_of

STRANGERS_SHARE = 0.3  #: of the devices, in every draw
FEWEST_DEVICES = 8
FEWEST_STRANGERS = 2  #: of either half in a draw: two make a different-device trial


@dataclass(frozen=True, eq=False)
class FurtherSpeech:
    """What speech of other voices gives: virtual devices, and simulated domains.

    Attributes:
        clips: see :func:`model.statistics_training.fit_linear`; none to test with.
        first: recordings of domains, see :func:`model.domain_training.fit_other_domains`.
        second: likewise.
        test: of further domains, devices and voices, float16 ``(domains, devices, 2, frames,
            bands)``.
        measured: whether the devices of ``test`` have measured responses.
    """

    clips: Sequence[ClipData]
    first: Mels
    second: Mels
    test: Mels
    measured: bool


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
    speech: FurtherSpeech | None,
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
        speech: for virtual devices and other domains.
        tests: every clip under the conditions to test; the first is the clip as it is.
        n_draws: draws of strangers.
        track: shows progress over (draw, group).

    Returns:
        JSON-ready: see :func:`model.open_set_report.open_set_report`.

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
    further = None
    if speech is not None and speech.clips:
        further = SegmentWindows.for_network(speech.clips, network_config)
    by_condition: list[list[Trials]] = [[] for _ in tests.conditions]
    elsewhere: list[Elsewhere] = []
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
        domains = None
        if speech is not None:
            domains = fit_other_domains(network, speech.first, speech.second)
        owners = [clip.device for clip in others]
        enrolments = (
            clip_embeddings(network, others, tests.copies, 0),
            owners,
            [clip.group for clip in others],
        )
        if speech is not None and domains is not None:
            own = prototypes_of(enrolments[0], owners, known)
            recorded = recording_embeddings(network, speech.test)
            pairs = [PairScores.of(d[:, 0], d[:, 1], own, domains) for d in recorded]
            elsewhere.append(Elsewhere(pairs, domains.threshold))
        asked = [clip.device for clip in tested]
        for number, trials in enumerate(by_condition):
            questioned = clip_embeddings(network, tested, tests.copies, number), asked
            trials.append(Trials.of(known, halves, enrolments, questioned, domains))
    _check_trials(by_condition[0], corpus.name)
    report = {
        "protocol": "strangers held out of the embedding, one content held out of all enrolments",
        "corpus": corpus.content_hash(),
        "corpus_name": corpus.name,
        "devices": len(corpus.devices),
        "known_devices": len(devices) - n_strangers,
        "draws": n_draws,
        "speech": speech is not None,
        "settings": {"config": config.to_dict(), "front_end": front_end.to_dict()},
    }
    measured = speech is not None and speech.measured
    return {**report, **open_set_report(tests.conditions, by_condition, elsewhere, measured)}


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
