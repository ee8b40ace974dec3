"""The methods of the paper's Table V, and ours, by short names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.baselines.baseline import Baseline
from model.errors import UsageError
from model.features import FrontEndConfig
from model.network_config import front_end_for
from model.training_config import TrainingConfig, preset

if TYPE_CHECKING:
    from model.baselines.background_store import BackgroundStore
    from model.baselines.clip_network import ClipTraining

PAPER_FRONT_END = front_end_for("paper")
OUR_FRONT_END = front_end_for("statistics")


@dataclass(frozen=True)
class Fitting:
    """How an experiment fits its methods.

    Attributes:
        seed: of everything random.
        preset: hyper-parameters of the paper's network and of what is left of it without some
            blocks, see :mod:`model.training_config`.
        epochs: of these, instead of the preset's.
        store: folder for background models that several methods share; ``None`` = none is kept.
        accelerator: what our networks are trained on: ``"cpu"``, ``"gpu"`` or ``"auto"``.
        checkpoints: folder for those of a training that may be cut off and go on; ``None`` = none.
        hurried: networks take one epoch or step only. They know nothing then, but cost what they
            cost.
    """

    seed: int = 0
    preset: str = "fast"
    epochs: int | None = None
    store: Path | None = None
    accelerator: str = "cpu"
    checkpoints: Path | None = None
    hurried: bool = False

    def backgrounds(self) -> BackgroundStore:
        """Background models that are kept."""
        from model.baselines.background_store import BackgroundStore

        return BackgroundStore(self.store)

    def of(self, training: ClipTraining) -> ClipTraining:
        """Hyper-parameters of a network on clips, in a hurry where that is wanted."""
        return replace(training, epochs=1) if self.hurried else training


def training_of(fitting: Fitting) -> TrainingConfig:
    """Hyper-parameters of a network of ours.

    It is trained on recordings as they are, without augmented copies, and on all it is given:
    nothing is held out to stop early by.
    """
    config = preset(fitting.preset).with_changes(
        seed=fitting.seed, epochs=fitting.epochs, augment=(), patience=0
    )
    return replace(config, epochs=1, warm_up_steps=1) if fitting.hurried else config


def training_settings(fitting: Fitting) -> dict[str, Any]:
    """:func:`training_of`, JSON-ready."""
    return training_of(fitting).to_dict()


@dataclass(frozen=True)
class Method:
    """A method of an experiment.

    Attributes:
        key: short name.
        title: for tables.
        make: gives a fresh one.
        front_end: of the features that its clips come with.
        takes_samples: whether it takes a clip's samples and none of the features.
        training: hyper-parameters that decide its results, JSON-ready; without it there are none
            but those in the code of a baseline, which is what the program's version stands for.
        by_window: whether it knows windows of 128 frames alone, so that every device must have a
            clip of that length to learn from.
        paper_accuracy: of the paper on its full corpus, a share; ``None`` where we have no figure.
        needs_time: whether it is left out unless it is named: minutes a fold and more.
    """

    key: str
    title: str
    make: Callable[[Fitting], Baseline]
    front_end: FrontEndConfig = field(default=PAPER_FRONT_END)
    takes_samples: bool = False
    training: Callable[[Fitting], dict[str, Any]] | None = None
    by_window: bool = False
    paper_accuracy: float | None = None
    needs_time: bool = False

    def settings(self, fitting: Fitting) -> dict[str, Any]:
        """What decides its results beside corpus and protocol, JSON-ready."""
        return {
            "seed": fitting.seed,
            "front_end": self.front_end.to_dict(),
            "training": self.training(fitting) if self.training else {},
        }


def _mfcc_statistics(fitting: Fitting) -> Baseline:
    from model.baselines.mfcc_svm import MfccStatisticsSvm

    return MfccStatisticsSvm()


def _mfcc_frames(fitting: Fitting) -> Baseline:
    from model.baselines.mfcc_svm import MfccFramesSvm

    return MfccFramesSvm()


def _gsv(fitting: Fitting) -> Baseline:
    from model.baselines.gsv_svm import GsvSvm

    return GsvSvm(seed=fitting.seed, store=fitting.backgrounds())


def _bed(fitting: Fitting) -> Baseline:
    from model.baselines.bed_svm import BedSvm

    return BedSvm()


def _ivector(fitting: Fitting) -> Baseline:
    from model.baselines.ivector_svm import IVectorSvm

    return IVectorSvm(seed=fitting.seed, store=fitting.backgrounds())


def _gsv_cnn(fitting: Fitting) -> Baseline:
    from model.baselines.gsv_cnn import TRAINING, GsvCnn

    return GsvCnn(fitting.seed, training=fitting.of(TRAINING), store=fitting.backgrounds())


def _feature_fusion(fitting: Fitting) -> Baseline:
    from model.baselines.feature_fusion import TRAINING, FeatureFusion

    return FeatureFusion(fitting.seed, training=fitting.of(TRAINING), store=fitting.backgrounds())


def _multi_attention(fitting: Fitting) -> Baseline:
    from model.baselines.multi_attention import TRAINING, MultiAttention

    return MultiAttention(fitting.seed, training=fitting.of(TRAINING), store=fitting.backgrounds())


def _ecapa(fitting: Fitting) -> Baseline:
    from model.baselines.ecapa import TRAINING, Ecapa

    return Ecapa(fitting.seed, training=fitting.of(TRAINING))


def _clip_training(module: str, fitting: Fitting) -> dict[str, Any]:
    """Hyper-parameters of a network on clips, from its file."""
    training: ClipTraining = import_module(f"model.baselines.{module}").TRAINING
    return asdict(fitting.of(training))


def _lda(fitting: Fitting) -> Baseline:
    from model.experiments.lda_method import LogMelLdaMethod

    return LogMelLdaMethod(OUR_FRONT_END)


def _statistics_network(fitting: Fitting) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("statistics", training_of(_for_statistics(fitting)), fitting)


def _for_statistics(fitting: Fitting) -> Fitting:
    """It has no epochs, and the paper's preset is for the paper's network."""
    return replace(fitting, preset="fast", epochs=None)


def _statistics_training(fitting: Fitting) -> dict[str, Any]:
    return training_settings(_for_statistics(fitting))


def _paper_network(fitting: Fitting) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("paper", training_of(fitting), fitting)


#: Also what ablations are compared with.
PAPER_NETWORK = Method(
    "network-paper",
    "the paper's network",
    _paper_network,
    training=training_settings,
    by_window=True,
    paper_accuracy=0.996,
    needs_time=True,
)

LDA = Method("lda", "log-mel LDA (ours)", _lda, OUR_FRONT_END, by_window=True)

#: In the order of the table. The paper's other figures are not at hand here: its abstract alone
#: says that the network is better than its baselines by 2 to 12 points.
METHODS: tuple[Method, ...] = (
    Method("mfcc-frames-svm", "MFCC, 650 frames + SVM", _mfcc_frames),
    Method("mfcc-svm", "MFCC statistics + SVM", _mfcc_statistics),
    Method("gsv-svm", "GSV + SVM", _gsv),
    Method("bed-svm", "BED + SVM", _bed, takes_samples=True),
    Method("ivector-svm", "i-vector + SVM", _ivector),
    Method("gsv-cnn", "GSV + CNN", _gsv_cnn, training=partial(_clip_training, "gsv_cnn")),
    Method(
        "feature-fusion",
        "multi-feature fusion",
        _feature_fusion,
        training=partial(_clip_training, "feature_fusion"),
    ),
    Method(
        "multi-attention",
        "multi-attention",
        _multi_attention,
        training=partial(_clip_training, "multi_attention"),
    ),
    LDA,
    Method(
        "ecapa",
        "ECAPA-TDNN-like (ours)",
        _ecapa,
        OUR_FRONT_END,
        training=partial(_clip_training, "ecapa"),
    ),
    Method(
        "network-statistics",
        "statistics profile (ours)",
        _statistics_network,
        OUR_FRONT_END,
        training=_statistics_training,
        by_window=True,
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
