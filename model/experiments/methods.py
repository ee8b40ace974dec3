"""The methods of the paper's Table V, and ours, by short names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.baselines.baseline import Baseline
from model.errors import UsageError


@dataclass(frozen=True)
class Method:
    """A method of an experiment.

    Attributes:
        key: short name.
        title: for tables.
        make: gives a fresh one for a seed.
        paper_accuracy: of the paper on its full corpus, a share; ``None`` where we have no figure.
        needs_time: whether it is left out unless it is named: minutes a fold and more.
    """

    key: str
    title: str
    make: Callable[[int], Baseline]
    paper_accuracy: float | None = None
    needs_time: bool = False


def _mfcc_statistics(seed: int) -> Baseline:
    from model.baselines.mfcc_svm import MfccStatisticsSvm

    return MfccStatisticsSvm()


def _mfcc_frames(seed: int) -> Baseline:
    from model.baselines.mfcc_svm import MfccFramesSvm

    return MfccFramesSvm()


def _gsv(seed: int) -> Baseline:
    from model.baselines.gsv_svm import GsvSvm

    return GsvSvm(seed=seed)


def _bed(seed: int) -> Baseline:
    from model.baselines.bed_svm import BedSvm

    return BedSvm()


def _ivector(seed: int) -> Baseline:
    from model.baselines.ivector_svm import IVectorSvm

    return IVectorSvm(seed=seed)


def _lda(seed: int) -> Baseline:
    from model.experiments.lda_method import LogMelLdaMethod

    return LogMelLdaMethod()


def _statistics_network(seed: int) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("statistics", "fast", seed)


def _paper_network(seed: int) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("paper", "fast", seed)


#: In the order of the table. The paper's other figures are not at hand here: its abstract alone
#: says that the network is better than its baselines by 2 to 12 points.
METHODS: tuple[Method, ...] = (
    Method("mfcc-frames-svm", "MFCC, 650 frames + SVM", _mfcc_frames),
    Method("mfcc-svm", "MFCC statistics + SVM", _mfcc_statistics),
    Method("gsv-svm", "GSV + SVM", _gsv),
    Method("bed-svm", "BED + SVM", _bed),
    Method("ivector-svm", "i-vector + SVM", _ivector),
    Method("lda", "log-mel LDA (ours)", _lda),
    Method("network-statistics", "statistics profile (ours)", _statistics_network),
    Method("network-paper", "the paper's network", _paper_network, 0.996, needs_time=True),
)


def chosen(keys: Sequence[str]) -> tuple[Method, ...]:
    """Methods by their keys, in the order of the table; those that take no hours without any.

    Raises:
        UsageError: an unknown key.
    """
    known = [method.key for method in METHODS]
    unknown = sorted(set(keys) - set(known))
    if unknown:
        raise UsageError(f"unknown method {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(m for m in METHODS if (m.key in keys if keys else not m.needs_time))
