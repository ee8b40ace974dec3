"""The methods of the paper's Table V, and ours, by short names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.baselines.baseline import Baseline
from model.errors import UsageError
from model.features import FrontEndConfig
from model.network_config import front_end_for

if TYPE_CHECKING:
    from model.baselines.clip_network import ClipTraining

PAPER_FRONT_END = front_end_for("paper")
TRAINED = ("preset", "epochs")  #: what of a :class:`Fitting` decides a network of ours
OUR_FRONT_END = front_end_for("statistics")


@dataclass(frozen=True)
class Fitting:
    """How an experiment fits its methods.

    Attributes:
        seed: of everything random.
        preset: hyper-parameters of our networks, see :mod:`model.training_config`.
        epochs: of our networks, instead of the preset's.
        store: folder for background models that several methods share; ``None`` = none is kept.
        accelerator: what our networks are trained on: ``"cpu"``, ``"gpu"`` or ``"auto"``.
        hurried: networks take one epoch or step only. They know nothing then, but cost what they
            cost.
    """

    seed: int = 0
    preset: str = "fast"
    epochs: int | None = None
    store: Path | None = None
    accelerator: str = "cpu"
    hurried: bool = False

    def of(self, training: ClipTraining) -> ClipTraining:
        """Hyper-parameters of a network on clips, in a hurry where that is wanted."""
        return replace(training, epochs=1) if self.hurried else training


@dataclass(frozen=True)
class Method:
    """A method of an experiment.

    Attributes:
        key: short name.
        title: for tables.
        make: gives a fresh one.
        front_end: of the features that its clips come with.
        takes_samples: whether it takes a clip's samples and none of the features.
        decided_by: what of a :class:`Fitting` decides its results beside the seed.
        paper_accuracy: of the paper on its full corpus, a share; ``None`` where we have no figure.
        needs_time: whether it is left out unless it is named: minutes a fold and more.
    """

    key: str
    title: str
    make: Callable[[Fitting], Baseline]
    front_end: FrontEndConfig = field(default=PAPER_FRONT_END)
    takes_samples: bool = False
    decided_by: tuple[str, ...] = ()
    paper_accuracy: float | None = None
    needs_time: bool = False

    def settings(self, fitting: Fitting) -> dict[str, Any]:
        """What decides its results beside corpus and protocol, JSON-ready."""
        return {name: getattr(fitting, name) for name in ("seed", *self.decided_by)}


def _mfcc_statistics(fitting: Fitting) -> Baseline:
    from model.baselines.mfcc_svm import MfccStatisticsSvm

    return MfccStatisticsSvm()


def _mfcc_frames(fitting: Fitting) -> Baseline:
    from model.baselines.mfcc_svm import MfccFramesSvm

    return MfccFramesSvm()


def _gsv(fitting: Fitting) -> Baseline:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.gsv_svm import GsvSvm

    return GsvSvm(seed=fitting.seed, store=BackgroundStore(fitting.store))


def _bed(fitting: Fitting) -> Baseline:
    from model.baselines.bed_svm import BedSvm

    return BedSvm()


def _ivector(fitting: Fitting) -> Baseline:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.ivector_svm import IVectorSvm

    return IVectorSvm(seed=fitting.seed, store=BackgroundStore(fitting.store))


def _gsv_cnn(fitting: Fitting) -> Baseline:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.gsv_cnn import TRAINING, GsvCnn

    return GsvCnn(fitting.seed, training=fitting.of(TRAINING), store=BackgroundStore(fitting.store))


def _feature_fusion(fitting: Fitting) -> Baseline:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.feature_fusion import TRAINING, FeatureFusion

    return FeatureFusion(
        fitting.seed, training=fitting.of(TRAINING), store=BackgroundStore(fitting.store)
    )


def _multi_attention(fitting: Fitting) -> Baseline:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.multi_attention import TRAINING, MultiAttention

    return MultiAttention(
        fitting.seed, training=fitting.of(TRAINING), store=BackgroundStore(fitting.store)
    )


def _ecapa(fitting: Fitting) -> Baseline:
    from model.baselines.ecapa import TRAINING, Ecapa

    return Ecapa(fitting.seed, training=fitting.of(TRAINING))


def _lda(fitting: Fitting) -> Baseline:
    from model.experiments.lda_method import LogMelLdaMethod

    return LogMelLdaMethod(OUR_FRONT_END)


def _statistics_network(fitting: Fitting) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("statistics", fitting)


def _paper_network(fitting: Fitting) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("paper", fitting)


#: Also what ablations are compared with.
PAPER_NETWORK = Method(
    "network-paper",
    "the paper's network",
    _paper_network,
    decided_by=TRAINED,
    paper_accuracy=0.996,
    needs_time=True,
)

LDA = Method("lda", "log-mel LDA (ours)", _lda, OUR_FRONT_END)

#: In the order of the table. The paper's other figures are not at hand here: its abstract alone
#: says that the network is better than its baselines by 2 to 12 points.
METHODS: tuple[Method, ...] = (
    Method("mfcc-frames-svm", "MFCC, 650 frames + SVM", _mfcc_frames),
    Method("mfcc-svm", "MFCC statistics + SVM", _mfcc_statistics),
    Method("gsv-svm", "GSV + SVM", _gsv),
    Method("bed-svm", "BED + SVM", _bed, takes_samples=True),
    Method("ivector-svm", "i-vector + SVM", _ivector),
    Method("gsv-cnn", "GSV + CNN", _gsv_cnn),
    Method("feature-fusion", "multi-feature fusion", _feature_fusion),
    Method("multi-attention", "multi-attention", _multi_attention),
    LDA,
    Method("ecapa", "ECAPA-TDNN-like (ours)", _ecapa, OUR_FRONT_END),
    Method(
        "network-statistics",
        "statistics profile (ours)",
        _statistics_network,
        OUR_FRONT_END,
        decided_by=("preset",),  # it has no epochs
    ),
    PAPER_NETWORK,
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
