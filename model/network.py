"""The paper's network and the default profile that grew out of it (torch).

128-frame windows of 73 features -> two 1-D ConvLSTMs -> BiLSTM -> two Transformer encoders ->
MLP of 128 (the embedding) -> one logit per device. Zeng, Zhao and Wang (arXiv 2411.03668),
section III and Table II.

Two profiles share every block up to the BiLSTM:

``paper``
    Exactly the paper's network, 0.626 M parameters at 45 devices. The BiLSTM's last states, 256
    numbers, are 256 tokens of one feature. Two consequences: LayerNorm over one feature always
    outputs its bias, so the feed-forward half of each encoder adds a constant; and attention over
    scalars folds (:class:`ScalarEncoder`), which is what makes it affordable.

``default``
    Tokens are the 128 time steps, projected to 64 dimensions, pooled by mean and standard
    deviation; and the MLP also sees the window's whitened long-term statistics, the part of the
    window that a device's frequency response shapes directly. ``docs/model-card.md`` has the
    measurement that this profile was chosen by.

Both normalise features inside the graph, so a model file takes raw front-end frames.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.convlstm import ConvLSTM1d
from model.encoders import ScalarEncoder, TokenEncoder
from model.features import FrontEndConfig
from model.window_statistics import InputNorm, StatisticsPool

Profile = Literal["paper", "default"]


@dataclass(frozen=True)
class NetworkConfig:
    """What decides the shape of the network.

    Attributes:
        n_devices: number of classes.
        profile: ``"paper"`` or ``"default"``.
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
        token_dim: size of a time token (``default`` only).
        embedding_dim: units of the MLP, the embedding.
        dropout: dropout rate in encoders and before the softmax.
        sequence_dropout: share of training windows whose sequence branch (ConvLSTM to encoders) is
            left out, so that the statistics learn to stand alone (``default`` only).
        sequence_noise: Gaussian noise on the normalised features that the sequence branch sees in
            training, in standard deviations (``default`` only).
        statistics_noise: likewise on the whitened statistics (``default`` only).
    """

    n_devices: int
    profile: Profile = "default"
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
    embedding_dim: int = 128
    dropout: float = 0.3
    sequence_dropout: float = 0.5
    sequence_noise: float = 0.3
    statistics_noise: float = 1.0

    @property
    def n_features(self) -> int:
        """Values per frame (73)."""
        return 3 * self.n_static + self.n_mels

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """Build a config from :meth:`to_dict`'s mapping; unknown keys raise ``TypeError``."""
        known = {field.name for field in fields(cls)}
        if set(values) - known:
            raise TypeError(f"unknown network settings: {sorted(set(values) - known)}")
        pairs: dict[str, Any] = {
            key: tuple(values[key]) for key in ("filters", "strides") if key in values
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
            level_free=profile == "default",
            dropout=0.0 if profile == "paper" else 0.3,
        )


def front_end_for(profile: Profile) -> FrontEndConfig:
    """The front end that a profile is trained with.

    ``paper`` takes the paper's linear pre-Fbank; ``default`` its logarithm, and removes DC.
    """
    if profile == "paper":
        return FrontEndConfig()
    return FrontEndConfig(remove_dc=True, prefbank="log")


class DeviceNetwork(nn.Module):
    """Window of raw features to device logits and the embedding.

    Args:
        config: profile and sizes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.filters
        self.input_norm = InputNorm(config.n_static, config.n_mels, level_free=config.level_free)
        self.convlstm1 = ConvLSTM1d(
            1, first, config.n_features, config.strides[0], peepholes=config.peepholes
        )
        self.norm1 = nn.BatchNorm1d(first, eps=1e-3)
        self.convlstm2 = ConvLSTM1d(
            first, second, self.convlstm1.positions, config.strides[1], peepholes=config.peepholes
        )
        self.norm2 = nn.BatchNorm1d(second, eps=1e-3)
        self.bilstm = nn.LSTM(
            self.convlstm2.positions * second,
            config.lstm_units,
            batch_first=False,
            bidirectional=True,
        )
        width = 2 * config.lstm_units
        self.statistics: StatisticsPool | None = None
        if config.profile == "paper":
            self.encoders = nn.ModuleList(
                ScalarEncoder(config.heads, config.head_dim, config.feed_forward) for _ in range(2)
            )
            self.mlp = nn.Linear(width, config.embedding_dim)
            self.mlp_norm: nn.Module = nn.Identity()
        else:
            self.project = nn.Linear(width, config.token_dim)
            self.encoders = nn.ModuleList(
                TokenEncoder(
                    config.token_dim,
                    config.heads,
                    config.head_dim,
                    config.feed_forward,
                    config.dropout,
                )
                for _ in range(2)
            )
            self.statistics = StatisticsPool(config.n_mels, config.statistics_noise)
            pooled = 2 * config.token_dim + self.statistics.n_statistics
            self.sequence_norm = nn.LayerNorm(2 * config.token_dim)
            self.mlp = nn.Linear(pooled, config.embedding_dim)
            self.mlp_norm = nn.BatchNorm1d(config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.embedding_dim, config.n_devices)

    @torch.no_grad()
    def fit_statistics(self, windows: Tensor, labels: Tensor) -> None:
        """Measure the fixed input statistics on training windows, before training.

        Args:
            windows: float32 ``(n, 128, 73)``, raw features.
            labels: int64 ``(n,)``.
        """
        self.input_norm.fit(windows)
        if self.statistics is not None:
            values = torch.cat(
                [
                    self.statistics.statistics(self.mels(self.input_norm(part)))
                    for part in windows.split(512)
                ]
            )
            self.statistics.fit(values, labels)

    def mels(self, x: Tensor) -> Tensor:
        """The pre-Fbank part of the features, what the statistics are taken of."""
        return x[..., 3 * self.config.n_static :]

    def trunk(self, x: Tensor) -> Tensor:
        """Normalised windows ``(B, 128, 73)`` to BiLSTM states ``(128, B, 2 units)``."""
        steps = x.permute(1, 2, 0).unsqueeze(-1).contiguous()  # (T, 73, B, 1)
        hidden = self.convlstm1(steps)
        hidden = self.norm1(hidden.reshape(-1, hidden.shape[-1])).view_as(hidden)
        hidden = self.convlstm2(hidden)
        hidden = self.norm2(hidden.reshape(-1, hidden.shape[-1])).view_as(hidden)
        # (T, P, B, C) -> (T, B, P C): position-major, as Keras flattens it.
        flat = hidden.permute(0, 2, 1, 3).flatten(2)
        states, _ = self.bilstm(flat)
        return states  # type: ignore[no-any-return]

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Score windows.

        Args:
            windows: float32 ``(B, 128, 73)``, raw features of the front end.

        Returns:
            logits ``(B, n_devices)`` and embedding ``(B, 128)``.
        """
        x = self.input_norm(windows)
        noisy = x
        if self.training and self.config.sequence_noise and self.statistics is not None:
            noisy = x + self.config.sequence_noise * torch.randn_like(x)
        states = self.trunk(noisy)
        if self.statistics is None:
            units = self.config.lstm_units
            # Last output of either direction: the forward one's last step, the backward's first.
            tokens = torch.cat([states[-1, :, :units], states[0, :, units:]], dim=1)
            for encoder in self.encoders:
                tokens = encoder(tokens)
            return self.head(tokens)
        tokens = self.project(states).transpose(0, 1)
        for encoder in self.encoders:
            tokens = encoder(tokens)
        mean = tokens.mean(dim=1)
        deviation = ((tokens - mean.unsqueeze(1)).square().mean(dim=1) + 1e-5).sqrt()
        sequence = self.sequence_norm(torch.cat([mean, deviation], dim=1))
        if self.training:  # some windows are judged by their statistics alone
            kept = torch.rand(len(sequence), 1, device=sequence.device)
            sequence = sequence * (kept >= self.config.sequence_dropout)
        pooled = torch.cat([sequence, self.statistics(self.mels(x))], dim=1)
        return self.head(pooled)

    def head(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features to logits and embedding."""
        embedding = torch.relu(self.mlp_norm(self.mlp(pooled)))
        return self.classifier(self.dropout(embedding)), embedding
