"""A network's parameters folded for inference, and the way back from a model file (numpy).

A graph for engines needs fewer numbers than training: batch norms, the whitening of the statistics
and the constants of attention vanish into the weights around them. :func:`fold` does that once,
in float64; the model file carries the result as named float32 initializers, and
:func:`folded_weights` reads them back, so that a graph of another precision can be written from a
file alone, on a machine without torch.

Names and shapes (``C`` filters, ``P`` positions, ``F`` features, matrices as ``(in, out)``):

==============================  =======================================================
``input_norm.mean``, ``.scale``  ``(F,)``
``convlstm1.input.weight``       ``(3 + 1, 4C)``; the last row is the bias
``convlstmK.state.weight``       ``(3C, 4C)``, tap-major
``convlstmK.peephole``           ``(3, P, C)``, where there are any
``convlstm2.input.*``            ``(3C1, 4C2)``, tap-major, with batch norm 1 folded in
``bilstm.input, .state, .bias``  as the ONNX LSTM operator wants them, with batch norm 2 folded in
``encoders.K.*``                 see :func:`_fold_scalar_encoder` and :func:`_fold_token_encoder`
``project.*``                    ``(2 units, dim)`` (hybrid profile)
``sequence_norm.*``              ``(2 dim,)`` (hybrid profile)
``mlp.*``, ``classifier.*``      linear; ``mlp.statistics.weight`` with whitening and batch norm
``statistics.*``                 linear; ``hidden``, ``linear_scores`` and ``discriminants``
                                 (statistics profile)
==============================  =======================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from onnx import GraphProto, ModelProto, numpy_helper

from export.graph_builder import Array, bodies
from model.errors import ModelError
from model.network_config import BLOCKS, TAPS

if TYPE_CHECKING:
    from model.network import DeviceNetwork

Folded = dict[str, Array]


def fold(network: DeviceNetwork) -> Folded:
    """Fold a trained network.

    Args:
        network: in any mode; running statistics are used.

    Returns:
        the weights above, float64.

    Raises:
        ModelError: a network with blocks dropped, which is there to be measured only.
    """
    if network.config.blocks != BLOCKS:
        kept = ", ".join(network.config.blocks)
        raise ModelError(f"only whole networks become model files, not {kept} alone")
    state = {
        name: tensor.detach().cpu().double().numpy()
        for name, tensor in network.state_dict().items()
    }
    folded = {name: state[name] for name in ("input_norm.mean", "input_norm.scale")}
    _copy_linear(state, folded, "classifier")
    if network.config.profile == "statistics":
        _fold_statistics(state, folded, network.mlp_norm.eps)  # type: ignore[arg-type]
        return folded
    _fold_convlstms(state, folded, network.norm1.eps)
    scale, offset = _batch_norm(state, "norm2", network.norm2.eps)
    positions = network.convlstm2.positions
    _fold_bilstm(state, folded, np.tile(scale, positions), np.tile(offset, positions))
    if network.config.profile == "paper":
        for index, encoder in enumerate(network.encoders):
            parts = encoder.folded()  # type: ignore[operator]
            values = [part.detach().cpu().double().numpy() for part in parts]
            _fold_scalar_encoder(state, folded, f"encoders.{index}", values)
        _copy_linear(state, folded, "mlp")
    else:
        _copy_linear(state, folded, "project")
        for index in range(len(network.encoders)):
            name = f"encoders.{index}"
            _fold_token_encoder(state, folded, name, network.config.heads)
        for part in ("weight", "bias"):
            folded[f"sequence_norm.{part}"] = state[f"sequence_norm.{part}"]
        eps = network.mlp_norm.eps
        _fold_mlp(state, folded, 2 * network.config.token_dim, eps)  # type: ignore[arg-type]
    return folded


def folded_weights(model: ModelProto) -> Folded:
    """The folded weights of a float32 model file.

    Raises:
        ModelError: they are not all there: another precision, or not written by this project.
    """
    folded: Folded = {}
    for name, values in _named_initializers(model.graph):
        folded[name] = values.astype(np.float64)
    try:
        # Layer 1's input kernel stands below its state kernel: one product for both.
        if "statistics.hidden.bias" in folded:  # the statistics profile: no recurrent layer
            return folded
        joined = folded.pop("convlstm1.joined.weight")
        rows = TAPS * joined.shape[1] // 4
        folded["convlstm1.state.weight"], folded["convlstm1.input.weight"] = np.split(
            joined, [rows]
        )
        for layer in ("convlstm1", "convlstm2"):
            gates = [folded.pop(f"{layer}.peephole.{k}", None) for k in range(3)]
            peepholes = [gate for gate in gates if gate is not None]
            if peepholes:
                folded[f"{layer}.peephole"] = np.stack(peepholes)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError("the model file has no named float32 weights") from error
    return folded


def _named_initializers(graph: GraphProto) -> Iterator[tuple[str, Array]]:
    """Initializers with a name of ours, in the graph and in the bodies of its loops."""
    for tensor in graph.initializer:
        if "." in tensor.name:
            yield tensor.name, numpy_helper.to_array(tensor)
    for body in bodies(graph):
        yield from _named_initializers(body)


def _batch_norm(state: Mapping[str, Array], name: str, eps: float) -> tuple[Array, Array]:
    """Inference-mode batch norm as ``scale * x + offset``."""
    scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + eps)
    return scale, state[f"{name}.bias"] - scale * state[f"{name}.running_mean"]


def _copy_linear(state: Mapping[str, Array], folded: Folded, name: str) -> None:
    folded[f"{name}.weight"] = state[f"{name}.weight"].T
    folded[f"{name}.bias"] = state[f"{name}.bias"]


def _fold_convlstms(state: Mapping[str, Array], folded: Folded, eps: float) -> None:
    for layer in ("convlstm1", "convlstm2"):
        kernel = state[f"{layer}.state_kernel"]
        folded[f"{layer}.state.weight"] = kernel.reshape(-1, kernel.shape[-1])
        if f"{layer}.peephole" in state:
            folded[f"{layer}.peephole"] = state[f"{layer}.peephole"]
    kernel = state["convlstm1.input_kernel"].reshape(TAPS, -1)  # one input channel
    folded["convlstm1.input.weight"] = np.concatenate([kernel, state["convlstm1.bias"][None]])
    # Batch norm 1 folds exactly, because the second convolution has no padding.
    scale, offset = _batch_norm(state, "norm1", eps)
    kernel = state["convlstm2.input_kernel"].reshape(TAPS * len(scale), -1)
    folded["convlstm2.input.weight"] = np.tile(scale, TAPS)[:, None] * kernel
    folded["convlstm2.input.bias"] = state["convlstm2.bias"] + np.tile(offset, TAPS) @ kernel


def _fold_bilstm(state: Mapping[str, Array], folded: Folded, scale: Array, offset: Array) -> None:
    """With the affine map of its input folded in."""
    kernels, recurrent, biases = [], [], []
    for suffix in ("", "_reverse"):
        w = state[f"bilstm.weight_ih_l0{suffix}"]
        input_bias = state[f"bilstm.bias_ih_l0{suffix}"] + w @ offset
        kernels.append(_onnx_gates(w * scale))
        recurrent.append(_onnx_gates(state[f"bilstm.weight_hh_l0{suffix}"]))
        state_bias = _onnx_gates(state[f"bilstm.bias_hh_l0{suffix}"])
        biases.append(np.concatenate([_onnx_gates(input_bias), state_bias]))
    folded["bilstm.input"] = np.stack(kernels)
    folded["bilstm.state"] = np.stack(recurrent)
    folded["bilstm.bias"] = np.stack(biases)


def _onnx_gates(rows: Array) -> Array:
    """torch orders LSTM gates i, f, g, o; ONNX i, o, f, g (its c)."""
    i, f, c, o = np.split(rows, 4)
    return np.concatenate([i, o, f, c])


def _fold_scalar_encoder(
    state: Mapping[str, Array], folded: Folded, name: str, values: list[Array]
) -> None:
    """The paper's encoder: ``slope``, ``offset``, ``gain`` per head and one ``constant``.

    See :class:`model.encoders.ScalarEncoder`. LayerNorm over one feature outputs its bias, so the
    feed-forward half belongs to the constant.
    """
    slope, offset, gain, constant = values
    hidden = state[f"{name}.expand.weight"] @ state[f"{name}.norm.bias"]
    hidden = np.maximum(hidden + state[f"{name}.expand.bias"], 0.0)
    fed = state[f"{name}.contract.weight"] @ hidden + state[f"{name}.contract.bias"]
    for quantity, part in (("slope", slope), ("offset", offset), ("gain", gain)):
        folded[f"{name}.{quantity}"] = part.reshape(1, -1, 1, 1)
    folded[f"{name}.constant"] = constant + fed


def _fold_token_encoder(state: Mapping[str, Array], folded: Folded, name: str, heads: int) -> None:
    """The hybrid profile's encoder, its attention folded.

    The score of a head is ``(Wq x_i + bq) . (Wk x_j + bk)``: up to terms that are equal for all
    ``j``, which the softmax removes, ``Wk' (Wq x_i + bq) . x_j``. And a head contributes
    ``Wo Wv sum_j p_ij x_j``, plus a constant, because its probabilities add up to 1. So the
    normalised tokens themselves are keys and values of all heads: what is left is ``query``,
    ``(dim, heads dim)`` with the score's scale in it, and ``out``, ``(heads dim, dim)``.
    """
    packed = state[f"{name}.query_key_value.weight"]
    width = packed.shape[1]
    query, key, value = (part.reshape(heads, -1, width) for part in np.split(packed, 3))
    query_bias, _, value_bias = np.split(state[f"{name}.query_key_value.bias"], 3)
    head_dim = query.shape[1]
    scale = head_dim**-0.5
    out = state[f"{name}.out.weight"]  # (dim, heads head_dim)
    folded[f"{name}.query.weight"] = (
        np.einsum("hdi,hdo->iho", query, key).reshape(width, -1) * scale
    )
    folded[f"{name}.query.bias"] = (
        np.einsum("hd,hdo->ho", query_bias.reshape(heads, -1), key).reshape(-1) * scale
    )
    folded[f"{name}.out.weight"] = np.einsum(
        "hdi,ohd->hio", value, out.reshape(width, heads, head_dim)
    ).reshape(-1, width)
    folded[f"{name}.out.bias"] = state[f"{name}.out.bias"] + out @ value_bias
    for norm in ("attention_norm", "feed_norm"):
        for part in ("weight", "bias"):
            folded[f"{name}.{norm}.{part}"] = state[f"{name}.{norm}.{part}"]
    for layer in ("expand", "contract"):
        _copy_linear(state, folded, f"{name}.{layer}")


def _fold_mlp(state: Mapping[str, Array], folded: Folded, split: int, eps: float) -> None:
    """Whitening and batch norm are linear, as is the MLP's product: one matrix for all three."""
    scale, offset = _batch_norm(state, "mlp_norm", eps)
    kernel = state["mlp.weight"].T * scale  # (sequence + statistics, embedding)
    whitened = state["statistics.whitening"] @ kernel[split:]
    folded["mlp.weight"] = kernel[:split]
    folded["mlp.statistics.weight"] = whitened
    folded["mlp.bias"] = state["mlp.bias"] * scale + offset - state["statistics.mean"] @ whitened


def _fold_statistics(state: Mapping[str, Array], folded: Folded, eps: float) -> None:
    """Whitening, hidden layer and its batch norm are one product, MLP and batch norm another."""
    scale, offset = _batch_norm(state, "hidden_norm", eps)
    whitened = state["statistics.whitening"] @ (state["hidden.weight"].T * scale)
    folded["statistics.hidden.weight"] = whitened
    shift = state["hidden.bias"] * scale + offset
    folded["statistics.hidden.bias"] = shift - state["statistics.mean"] @ whitened
    for part in ("weight", "bias"):
        folded[f"statistics.linear_scores.{part}"] = state[f"linear_scores.{part}"]
    projection = state["discriminants.projection"]
    folded["statistics.discriminants.weight"] = projection
    folded["statistics.discriminants.bias"] = -state["discriminants.centre"] @ projection
    scale, offset = _batch_norm(state, "mlp_norm", eps)
    folded["mlp.weight"] = state["mlp.weight"].T * scale
    folded["mlp.bias"] = state["mlp.bias"] * scale + offset
