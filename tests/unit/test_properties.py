"""Protects what holds for every model: shapes, causality, padding, bounds."""

import math
from typing import Any, Dict

import pytest
import torch
from helpers.models import KINDS, PAD, assert_close, sentences, shifted, stirred
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from resdual_fairseq.residual import Place, ResidualOptions, auto_scale
from resdual_fairseq.schemes import build_residual

pytestmark = pytest.mark.usefixtures("exact_softmax")

FEW = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FLAGS = [
    "layernorm_embedding",
    "no_token_positional_embeddings",
    "no_scale_embedding",
    "share_decoder_input_output_embed",
    "encoder_learned_pos",
    "decoder_learned_pos",
    "scale_attn",
    "scale_heads",
    "scale_fc",
    "scale_resids",
    "checkpoint_activations",
    "no_cross_attention",
]


@st.composite
def models(draw: Any) -> nn.Module:
    """Any kind, depth, width and combination of options."""
    heads = draw(st.sampled_from([1, 2, 4]))
    options: Dict[str, Any] = dict.fromkeys(
        draw(st.lists(st.sampled_from(FLAGS), max_size=4)), True
    )
    options["residual"] = draw(st.sampled_from(KINDS))
    options["cross_self_attention"] = draw(st.booleans())
    if options["residual"] == "resdual":
        options["residual_scale"] = draw(st.sampled_from(["auto", 1.0, 0.05, 2.5]))
        options["residual_alpha"] = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    return stirred(
        encoder_layers=draw(st.integers(1, 4)),
        decoder_layers=draw(st.integers(1, 4)),
        encoder_embed_dim=heads * draw(st.sampled_from([4, 6])),
        encoder_ffn_embed_dim=draw(st.integers(1, 17)),
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        seed=draw(st.integers(0, 99)),
        **options,
    )


@st.composite
def batches(draw: Any) -> Dict[str, Any]:
    """Sentences of any lengths, padded on either side of the source."""
    size = draw(st.integers(1, 4))
    lengths = st.lists(st.integers(1, 8), min_size=size, max_size=size)
    seed = draw(st.integers(0, 99))
    return {
        "src_tokens": sentences(draw(lengths), seed, left_pad=draw(st.booleans())),
        "src_lengths": None,
        "prev_output_tokens": shifted(sentences(draw(lengths), seed + 1)),
    }


@FEW
@given(models(), batches())
def test_outputs_have_their_shape_and_are_finite(model: nn.Module, batch: Dict[str, Any]) -> None:
    output, extra = model(**batch)
    memory = model.encoder(batch["src_tokens"])["encoder_out"][0]
    rows, source_length = batch["src_tokens"].shape
    target_length = batch["prev_output_tokens"].size(1)
    vocabulary = len(model.decoder.dictionary)
    assert output.shape == (rows, target_length, vocabulary)
    assert memory.shape == (source_length, rows, model.encoder.embed_tokens.embedding_dim)
    assert len(extra["inner_states"]) == len(model.decoder.layers) + 1
    assert torch.isfinite(output).all()
    output.square().mean().backward()
    assert all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None)


@FEW
@given(models(), batches(), st.data())
def test_later_target_words_change_no_earlier_output(
    model: nn.Module, batch: Dict[str, Any], data: st.DataObject
) -> None:
    previous = batch["prev_output_tokens"]
    first_changed = data.draw(st.integers(0, previous.size(1) - 1))
    changed = previous.clone()
    words = changed[:, first_changed:].ne(PAD)
    changed[:, first_changed:][words] = 4 + (changed[:, first_changed:][words] + 5) % 20
    before = model(**batch)[0]
    after = model(**{**batch, "prev_output_tokens": changed})[0]
    assert_close(after[:, :first_changed], before[:, :first_changed])
    if words.any():
        assert not torch.equal(after, before)


@FEW
@given(models(), batches(), st.integers(1, 4), st.integers(0, 4), st.integers(0, 4))
def test_more_padding_changes_nothing(
    model: nn.Module, batch: Dict[str, Any], left: int, right: int, target: int
) -> None:
    source, previous = batch["src_tokens"], batch["prev_output_tokens"]
    padded = {
        "src_tokens": nn.functional.pad(source, (left, right), value=PAD),
        "src_lengths": None,
        "prev_output_tokens": nn.functional.pad(previous, (0, target), value=PAD),
    }
    words = previous.ne(PAD)
    expected = model(**batch)[0][words]
    actual = model(**padded)[0][:, : previous.size(1)][words]
    assert_close(actual, expected)


@FEW
@given(
    blocks=st.integers(1, 2000),
    scale=st.sampled_from([0.001, 1.0, 1e4]),
    signs=st.sampled_from(["alike", "mixed"]),
    seed=st.integers(0, 99),
)
def test_dual_stream_is_never_larger_than_its_largest_term(
    blocks: int, scale: float, signs: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    options = ResidualOptions()
    terms = scale * torch.randn(blocks + 1, 1, 1, 4, generator=generator, dtype=torch.float64)
    if signs == "alike":
        terms = terms.abs()
    connection = build_residual(options, 4, Place(1, blocks, 1, blocks, "ffn")).double()
    x, d = build_residual(
        options, 4, Place(blocks + 1, blocks, blocks + 1, blocks, "stack")
    ).init_streams(terms[0])
    assert d is not None
    largest = terms[0].abs()
    for f in terms[1:]:
        x, d = connection.add_output(x, d, f)
        largest = torch.maximum(largest, f.abs())
        assert (d.abs() <= largest.max() * (1 + 1e-12)).all()


@FEW
@given(st.integers(1, 10**6))
def test_auto_scale_is_the_largest_power_of_two_that_keeps_the_bound(blocks: int) -> None:
    s = auto_scale(blocks)
    assert math.frexp(s)[0] == 0.5
    assert s * (blocks + 1) <= 1 < 2 * s * (blocks + 1)
