"""Upper bounds of what blocks put out and of what streams hold, for any input, out of the weights.

A layer norm returns b + g * z with |z| <= sqrt(C), whatever it is given, and so the inputs of all
blocks but the first lie in known ellipsoids; the first block reads embeddings, whose largest norm
is known. From there:

* Attention returns, for each head, a mixture of values (weights of at least 0 that sum to 1), and
  a mixture of points of an ellipsoid is one of its points: the row o of the output is at most
  |bias_o| + sum over heads of the largest (W_out W_v)_o z over the ellipsoid.
* Feed-forward returns W_2 a(W_1 z + b_1) + b_2 with |a(u)| <= |u| (or u^2, for relu_squared): the
  row o is at most |b_2,o| + |row o of W_2| |W_1 z + b_1|, by operator norms, and at most what the
  largest value of each hidden unit gives; the smaller of the two counts.
* Streams are sums, with weights of at least 0, of norms' outputs, embeddings and blocks' outputs.
  The residual connections' own methods are run on the bounds, with each norm answering the
  ellipsoid it can reach; what comes out bounds the streams. No equation is repeated here.

A set of vectors is a tensor 4 x C, called a reach: a point, the half-widths of a box around it, and
the half-axes of two ellipsoids, one for norms around blocks (or embeddings) and one for the norm
around the stack; the set is the sum of the four. (A scheme whose blocks read a sum of several
norms' outputs, without a norm of their own, would need a row more for each.) The bounds are those
of exact arithmetic. They speak of block outputs and streams, not of the numbers inside a block,
such as attention's logits.
"""

import copy
import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch
from fairseq import utils
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from ..model.blocks import STACKS, Block, blocks_of_layer
from ..residual import PostLN, PreLN, ResiDual, Residual
from ..schemes import DeepNorm, DSInit

POINT, BOX, BALL, CLOSING_BALL = range(4)
CHUNK = 1000
"""Words whose embeddings are looked at together."""


class BlockBound(NamedTuple):
    """What no number in a block's output can exceed.

    Attributes:
        block: which one.
        output: bound of the magnitudes in f_k.
        stream: bound of those in the stream after it: d where there is one, x elsewhere.
    """

    block: Block
    output: float
    stream: float


BOUNDED = (PostLN, PreLN, ResiDual, DSInit, DeepNorm)
"""Schemes of one norm a block, whose sums have constant weights of at least 0."""


def are_known(model: nn.Module) -> bool:
    """Whether a model's scheme is one that the bounds hold for."""
    ends = [getattr(model, stack).layer_norm for stack in STACKS if hasattr(model, stack)]
    return all(type(end) in BOUNDED and getattr(end, "learned_alpha", None) is None for end in ends)


@torch.no_grad()
def block_bounds(model: nn.Module) -> List[BlockBound]:
    """Bounds for every block, encoder (if there is one) first, with the weights as they are.

    They hold for any input, without dropout.

    Args:
        model: a model of this package of a scheme that :func:`are_known` knows, with finite
            weights.
    """
    bounds: List[BlockBound] = []
    memory: Optional[Tensor] = None
    for stack in STACKS:
        if hasattr(model, stack):
            memory = bound_stack(getattr(model, stack), stack, memory, bounds)
    return bounds


def bound_stack(
    module: nn.Module, stack: str, memory: Optional[Tensor], bounds: List[BlockBound]
) -> Any:
    """Append the bounds of a stack's blocks, and return the reach of its output.

    Args:
        module: the encoder or decoder.
        stack: which of the two.
        memory: reach of the encoder's output, if there is one.
        bounds: what is appended to.
    """
    around_stack = on_reaches(module.layer_norm, CLOSING_BALL)
    x, d = around_stack.init_streams(embeddings(module))
    for index, layer in enumerate(module.layers.children()):
        for block in blocks_of_layer(layer, stack, index):
            connection = on_reaches(block.connection, BALL)
            output = OUTPUTS[block.part](layer, connection.block_input(x, d), memory)
            if block.part == "ffn" and getattr(layer, "w_resid", None) is not None:
                x = scaled(x, layer.w_resid)
            x, d = connection.add_output(x, d, reach_of(BOX, output))
            stream = largest(x if d is None else d)
            bounds.append(BlockBound(block, output.max().item(), stream.max().item()))
    return around_stack.stack_output(x, d)


def on_reaches(connection: Residual, row: int) -> Residual:
    """A residual connection whose norm returns the reach of the norm, for any argument."""
    twin = copy.deepcopy(connection).double().cpu()
    answer = norm_reach(twin, row) if twin.weight is not None else None
    twin.forward = lambda z: answer
    return twin


def norm_reach(norm: nn.Module, row: int = BALL) -> Tensor:
    """What a layer norm can return."""
    weight, bias = exact(norm.weight), exact(norm.bias)
    reach = reach_of(row, math.sqrt(len(weight)) * weight.abs())
    reach[POINT] = bias
    return reach


def reach_of(row: int, sizes: Tensor) -> Tensor:
    """A reach that has nothing but one of its parts."""
    reach = sizes.new_zeros(4, len(sizes))
    reach[row] = sizes
    return reach


def largest(reach: Tensor) -> Tensor:
    """The largest magnitude of each channel."""
    return reach.abs().sum(dim=0)


def scaled(reach: Tensor, weight: Tensor) -> Tensor:
    """The reach of a vector times a weight for each channel, of either sign."""
    weight = exact(weight)
    return torch.cat((weight * reach[:BOX], weight.abs() * reach[BOX:]))


def around_zero(reach: Tensor) -> Tensor:
    """The reach with any channels at 0, where padding puts them."""
    reach = reach.clone()
    reach[BOX] += reach[POINT].abs()
    reach[POINT] = 0
    return reach


def exact(weight: Tensor) -> Tensor:
    return weight.detach().double().cpu()


def row_bounds(weight: Tensor, bias: Tensor, reach: Tensor) -> Tensor:
    """The largest magnitude in each row of weight z + bias, for z in the reach."""
    bound = (weight @ reach[POINT] + bias).abs() + weight.abs() @ reach[BOX]
    for row in (BALL, CLOSING_BALL):
        bound = bound + (weight * reach[row]).norm(dim=1)
    return bound


def norm_bound(weight: Tensor, bias: Tensor, reach: Tensor) -> Tensor:
    """The largest |weight z + bias|, the norm of the whole vector, for z in the reach."""
    bound = (weight @ reach[POINT] + bias).norm() + (weight.abs() @ reach[BOX]).norm()
    for row in (BALL, CLOSING_BALL):
        if bool(reach[row].any()):
            bound = bound + operator_norm(weight * reach[row])
    return bound


def operator_norm(weight: Tensor) -> Tensor:
    """The largest singular value, by the smaller of the two products with the transpose."""
    square = weight @ weight.T if weight.size(0) < weight.size(1) else weight.T @ weight
    return torch.linalg.eigvalsh(square)[-1].clamp(min=0).sqrt()


def embeddings(module: nn.Module) -> Tensor:
    """The reach of x_1: a ball around 0 that holds every word at every position."""
    words = torch.arange(len(module.dictionary), device=next(module.parameters()).device)
    radius = max(word_norm(module, some) for some in words.split(CHUNK))
    if module.embed_positions is not None:
        radius += position_norm(module.embed_positions)
    norm = module.layernorm_embedding
    width = module.layer_norm.normalized_shape[0]
    if norm is not None:
        if module.quant_noise is None:
            return around_zero(norm_reach(norm))
        radius = largest(norm_reach(norm)).norm().item()
    if module.quant_noise is not None:  # the encoder's comes after positions and norm
        radius *= max(1.0, operator_norm(exact(module.quant_noise.weight)).item())
    return around_zero(reach_of(BALL, torch.full((width,), radius, dtype=torch.float64)))


def word_norm(module: nn.Module, words: Tensor) -> float:
    """The largest norm of these words' embeddings, without positions."""
    vectors = module.embed_scale * module.embed_tokens(words.unsqueeze(1))
    if getattr(module, "project_in_dim", None) is not None:
        vectors = module.project_in_dim(vectors)
    return exact(vectors).norm(dim=-1).max().item()


def position_norm(positions: nn.Module) -> float:
    """The largest norm of a position's embedding: learned, or sines and cosines."""
    if isinstance(positions, SinusoidalPositionalEmbedding):
        return math.sqrt(positions.embedding_dim // 2)
    return exact(positions.weight).norm(dim=-1).max().item()


def self_attention(layer: nn.Module, reach: Tensor, memory: Optional[Tensor]) -> Tensor:
    """Rows of the self-attention's output, NormFormer's weights and norm included."""
    seen = [reach]
    if getattr(layer, "cross_self_attention", False) and memory is not None:
        seen.append(memory)
    output = attention(layer.self_attn, seen)
    if getattr(layer, "c_attn", None) is not None:
        output = (
            output.unflatten(0, (layer.nh, -1)) * exact(layer.c_attn).abs()[:, None]
        ).flatten()
    if getattr(layer, "attn_ln", None) is not None:
        output = largest(norm_reach(layer.attn_ln))
    return output


def cross_attention(layer: nn.Module, reach: Tensor, memory: Optional[Tensor]) -> Tensor:
    """Rows of the cross-attention's output, which is made of the encoder's."""
    assert memory is not None
    return attention(layer.encoder_attn, [memory])


def attention(module: nn.Module, seen: List[Tensor]) -> Tensor:
    """Rows of an attention's output, where each head mixes vectors out of the reaches ``seen``."""
    total = torch.zeros(module.embed_dim, dtype=torch.float64)
    values, biases = exact(module.v_proj.weight), exact(module.v_proj.bias)
    out = exact(module.out_proj.weight)
    for columns in torch.arange(module.embed_dim).split(module.head_dim):
        weight, bias = out[:, columns] @ values[columns], out[:, columns] @ biases[columns]
        total += torch.stack([row_bounds(weight, bias, reach) for reach in seen]).amax(dim=0)
    return total + exact(module.out_proj.bias).abs()


def feed_forward(layer: nn.Module, reach: Tensor, memory: Optional[Tensor]) -> Tensor:
    """Rows of the feed-forward's output."""
    first, second = ((exact(fc.weight), exact(fc.bias)) for fc in (layer.fc1, layer.fc2))
    if getattr(layer, "ffn_layernorm", None) is not None:
        return row_bounds(*second, norm_reach(layer.ffn_layernorm))
    power = 2 if layer.activation_fn is utils.relu_squared else 1
    units, whole = row_bounds(*first, reach) ** power, norm_bound(*first, reach) ** power
    weight, bias = second
    one_by_one, together = weight.abs() @ units, weight.norm(dim=1) * whole
    return torch.minimum(one_by_one, together) + bias.abs()


OUTPUTS: Dict[str, Callable[[Any, Tensor, Optional[Tensor]], Tensor]] = {
    "self_attn": self_attention,
    "cross_attn": cross_attention,
    "ffn": feed_forward,
}
