"""Settings of the network and its profiles; no torch, so that anything may read them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from model.features import FrontEndConfig

Profile = Literal["paper", "hybrid", "statistics"]
PROFILES: tuple[Profile, ...] = ("statistics", "hybrid", "paper")  #: the default first

#: Parts of the paper's network, in order; what is left of it without some of them is what its
#: ablations compare (Tables VII and VIII).
Block = Literal["convlstm", "bilstm", "transformer"]
BLOCKS: tuple[Block, ...] = ("convlstm", "bilstm", "transformer")

TAPS = 3  #: kernel size of all ConvLSTM convolutions, along the feature axis

SOFTNESS = 2.0  #: of the soft minimum and maximum, per standard deviation of a band
STATISTICS_CLIP = 8.0  #: standard deviations beyond which a frame counts no further
VARIANCE_FLOOR = 1e-4  #: of a band's variance over a window, in squared standard deviations


@dataclass(frozen=True)
class NetworkConfig:
    """What decides the shape of the network.

    Attributes:
        n_devices: number of classes.
        profile: ``"statistics"``, ``"hybrid"`` or ``"paper"``; see :mod:`model.network`.
        blocks: parts of the sequence branch that are there, at least one, in their order; only the
            ``paper`` profile can do without some.
        n_static: MFCC and log-energy values per frame (13); frame layout of the front end.
        n_mels: pre-Fbank values per frame (34).
        level_free: subtract the window's mean level from log energy and (logarithmic) pre-Fbank,
            so that gain does not identify a device.
        filters: filters of the two ConvLSTM layers.
        strides: strides of their input convolutions along the feature axis (73 -> 24 -> 11).
        peepholes: Hadamard peepholes of equations (6)-(9); the paper's count has none.
        lstm_units: BiLSTM units per direction.
        heads: attention heads.
        head_dim: size of each head.
        feed_forward: hidden units of the encoder's feed-forward half.
        token_dim: size of a time token (``hybrid`` only).
        hidden_dim: units between the statistics and the MLP (``statistics`` only).
        n_discriminants: values of the embedding of the ``statistics`` profile that are fitted on
            the corpus.
        n_robust: values of it behind those that are fitted on many simulated domains.
        mlp_dim: units of the MLP; its output is the embedding of ``hybrid`` and ``paper``.
        dropout: dropout rate in encoders and before the softmax.
        sequence_dropout: share of training windows whose sequence branch (ConvLSTM to encoders) is
            left out, so that the statistics learn to stand alone (``hybrid`` only).
        sequence_noise: Gaussian noise on the normalised features that the sequence branch sees in
            training, in standard deviations (``hybrid`` only).
        statistics_noise: likewise on the whitened statistics (not ``paper``).
    """

    n_devices: int
    profile: Profile = "hybrid"
    blocks: tuple[Block, ...] = BLOCKS
    n_static: int = 13
    n_mels: int = 34
    level_free: bool = True
    filters: tuple[int, int] = (64, 32)
    strides: tuple[int, int] = (3, 2)
    peepholes: bool = False
    lstm_units: int = 128
    heads: int = 8
    head_dim: int = 64
    feed_forward: int = 128
    token_dim: int = 64
    hidden_dim: int = 256
    n_discriminants: int = 40
    n_robust: int = 60
    mlp_dim: int = 128
    dropout: float = 0.3
    sequence_dropout: float = 0.5
    sequence_noise: float = 0.3
    statistics_noise: float = 1.0

    def __post_init__(self) -> None:
        kept = tuple(block for block in BLOCKS if block in self.blocks)
        if not kept or kept != self.blocks or (self.profile != "paper" and kept != BLOCKS):
            raise ValueError(f"no {self.profile} network is made of {self.blocks}")

    @property
    def n_features(self) -> int:
        """Values per frame (73)."""
        return 3 * self.n_static + self.n_mels

    @property
    def embedding_dim(self) -> int:
        """Size of the embedding."""
        if self.profile == "statistics":
            return self.n_discriminants + self.n_robust
        return self.mlp_dim

    @property
    def positions(self) -> tuple[int, int]:
        """Positions along the feature axis that the ConvLSTMs' outputs have (24, 11)."""
        first = (self.n_features - TAPS) // self.strides[0] + 1
        return first, (first - TAPS) // self.strides[1] + 1

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """Build a config from :meth:`to_dict`'s mapping; unknown keys raise ``TypeError``."""
        known = {field.name for field in fields(cls)}
        if set(values) - known:
            raise TypeError(f"unknown network settings: {sorted(set(values) - known)}")
        pairs: dict[str, Any] = {
            key: tuple(values[key]) for key in ("blocks", "filters", "strides") if key in values
        }
        return cls(**{**values, **pairs})

    @classmethod
    def for_profile(
        cls, profile: Profile, n_devices: int, front_end: FrontEndConfig
    ) -> NetworkConfig:
        """The profile's settings for a number of devices and a front end."""
        return cls(
            n_devices=n_devices,
            profile=profile,
            n_static=front_end.n_static,
            n_mels=front_end.n_mels,
            level_free=profile != "paper",
            dropout={"paper": 0.0, "hybrid": 0.3, "statistics": 0.2}[profile],
            statistics_noise=0.5 if profile == "statistics" else 1.0,
        )


def front_end_for(profile: Profile) -> FrontEndConfig:
    """The front end that a profile is trained with.

    ``paper`` takes the paper's linear pre-Fbank; the others its logarithm, and remove DC.
    """
    if profile == "paper":
        return FrontEndConfig()
    return FrontEndConfig(remove_dc=True, prefbank="log")
