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
from model.features import WINDOW_FRAMES, FrontEndConfig

Profile = Literal["paper", "default"]

SOFTNESS = 2.0  #: of the soft minimum and maximum, per standard deviation of a band
STATISTICS_CLIP = 8.0  #: standard deviations beyond which a frame counts no further
VARIANCE_FLOOR = 1e-4  #: of a band's variance over a window, in squared standard deviations


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
    statistics_noise: float = 0.7

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
        pairs = {key: tuple(values[key]) for key in ("filters", "strides") if key in values}
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


class InputNorm(nn.Module):
    """Removes the level (optional) and standardises each feature with fixed statistics.

    No trained parameter: mean and scale are measured once on the training windows.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.level_free = config.level_free
        self.energy = config.n_static - 1  # index of the log energy
        self.first_mel = 3 * config.n_static
        self.register_buffer("mean", torch.zeros(config.n_features))
        self.register_buffer("scale", torch.ones(config.n_features))

    def remove_level(self, x: Tensor) -> Tensor:
        """Subtract the window's mean from log energy, and its grand mean from log pre-Fbank."""
        if not self.level_free:
            return x
        energy = x[..., self.energy : self.energy + 1]
        mels = x[..., self.first_mel :]
        return torch.cat(
            [
                x[..., : self.energy],
                energy - energy.mean(dim=1, keepdim=True),
                x[..., self.energy + 1 : self.first_mel],
                mels - mels.mean(dim=(1, 2), keepdim=True),
            ],
            dim=-1,
        )

    @torch.no_grad()
    def fit(self, windows: Tensor) -> None:
        """Measure mean and scale on training windows, shape ``(n, 128, 73)``."""
        levelled = self.remove_level(windows)
        self.mean.copy_(levelled.mean(dim=(0, 1)))
        self.scale.copy_(1.0 / levelled.std(dim=(0, 1)).clamp_min(1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 128, 73)`` raw features to standardised ones of the same shape."""
        return (self.remove_level(x) - self.mean) * self.scale


class StatisticsPool(nn.Module):
    """Long-term statistics over time of each normalised mel band, whitened.

    Four per band: the mean, the log standard deviation, and soft minimum and maximum (log-mean-
    exp of the negated and of the plain values), which lean towards the quiet frames, where the
    device's noise floor shows, and the loud ones, where its frequency response does.

    The whitening makes the *within-device* covariance of the training windows the identity: what
    varies with the words is scaled down, what stays with the device stands out (the same step as
    in linear discriminant analysis). Fixed once measured.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, n_bands: int, noise: float) -> None:
        super().__init__()
        self.n_statistics = 4 * n_bands
        self.noise = noise
        self.register_buffer("mean", torch.zeros(self.n_statistics))
        self.register_buffer("whitening", torch.eye(self.n_statistics))

    def statistics(self, x: Tensor) -> Tensor:
        """``(B, 128, bands)`` to ``(B, 4 bands)``."""
        mean = x.mean(dim=1)
        variance = (x - mean.unsqueeze(1)).square().mean(dim=1)
        scaled = SOFTNESS * x.clamp(-STATISTICS_CLIP, STATISTICS_CLIP)
        quiet = torch.log(torch.exp(-scaled).mean(dim=1)) / -SOFTNESS
        loud = torch.log(torch.exp(scaled).mean(dim=1)) / SOFTNESS
        return torch.cat([mean, 0.5 * torch.log(variance + VARIANCE_FLOOR), quiet, loud], dim=1)

    @torch.no_grad()
    def fit(self, statistics: Tensor, labels: Tensor, shrinkage: float = 0.01) -> None:
        """Measure the whitening on training windows.

        Args:
            statistics: ``(n, 2 F)``, from :meth:`statistics`.
            labels: ``(n,)`` device indices.
            shrinkage: share of the mean variance added to every direction.
        """
        values = statistics.double()
        within = torch.zeros(self.n_statistics, self.n_statistics, dtype=torch.float64)
        for device in labels.unique():
            group = values[labels == device]
            centred = group - group.mean(dim=0)
            within += centred.T @ centred
        within /= len(values)
        within += shrinkage * within.diagonal().mean() * torch.eye(self.n_statistics)
        variances, directions = torch.linalg.eigh(within)
        self.mean.copy_(values.mean(dim=0))
        self.whitening.copy_(directions / variances.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 128, F)`` to whitened statistics ``(B, 2 F)``; noisy in training mode."""
        whitened = (self.statistics(x) - self.mean) @ self.whitening
        if self.training:
            whitened = whitened + self.noise * torch.randn_like(whitened)
        return whitened


class ScalarEncoder(nn.Module):
    """The paper's Transformer encoder over tokens of one feature.

    Self-attention with ``heads`` heads of ``head_dim`` on scalar tokens ``x_i``, residual,
    LayerNorm, feed-forward, residual. Queries are ``x_i q + q0`` and keys ``x_j k + k0`` (vectors
    per head), so that the score is ``(x_i q.k + q0.k) x_j / sqrt(d)`` plus terms equal for all
    ``j``, which the softmax removes; values are ``x_j v + v0`` and the output projection a vector,
    so that head ``h`` contributes ``(v.o) sum_j p_ij x_j + v0.o``. The forward pass uses this
    folded form with the full set of parameters; ``tests/test_network.py`` compares it with the
    unfolded computation.
    """

    def __init__(self, heads: int, head_dim: int, feed_forward: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(heads, head_dim))
        self.key = nn.Parameter(torch.empty(heads, head_dim))
        self.value = nn.Parameter(torch.empty(heads, head_dim))
        self.query_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.key_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.value_bias = nn.Parameter(torch.zeros(heads, head_dim))
        self.out = nn.Parameter(torch.empty(heads, head_dim))
        self.out_bias = nn.Parameter(torch.zeros(1))
        self.norm = nn.LayerNorm(1)
        self.expand = nn.Linear(1, feed_forward)
        self.contract = nn.Linear(feed_forward, 1)
        bound = (6.0 / (1 + heads * head_dim)) ** 0.5  # Glorot uniform, one input feature
        for weight in (self.query, self.key, self.value, self.out):
            nn.init.uniform_(weight, -bound, bound)

    def folded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slope and offset of the score, ``(heads,)`` each, gain ``(heads,)``, constant ``(1,)``.

        ``score_hij = (slope_h x_i + offset_h) x_j``;
        ``attention_i = sum_h gain_h sum_j softmax_j(score_hij) x_j + constant``.
        """
        scale = self.query.shape[1] ** -0.5
        slope = (self.query * self.key).sum(dim=1) * scale
        offset = (self.query_bias * self.key).sum(dim=1) * scale
        gain = (self.value * self.out).sum(dim=1)
        constant = (self.value_bias * self.out).sum() + self.out_bias
        return slope, offset, gain, constant

    def feed_forward(self, x: Tensor) -> Tensor:
        """The constant that the feed-forward half adds, computed the long way."""
        return self.contract(torch.relu(self.expand(self.norm(x))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens)`` scalars to ``(B, tokens)``."""
        slope, offset, gain, constant = self.folded()
        pre = slope[None, :, None] * x[:, None, :] + offset[None, :, None]  # (B, heads, i)
        attention = torch.softmax(pre.unsqueeze(-1) * x[:, None, None, :], dim=-1)
        mixed = torch.matmul(attention, x[:, None, :, None]).squeeze(-1)  # (B, heads, i)
        x = x + torch.einsum("h,bhi->bi", gain, mixed) + constant
        return x + self.feed_forward(x.unsqueeze(-1)).squeeze(-1)


class TokenEncoder(nn.Module):
    """Pre-norm Transformer encoder over time tokens: 8 heads of 64 and a small feed-forward."""

    def __init__(self, dim: int, heads: int, head_dim: int, feed_forward: int, dropout: float):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * heads * head_dim)
        self.out = nn.Linear(heads * head_dim, dim)
        self.feed_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, feed_forward)
        self.contract = nn.Linear(feed_forward, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, dim)`` to the same shape."""
        batch, steps, _ = x.shape
        packed = self.query_key_value(self.attention_norm(x))
        query, key, value = packed.view(batch, steps, 3, self.heads, self.head_dim).permute(
            2, 0, 3, 1, 4
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, steps, -1)))
        hidden = torch.relu(self.expand(self.feed_norm(x)))
        return x + self.dropout(self.contract(hidden))  # type: ignore[no-any-return]


class DeviceNetwork(nn.Module):
    """Window of raw features to device logits and the embedding.

    Args:
        config: profile and sizes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.filters
        self.input_norm = InputNorm(config)
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


def window_shape(config: NetworkConfig) -> tuple[int, int]:
    """Frames and features of one window: ``(128, 73)``."""
    return WINDOW_FRAMES, config.n_features
