"""The paper's network and the two profiles that grew out of it (torch).

128-frame windows of 73 features -> two 1-D ConvLSTMs -> BiLSTM -> two Transformer encoders ->
MLP of 128 (the embedding) -> one logit per device. Zeng, Zhao and Wang (arXiv 2411.03668),
section III and Table II.

``paper``
    Exactly the paper's network, 0.626 M parameters at 45 devices. The BiLSTM's last states, 256
    numbers, are 256 tokens of one feature. Two consequences: LayerNorm over one feature always
    outputs its bias, so the feed-forward half of each encoder adds a constant; and attention over
    scalars folds (:class:`ScalarEncoder`), which is what makes it affordable.

    Blocks may be dropped, for the ablations (Tables VII and VIII). Without the ConvLSTMs the frames
    themselves go on. Without the BiLSTM all steps are flattened, and a fully connected layer makes
    256 numbers of them. Without the encoders the 256 numbers go to the MLP as they are.

``hybrid``
    The same blocks up to the BiLSTM. Tokens are the 128 time steps, projected to 64 dimensions,
    pooled by mean and standard deviation; and the MLP also sees the window's whitened long-term
    statistics, the part of the window that a device's frequency response shapes directly.

``statistics``
    These statistics alone, a hidden layer, and the MLP: no recurrent layer. The logits are the sum
    of the MLP's and of linear ones (:class:`model.window_statistics.LinearScores`). The embedding
    is not the MLP's, which collapses onto the devices it was trained on, but linear discriminants
    of the statistics (:class:`model.window_statistics.Discriminants`), which tell strangers apart
    as well. ``docs/model-card.md`` has the measurements that this profile was chosen by for the
    built-in model.

All normalise features inside the graph, so a model file takes raw front-end frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.convlstm import ConvLSTM1d
from model.encoders import ScalarEncoder, TokenEncoder
from model.features import WINDOW_FRAMES
from model.network_config import NetworkConfig
from model.window_statistics import (
    Discriminants,
    InputNorm,
    LinearScores,
    StatisticsPool,
)


class DeviceNetwork(nn.Module):
    """Window of raw features to device logits and the embedding.

    Args:
        config: profile and sizes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.input_norm = InputNorm(config.n_static, config.n_mels, level_free=config.level_free)
        self.statistics: StatisticsPool | None = None
        if config.profile != "paper":
            self.statistics = StatisticsPool(config.n_mels, config.statistics_noise)
        self.mlp_norm: nn.Module = nn.BatchNorm1d(config.mlp_dim)
        if self.statistics is not None and config.profile == "statistics":
            self.discriminants = Discriminants(
                self.statistics.n_statistics, config.n_discriminants, config.n_robust
            )
            self.linear_scores = LinearScores(self.statistics.n_statistics, config.n_devices)
            self.hidden = nn.Linear(self.statistics.n_statistics, config.hidden_dim)
            self.hidden_norm = nn.BatchNorm1d(config.hidden_dim)
            self.mlp = nn.Linear(config.hidden_dim, config.mlp_dim)
        else:
            self._build_sequence_branch(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.mlp_dim, config.n_devices)

    def _build_sequence_branch(self, config: NetworkConfig) -> None:
        """ConvLSTMs, BiLSTM and encoders, and the MLP that takes what they give."""
        step_width = config.n_features
        if "convlstm" in config.blocks:
            first, second = config.filters
            self.convlstm1 = ConvLSTM1d(
                1, first, config.n_features, config.strides[0], peepholes=config.peepholes
            )
            self.norm1 = nn.BatchNorm1d(first, eps=1e-3)
            self.convlstm2 = ConvLSTM1d(
                first,
                second,
                self.convlstm1.positions,
                config.strides[1],
                peepholes=config.peepholes,
            )
            self.norm2 = nn.BatchNorm1d(second, eps=1e-3)
            step_width = self.convlstm2.positions * second
        if "bilstm" in config.blocks:
            self.bilstm = nn.LSTM(
                step_width, config.lstm_units, batch_first=False, bidirectional=True
            )
        else:
            self.gather = nn.Linear(WINDOW_FRAMES * step_width, 2 * config.lstm_units)
        width = 2 * config.lstm_units
        if self.statistics is None:
            n_encoders = 2 if "transformer" in config.blocks else 0
            self.encoders = nn.ModuleList(
                ScalarEncoder(config.heads, config.head_dim, config.feed_forward)
                for _ in range(n_encoders)
            )
            self.mlp = nn.Linear(width, config.mlp_dim)
            self.mlp_norm = nn.Identity()
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
            pooled = 2 * config.token_dim + self.statistics.n_statistics
            self.sequence_norm = nn.LayerNorm(2 * config.token_dim)
            self.mlp = nn.Linear(pooled, config.mlp_dim)

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

    def steps(self, x: Tensor) -> Tensor:
        """Normalised windows ``(B, 128, 73)`` to what the ConvLSTMs make of them.

        Returns:
            ``(128, B, width)``; without ConvLSTMs the frames.
        """
        if "convlstm" not in self.config.blocks:
            return x.transpose(0, 1)
        steps = x.permute(1, 2, 0).unsqueeze(-1).contiguous()  # (T, 73, B, 1)
        hidden = self.convlstm1(steps)
        hidden = self.norm1(hidden.reshape(-1, hidden.shape[-1])).view_as(hidden)
        hidden = self.convlstm2(hidden)
        hidden = self.norm2(hidden.reshape(-1, hidden.shape[-1])).view_as(hidden)
        # (T, P, B, C) -> (T, B, P C): position-major, as Keras flattens it.
        flat: Tensor = hidden.permute(0, 2, 1, 3).flatten(2)
        return flat

    def trunk(self, x: Tensor) -> Tensor:
        """Normalised windows ``(B, 128, 73)`` to BiLSTM states ``(128, B, 2 units)``."""
        states, _ = self.bilstm(self.steps(x))
        return states  # type: ignore[no-any-return]

    def tokens(self, x: Tensor) -> Tensor:
        """Normalised windows to the numbers that the paper's encoders take, ``(B, 2 units)``."""
        if "bilstm" not in self.config.blocks:
            gathered: Tensor = self.gather(self.steps(x).transpose(0, 1).flatten(1))
            return gathered
        states, units = self.trunk(x), self.config.lstm_units
        # Last output of either direction: the forward one's last step, the backward's first.
        return torch.cat([states[-1, :, :units], states[0, :, units:]], dim=1)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Score windows.

        Args:
            windows: float32 ``(B, 128, 73)``, raw features of the front end.

        Returns:
            logits ``(B, n_devices)`` and embedding ``(B, embedding_dim)``.
        """
        if self.config.profile == "statistics":
            return self.from_mels(self.mels(windows))
        x = self.input_norm(windows)
        if self.statistics is None:
            tokens = self.tokens(x)
            for encoder in self.encoders:
                tokens = encoder(tokens)
            return self.head(tokens)
        noisy = x
        if self.training and self.config.sequence_noise:
            noisy = x + self.config.sequence_noise * torch.randn_like(x)
        states = self.trunk(noisy)
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

    def statistics_alone(self, windows: Tensor) -> Tensor:
        """Logits with the sequence branch left out, to see what it contributes.

        Args:
            windows: float32 ``(B, 128, 73)``, raw features.

        Raises:
            ValueError: the profile has no statistics branch.
        """
        return self.from_mels(self.mels(windows))[0]

    def from_mels(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, from the statistics of raw mel bands alone, no recurrent layer run.

        Args:
            mels: float32 ``(B, 128, bands)``, raw pre-Fbank of the front end.

        Raises:
            ValueError: the profile has no statistics branch.
        """
        if self.statistics is None:
            raise ValueError(f"profile {self.config.profile} has no statistics branch")
        with torch.no_grad():  # nothing here is trained by gradient
            raw = self.statistics.statistics(self.input_norm.mels(mels))
            values = self.statistics.whiten(raw)
        if self.config.profile == "statistics":
            hidden = torch.relu(self.hidden_norm(self.hidden(values)))
            logits = self.head(self.dropout(hidden))[0] + self.linear_scores(raw)
            return logits, self.discriminants(raw)
        silent = values.new_zeros(len(values), 2 * self.config.token_dim)
        return self.head(torch.cat([silent, values], dim=1))

    def head(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features to logits and embedding."""
        embedding = torch.relu(self.mlp_norm(self.mlp(pooled)))
        return self.classifier(self.dropout(embedding)), embedding
