"""Protects the bounds of blocks and streams: no input passes them, and some reach them."""

import copy
from functools import partial
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from helpers.language_models import build_lm
from helpers.models import KINDS, PAD, build, forward, sample, sentences, shifted, stir, stirred
from torch import Tensor, nn

from resdual_fairseq.diagnostics.bounds import (
    BALL,
    BlockBound,
    block_bounds,
    feed_forward,
    reach_of,
)
from resdual_fairseq.diagnostics.probes import wrap
from resdual_fairseq.model.blocks import blocks_of

Place = Tuple[str, int]
SCALES = dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True)
QUANTIZED: Dict[str, Any] = {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 4}
OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "gelu": {"activation_fn": "gelu", "layernorm_embedding": True},
    "tanh": {"activation_fn": "tanh", "no_scale_embedding": True},
    "relu_squared": {"activation_fn": "relu_squared", "cross_self_attention": True},
    "learned_positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True, **QUANTIZED},
    "unlike_sides": {"decoder_embed_dim": 12, "decoder_attention_heads": 3},
    "cross_self_attention_alone": {"cross_self_attention": True, "no_cross_attention": True},
    "scales": SCALES,
    "heads": {"scale_heads": True, "scale_resids": True},
}


class Magnitudes:
    """Sees the outputs and streams of every block of a model that runs."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: Dict[Place, Tuple[Tensor, Tensor]] = {}
        for block in blocks_of(model):
            wrap(block.connection, "add_output", partial(self.note, (block.stack, block.k)))

    def note(self, place: Place, join: Callable[..., Any], x: Tensor, d: Any, f: Tensor) -> Any:
        x, d = join(x, d, f)
        self.seen[place] = f, x if d is None else d
        return x, d


def assert_within(bounds: List[BlockBound], seen: Dict[Place, Tuple[Tensor, Tensor]]) -> None:
    assert [(bound.block.stack, bound.block.k) for bound in bounds] == list(seen)
    for bound in bounds:
        place = (bound.block.stack, bound.block.k)
        output, stream = (values.abs().max().item() for values in seen[place])
        assert output <= bound.output, bound
        assert stream <= bound.stream, bound


def as_trained(model: nn.Module, seed: int = 5) -> nn.Module:
    """Moved weights, with some gains of the norms many times as large as the others."""
    stir(model, seed, size=0.3)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm.weight" in name:
                weight.mul_(torch.randn(len(weight), generator=generator).mul(2).exp())
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_random_inputs(kind: str, name: str) -> None:
    model = as_trained(build(residual=kind, **OPTIONS[name])).eval()
    bounds = block_bounds(model)
    magnitudes = Magnitudes(model)
    for seed in (1, 2):
        forward(model, sample(seed=seed))
        assert_within(bounds, magnitudes.seen)
    padding = torch.full((2, 4), PAD)
    model(padding, None, padding)
    assert_within(bounds, magnitudes.seen)


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adaptive_input": True, "adaptive_input_cutoff": "8,16", "adaptive_input_factor": 2},
        {"character_embeddings": True, "character_filters": "[(1, 4), (2, 4)]"},
        {"decoder_input_dim": 6, "decoder_output_dim": 10},
    ],
)
def test_a_language_model(options: Dict[str, Any]) -> None:
    model = as_trained(build_lm(**options)).eval()
    bounds = block_bounds(model)
    magnitudes = Magnitudes(model)
    model(sample()["net_input"]["prev_output_tokens"])
    assert_within(bounds, magnitudes.seen)


@torch.no_grad()
def test_the_bound_of_attention_is_reached() -> None:
    """By one word whose embedding points where the row of the output does."""
    model = stirred(encoder_attention_heads=1, no_token_positional_embeddings=True)
    attention_module = model.encoder.layers[0].self_attn
    attention_module.v_proj.bias.zero_()
    table, scale = model.encoder.embed_tokens.weight, model.encoder.embed_scale
    product = attention_module.out_proj.weight @ attention_module.v_proj.weight
    radius = scale * table.norm(dim=1).max()
    rows = radius * product.norm(dim=1) + attention_module.out_proj.bias.abs()
    row = int(rows.argmax())
    direction = product[row] * attention_module.out_proj.bias[row].sign()
    table[9] = direction / direction.norm() * radius / scale
    bound, magnitudes = block_bounds(model)[0], Magnitudes(model)
    model(torch.tensor([[9]]), None, torch.tensor([[9]]))
    assert magnitudes.seen["encoder", 1][0].abs().max().item() == pytest.approx(bound.output)


@torch.no_grad()
def test_the_bound_of_feed_forward_is_reached() -> None:
    """Where all hidden units can be large at once: orthogonal, and of the sign that relu keeps."""
    layer = stirred(encoder_ffn_embed_dim=8).encoder.layers[0]
    layer.fc1.weight.copy_(3 * torch.eye(8))
    layer.fc2.weight.abs_()
    for fc in (layer.fc1, layer.fc2):
        fc.bias.zero_()
    direction = layer.fc2.weight[5] / layer.fc2.weight[5].norm()
    bound = feed_forward(layer, reach_of(BALL, torch.full((8,), 2.0).double()), None)
    assert layer.feed_forward(2 * direction)[5].item() == pytest.approx(bound[5].item())


def deep(scale: Any, layers: Tuple[int, int] = (100, 100)) -> nn.Module:
    """A hundred layers on either side, weights moved as by a training and exact in float16."""
    sizes = {"encoder_layers": layers[0], "decoder_layers": layers[1]}
    model = stir(build(residual_scale=scale, **sizes), size=0.1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "_layer_norm.weight" in name:
                weight.mul_(torch.rand(len(weight), generator=generator).exp())
    return model.half().float().eval()


def words_of(model: nn.Module) -> Tensor:
    """The logits of a batch, without padding."""
    source, previous = sentences([7, 4], seed=1), shifted(sentences([6, 3], seed=2))
    return model(source, None, previous)[0][previous.ne(PAD)].float()


@torch.no_grad()
@pytest.mark.slow
def test_a_hundred_layers_in_16_bits() -> None:
    """Finite, within the bounds, and no further from s = 1 in float32 than the format makes it."""
    auto, plain = deep("auto"), deep(1.0)
    expected = words_of(plain)
    for dtype, rounding in ((torch.float16, 0.01), (torch.bfloat16, 0.1)):
        model = copy.deepcopy(auto).to(dtype)
        bounds, magnitudes = block_bounds(model), Magnitudes(model)
        assert max(max(bound.stream, bound.output) for bound in bounds) < 65504
        actual = words_of(model)
        assert bool(torch.isfinite(actual).all())
        assert_within(bounds, magnitudes.seen)
        error = (actual - expected).norm()
        assert error < rounding * expected.norm()
        assert error < 1.1 * (words_of(copy.deepcopy(plain).to(dtype)) - expected).norm()


@torch.no_grad()
@pytest.mark.slow
def test_what_overflows_float16_at_1_does_not_at_auto_and_the_bound_says_so() -> None:
    source = sentences([7, 4], seed=1)
    for scale, holds in (("auto", True), (1.0, False)):
        model = deep(scale, layers=(100, 1)).half()
        for layer in model.encoder.layers:
            layer.fc2.bias.fill_(3000)
        bounds = block_bounds(model)
        assert (max(b.stream for b in bounds) < 65504) is holds
        assert bool(torch.isfinite(model.encoder(source)["encoder_out"][0]).all()) is holds
