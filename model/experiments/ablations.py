"""The paper's network without some of its blocks: what Tables VII and VIII compare.

Seven networks keep one, two or all three of ConvLSTM, BiLSTM and Transformer encoders, groups 1 to
7 here: single blocks (1 to 3), pairs (4 to 6), and the whole. In which order the paper numbers them
is not known to us. :mod:`model.network` says how the blocks that are left are joined.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from model.baselines.baseline import Baseline
from model.experiments.methods import (
    PAPER_NETWORK,
    Fitting,
    Method,
    training_of,
    training_settings,
)
from model.network_config import Block


def _network(blocks: tuple[Block, ...], fitting: Fitting) -> Baseline:
    from model.experiments.network_method import NetworkMethod

    return NetworkMethod("paper", training_of(fitting), fitting, blocks)


def _group(number: int, title: str, *blocks: Block) -> Method:
    make = partial(_network, blocks)
    key = "group-" + "-".join(blocks)
    return Method(key, f"{number}: {title}", make, training=training_settings, by_window=True)


#: Its folds serve Table V as well.
WHOLE = replace(PAPER_NETWORK, title="7: all three, the paper's network")
TRANSFORMER_ONLY = _group(3, "Transformer", "transformer")

#: Table VII here: one block each, and the whole network.
SINGLE_BLOCKS: tuple[Method, ...] = (
    _group(1, "ConvLSTM", "convlstm"),
    _group(2, "BiLSTM", "bilstm"),
    TRANSFORMER_ONLY,
    WHOLE,
)
#: Table VIII here: two blocks each, and the whole network.
PAIRS_OF_BLOCKS: tuple[Method, ...] = (
    _group(4, "ConvLSTM + BiLSTM", "convlstm", "bilstm"),
    _group(5, "ConvLSTM + Transformer", "convlstm", "transformer"),
    _group(6, "BiLSTM + Transformer", "bilstm", "transformer"),
    WHOLE,
)
