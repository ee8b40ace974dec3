"""ONNX -> torch: the network behind a model file, to compare engines with and to train on from."""

from __future__ import annotations

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from export.folding import Folded, folded_weights
from export.graph_builder import Array
from model.encoders import ScalarEncoder, TokenEncoder
from model.errors import ModelError
from model.metadata import ModelMetadata
from model.network import DeviceNetwork
from model.network_config import NetworkConfig
from model.window_statistics import StatisticsPool


def rebuild_network(model: ModelProto, source: str) -> DeviceNetwork:
    """The torch network that computes what a model file computes.

    The file holds folded weights; the network gets them as they are, and batch norms, whitening
    and what else was folded become identities. It computes the same function, in another order.

    Args:
        model: as :func:`export.graph.build_model` made it, in float32.
        source: file name for messages.

    Returns:
        the network in evaluation mode.

    Raises:
        ModelError: not such a model, or written by a version that did not name its weights.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = ModelMetadata.from_properties(properties, source)
    try:
        weights = folded_weights(model)
        network = DeviceNetwork(NetworkConfig.from_dict(metadata.network))
        with torch.no_grad():
            _fill(network.input_norm.mean, weights["input_norm.mean"])
            _fill(network.input_norm.scale, weights["input_norm.scale"])
            _neutral(network.mlp_norm)
            if network.statistics is None:
                _fill_trunk(network, weights)
                _fill_paper_head(network, weights)
            elif network.config.profile == "statistics":
                _fill_statistics(network, weights)
            else:
                _fill_trunk(network, weights)
                _fill_hybrid_head(network, network.statistics, weights)
            _fill_linear(network.classifier, weights, "classifier")
    except (ModelError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ModelError(f"{source}: no network can be rebuilt from it ({error})") from error
    return network.eval()


def _fill(target: Tensor, values: Array) -> None:
    if target.numel() != values.size:
        raise ValueError(f"{values.shape} does not fit {tuple(target.shape)}")
    target.copy_(torch.from_numpy(np.array(values)).reshape(target.shape))


def _fill_linear(layer: nn.Linear, weights: Folded, name: str) -> None:
    _fill(layer.weight, weights[f"{name}.weight"].T)
    _fill(layer.bias, weights[f"{name}.bias"])


def _neutral(norm: nn.Module) -> None:
    """A batch norm that changes nothing."""
    if isinstance(norm, nn.BatchNorm1d):
        norm.reset_parameters()
        if norm.running_var is not None:
            norm.running_var.fill_(1.0 - norm.eps)


def _fill_trunk(network: DeviceNetwork, weights: Folded) -> None:
    first = weights["convlstm1.input.weight"]  # its last row is the bias
    _fill(network.convlstm1.input_kernel, first[:-1])
    _fill(network.convlstm1.bias, first[-1])
    _fill(network.convlstm2.input_kernel, weights["convlstm2.input.weight"])
    _fill(network.convlstm2.bias, weights["convlstm2.input.bias"])
    for name, layer in (("convlstm1", network.convlstm1), ("convlstm2", network.convlstm2)):
        _fill(layer.state_kernel, weights[f"{name}.state.weight"])
        if layer.peephole is not None:
            _fill(layer.peephole, weights[f"{name}.peephole"])
    for norm in (network.norm1, network.norm2):
        _neutral(norm)
    biases = np.split(weights["bilstm.bias"], 2, axis=1)
    for direction, suffix in enumerate(("", "_reverse")):
        lstm = network.bilstm
        for target, rows in (
            (f"weight_ih_l0{suffix}", weights["bilstm.input"][direction]),
            (f"weight_hh_l0{suffix}", weights["bilstm.state"][direction]),
            (f"bias_ih_l0{suffix}", biases[0][direction]),
            (f"bias_hh_l0{suffix}", biases[1][direction]),
        ):
            i, o, f, c = np.split(rows, 4)  # ONNX's order of gates
            _fill(getattr(lstm, target), np.concatenate([i, f, c, o]))


def _fill_paper_head(network: DeviceNetwork, weights: Folded) -> None:
    for index, encoder in enumerate(network.encoders):
        if not isinstance(encoder, ScalarEncoder):
            raise TypeError("not the paper's encoders")
        name = f"encoders.{index}"
        for parameter in encoder.parameters():
            parameter.zero_()
        # Only the folded products are known: slope = q.k and offset = q0.k take two components of
        # a head, k = (slope, offset), q = (1, 0), q0 = (0, 1); gain = v.o takes one.
        encoder.query[:, 0] = 1.0
        encoder.query_bias[:, 1] = 1.0
        encoder.value[:, 0] = 1.0
        root = encoder.query.shape[1] ** 0.5
        slope = torch.from_numpy(weights[f"{name}.slope"].ravel().copy()) * root
        offset = torch.from_numpy(weights[f"{name}.offset"].ravel().copy()) * root
        encoder.key[:, 0] = slope
        encoder.key[:, 1] = offset
        _fill(encoder.out[:, 0], weights[f"{name}.gain"])
        _fill(encoder.contract.bias, weights[f"{name}.constant"])
    _fill_linear(network.mlp, weights, "mlp")


def _fill_hybrid_head(network: DeviceNetwork, statistics: StatisticsPool, weights: Folded) -> None:
    _fill_linear(network.project, weights, "project")
    for index, encoder in enumerate(network.encoders):
        if not isinstance(encoder, TokenEncoder):
            raise TypeError("not the hybrid profile's encoders")
        name = f"encoders.{index}"
        for norm in ("attention_norm", "feed_norm"):
            _fill(getattr(encoder, norm).weight, weights[f"{name}.{norm}.weight"])
            _fill(getattr(encoder, norm).bias, weights[f"{name}.{norm}.bias"])
        # The file has keys and values folded into the queries and the output: here they become
        # identities, padded where a head is wider than a token.
        width, heads, root = network.config.token_dim, encoder.heads, encoder.head_dim**0.5
        same = np.eye(encoder.head_dim, width)
        query = same @ weights[f"{name}.query.weight"].T.reshape(heads, width, width) * root
        rows = [query.reshape(-1, width), *[np.tile(same, (heads, 1))] * 2]
        _fill(encoder.query_key_value.weight, np.concatenate(rows))
        bias = weights[f"{name}.query.bias"].reshape(heads, width) @ same.T * root
        zeros = np.zeros(2 * bias.size)
        _fill(encoder.query_key_value.bias, np.concatenate([bias.ravel(), zeros]))
        out = weights[f"{name}.out.weight"].T.reshape(width, heads, width) @ same.T
        _fill(encoder.out.weight, out)
        _fill(encoder.out.bias, weights[f"{name}.out.bias"])
        for layer in ("expand", "contract"):
            _fill_linear(getattr(encoder, layer), weights, f"{name}.{layer}")
    _fill(network.sequence_norm.weight, weights["sequence_norm.weight"])
    _fill(network.sequence_norm.bias, weights["sequence_norm.bias"])
    _unwhitened(statistics)
    kernel = np.concatenate([weights["mlp.weight"], weights["mlp.statistics.weight"]])
    _fill(network.mlp.weight, kernel.T)
    _fill(network.mlp.bias, weights["mlp.bias"])


def _fill_statistics(network: DeviceNetwork, weights: Folded) -> None:
    if network.statistics is not None:
        _unwhitened(network.statistics)
    _neutral(network.hidden_norm)
    _fill_linear(network.hidden, weights, "statistics.hidden")
    _fill_linear(network.mlp, weights, "mlp")
    _fill(network.linear_scores.weight, weights["statistics.linear_scores.weight"])
    _fill(network.linear_scores.bias, weights["statistics.linear_scores.bias"])
    projection = weights["statistics.discriminants.weight"]
    _fill(network.discriminants.projection, projection)
    # Any centre will do that the projection maps to the offset.
    offset = weights["statistics.discriminants.bias"]
    _fill(network.discriminants.centre, -offset @ np.linalg.pinv(projection))


def _unwhitened(statistics: StatisticsPool) -> None:
    """The whitening is folded into what follows."""
    statistics.whitening.copy_(torch.eye(len(statistics.whitening)))
    statistics.mean.zero_()
