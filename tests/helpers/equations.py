"""The paper's equations in plain float64: no layer of this package or of fairseq is called.

A stack is a list of blocks f_k with their norms LN_k, joined by one of the functions of
:data:`KINDS`; weights come from a model's parameters by their state-dict names.
"""

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Sequence

import torch
from torch import Tensor, nn

from .models import PAD, TINY, assert_close, assert_same_gradients, gradients

Function = Callable[[Tensor], Tensor]


@dataclass
class Block:
    """f_k, LN_k, and what the residual x_k is multiplied by (1 without ``scale_resids``).

    The name is that of the norm: ``decoder.layers.0.final_layer_norm``.
    """

    name: str
    f: Function
    norm: Function
    weight: Any = 1.0


def resdual(x: Tensor, stack: List[Block], closing: Function, s: float, alpha: float) -> Tensor:
    d = s * x
    for block in stack:
        f = block.f(x)
        x = block.norm(block.weight * x + f)
        d = d + s * f
    return alpha * x + closing(d / s)


def post(x: Tensor, stack: List[Block], closing: Function, s: float, alpha: float) -> Tensor:
    for block in stack:
        x = block.norm(block.weight * x + block.f(x))
    return x


def pre(x: Tensor, stack: List[Block], closing: Function, s: float, alpha: float) -> Tensor:
    for block in stack:
        x = block.weight * x + block.f(block.norm(x))
    return closing(x)


KINDS = {"resdual": resdual, "post": post, "pre": pre}


class PlainModel:
    """An encoder-decoder Transformer without dropout.

    Args:
        model: where the weights are copied from; ties between them are kept.
        join: one of the functions above, or another of that signature.
        options: the options the model was built with.
        kept: the layers that run, for LayerDrop, as ``{"encoder": [0], "decoder": [0, 2]}``.
    """

    def __init__(
        self,
        model: nn.Module,
        join: Callable[..., Tensor],
        options: Dict[str, Any],
        kept: Mapping[str, Sequence[int]],
    ) -> None:
        copies: Dict[int, Tensor] = {}
        self.weights: Dict[str, Tensor] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().double().clone().requires_grad_()
            self.weights[name] = copies[id(tensor)]
        self.join = join
        self.options = {**TINY, **options}
        self.kept = kept

    def gradients(self, model: nn.Module) -> Dict[str, Any]:
        """The gradients of what :meth:`__call__` gave, by the model's parameter names."""
        return {name: self.weights[name].grad for name, _ in model.named_parameters()}

    def __call__(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits B x T x V of token batches B x S and B x T."""
        memory = self.encode(source)
        x = self.decode(previous, memory, source.eq(PAD))
        return x @ self.weights["decoder.output_projection.weight"].T

    def encode(self, source: Tensor) -> Tensor:
        padding = source.eq(PAD)
        x = self.embed("encoder", source)
        x = torch.where(padding.unsqueeze(-1), torch.zeros_like(x), x)
        stack = []
        for index in self.layer_numbers("encoder"):
            layer = f"encoder.layers.{index}"
            stack.append(self.block(layer, "self_attn", self.encoder_attention(layer, padding)))
            stack.append(self.block(layer, "final", self.feed_forward(layer)))
        return self.run("encoder", x, stack)

    def decode(self, previous: Tensor, memory: Tensor, memory_padding: Tensor) -> Tensor:
        x = self.embed("decoder", previous)
        stack = []
        for index in self.layer_numbers("decoder"):
            layer = f"decoder.layers.{index}"
            looks = self.decoder_attention(layer, previous.eq(PAD), memory, memory_padding)
            stack.append(self.block(layer, "self_attn", looks))
            if not self.options.get("no_cross_attention"):
                looks = self.cross_attention(layer, memory, memory_padding)
                stack.append(self.block(layer, "encoder_attn", looks))
            stack.append(self.block(layer, "final", self.feed_forward(layer)))
        return self.run("decoder", x, stack)

    def layer_numbers(self, side: str) -> Sequence[int]:
        return self.kept.get(side, range(self.options[f"{side}_layers"]))

    def run(self, side: str, x: Tensor, stack: List[Block]) -> Tensor:
        s = self.options.get("residual_scale", 1.0)
        alpha = self.options.get("residual_alpha", 1.0)
        has_closing = f"{side}.layer_norm.weight" in self.weights
        closing = self.norm(f"{side}.layer_norm") if has_closing else lambda z: z
        return self.join(x, stack, closing, 1.0 if s == "auto" else s, alpha)

    def block(self, layer: str, name: str, f: Function) -> Block:
        weight = self.weights.get(f"{layer}.w_resid", 1.0) if name == "final" else 1.0
        norm = f"{layer}.{name}_layer_norm"
        return Block(norm, f, self.norm(norm), weight)

    def embed(self, side: str, tokens: Tensor) -> Tensor:
        table = self.weights[f"{side}.embed_tokens.weight"]
        width = table.size(1)
        padding = tokens.eq(PAD).unsqueeze(-1)
        x = table[tokens]
        x = torch.where(padding, x.detach(), x)  # padding's embedding is not trained
        if not self.options.get("no_scale_embedding"):
            x = math.sqrt(width) * x
        if not self.options.get("no_token_positional_embeddings"):
            x = x + self.positions(side, tokens, width)
        if self.options.get("layernorm_embedding"):
            x = self.norm(f"{side}.layernorm_embedding")(x)
        return x

    def positions(self, side: str, tokens: Tensor, width: int) -> Tensor:
        words = tokens.ne(PAD)
        place = words.cumsum(dim=1)  # 1, 2, 3 ..., whatever padding stands before
        if self.options.get(f"{side}_learned_pos"):
            rows = self.weights[f"{side}.embed_positions.weight"][PAD + place * words]
            return torch.where(words.unsqueeze(-1), rows, rows.detach())
        frequency = torch.exp(torch.arange(width // 2) * -(math.log(10000) / (width // 2 - 1)))
        angle = (PAD + place).unsqueeze(-1) * frequency  # float32, as fairseq's table is
        waves = torch.cat((angle.sin(), angle.cos()), dim=-1).double()
        return waves * words.unsqueeze(-1)

    def norm(self, name: str) -> Function:
        def layer_norm(z: Tensor) -> Tensor:
            z = z - z.mean(dim=-1, keepdim=True)
            z = z / torch.sqrt(z.pow(2).mean(dim=-1, keepdim=True) + 1e-5)
            return z * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

        return layer_norm

    def linear(self, name: str, z: Tensor) -> Tensor:
        return z @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def feed_forward(self, layer: str) -> Function:
        def f(x: Tensor) -> Tensor:
            hidden = self.linear(f"{layer}.fc1", x).clamp(min=0)
            if f"{layer}.ffn_layernorm.weight" in self.weights:
                hidden = self.norm(f"{layer}.ffn_layernorm")(hidden)
            return self.linear(f"{layer}.fc2", hidden)

        return f

    def encoder_attention(self, layer: str, padding: Tensor) -> Function:
        hidden = padding.unsqueeze(1)
        return lambda x: self.attention(f"{layer}.self_attn", x, x, hidden)

    def cross_attention(self, layer: str, memory: Tensor, padding: Tensor) -> Function:
        hidden = padding.unsqueeze(1)
        return lambda x: self.attention(f"{layer}.encoder_attn", x, memory, hidden)

    def decoder_attention(
        self, layer: str, padding: Tensor, memory: Tensor, memory_padding: Tensor
    ) -> Function:
        length = padding.size(1)
        future = torch.ones(length, length).triu(1).bool()
        hidden = future | padding.unsqueeze(1)
        sees_memory = self.options.get("cross_self_attention")
        if sees_memory:
            hidden = torch.cat((memory_padding.unsqueeze(1).expand(-1, length, -1), hidden), dim=2)

        def f(x: Tensor) -> Tensor:
            keys = torch.cat((memory, x), dim=1) if sees_memory else x
            y = self.attention(f"{layer}.self_attn", x, keys, hidden)
            if f"{layer}.c_attn" in self.weights:
                heads = self.weights[f"{layer}.c_attn"]
                y = y * heads.repeat_interleave(y.size(2) // len(heads))
            if f"{layer}.attn_ln.weight" in self.weights:
                y = self.norm(f"{layer}.attn_ln")(y)
            return y

        return f

    def attention(self, name: str, x: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """B x T x C, looking at memory (B x S x C') except where hidden (B x T or 1 x S)."""
        side = name.split(".")[0]
        heads = self.options[f"{side}_attention_heads"]
        q = self.linear(f"{name}.q_proj", x).unflatten(2, (heads, -1))
        k = self.linear(f"{name}.k_proj", memory).unflatten(2, (heads, -1))
        v = self.linear(f"{name}.v_proj", memory).unflatten(2, (heads, -1))
        scores = torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(q.size(-1))
        scores = scores.masked_fill(hidden.unsqueeze(1), -math.inf)
        weights = scores.softmax(dim=-1)
        y = torch.einsum("bhts,bshc->bthc", weights, v).flatten(2)
        return self.linear(f"{name}.out_proj", y)


def assert_is_equation(
    model: nn.Module, actual: Tensor, plain: PlainModel, expected: Tensor, words: Tensor
) -> None:
    """Outputs at words, and every gradient of a random projection of them."""
    assert_close(actual[words], expected[words])
    projection = torch.randn(expected.shape, dtype=torch.float64) * words.unsqueeze(-1)
    (actual * projection).sum().backward()
    (expected * projection).sum().backward()
    assert_same_gradients(gradients(model), plain.gradients(model))
