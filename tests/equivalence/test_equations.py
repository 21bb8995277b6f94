"""Protects the paper's equations: outputs and gradients against plain float64 arithmetic."""

from typing import Any, Dict

import pytest
import torch
from helpers.equations import KINDS, PlainModel, assert_is_equation
from helpers.models import (
    assert_close,
    build,
    forward,
    sample,
    stir,
    stirred,
)

pytestmark = pytest.mark.usefixtures("exact_softmax")

ALIKE: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "one_layer": {"encoder_layers": 1, "decoder_layers": 1},
    "deep": {"encoder_layers": 7, "decoder_layers": 5},
    "unlike_depths": {"encoder_layers": 4, "decoder_layers": 1},
    "unlike_widths": {
        "decoder_embed_dim": 12,
        "decoder_ffn_embed_dim": 10,
        "decoder_attention_heads": 3,
    },
    "layernorm_embedding": {"layernorm_embedding": True},
    "learned_positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True},
    "no_scale_embedding": {"no_scale_embedding": True},
    "shared_embeddings": {"share_all_embeddings": True},
    "shared_decoder_embeddings": {"share_decoder_input_output_embed": True},
    "scale_attn": {"scale_attn": True},
    "scale_heads": {"scale_heads": True},
    "scale_fc": {"scale_fc": True},
    "scale_resids": {"scale_resids": True},
    "all_scales": dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True),
    "no_cross_attention": {"no_cross_attention": True},
    "cross_self_attention": {"cross_self_attention": True},
    "cross_self_attention_alone": {"cross_self_attention": True, "no_cross_attention": True},
}

DUAL_STREAM: Dict[str, Dict[str, Any]] = {
    "s_is_one": {"residual_scale": 1.0},
    "s_of_opus100": {"residual_scale": 0.05},
    "s_above_one": {"residual_scale": 3.0},
    "alpha_zero": {"residual_alpha": 0.0},
    "alpha_half": {"residual_alpha": 0.5},
    "s_and_alpha": {"residual_scale": 0.3, "residual_alpha": 2.0},
    "with_other_options": {
        "residual_alpha": 0.7,
        "encoder_layers": 5,
        "scale_resids": True,
        "cross_self_attention": True,
        "layernorm_embedding": True,
    },
}


def check(kind: str, options: Dict[str, Any], batch: Dict[str, Any]) -> None:
    """Output, and every gradient of a random projection of it."""
    model = stirred(residual=kind, **options)
    plain = PlainModel(model, KINDS[kind], options, kept={})
    net_input = batch["net_input"]
    expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])
    words = batch["target"].ne(model.decoder.padding_idx)
    assert_is_equation(model, forward(model, batch), plain, expected, words)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALIKE)
def test_model_is_its_equations(kind: str, name: str) -> None:
    check(kind, ALIKE[name], sample(left_pad=True))


@pytest.mark.parametrize("kind", KINDS)
def test_source_padding_on_the_right_is_no_part_of_the_equations(kind: str) -> None:
    check(kind, {}, sample(left_pad=False))


@pytest.mark.parametrize("name", DUAL_STREAM)
def test_scale_and_alpha_stand_where_the_paper_has_them(name: str) -> None:
    check("resdual", DUAL_STREAM[name], sample())


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_layerdrop_leaves_out_are_in_neither_stream(kind: str) -> None:
    options: Dict[str, Any] = {"encoder_layers": 4, "decoder_layers": 4}
    drops: Dict[str, Any] = {"encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5}
    model = stir(build(residual=kind, **options, **drops)).train()
    for seed in range(4):
        torch.manual_seed(seed)
        kept = {side: drawn_layers(4) for side in ("encoder", "decoder")}
        plain = PlainModel(model, KINDS[kind], options, kept)
        batch = sample()
        torch.manual_seed(seed)
        net_input = batch["net_input"]
        expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])
        words = batch["target"].ne(model.decoder.padding_idx)
        assert_close(forward(model, batch)[words], expected[words])


def drawn_layers(layers: int) -> "list[int]":
    """The layers that fairseq's LayerDrop keeps when it draws next."""
    return [index for index, chance in enumerate(torch.empty(layers).uniform_()) if chance > 0.5]
