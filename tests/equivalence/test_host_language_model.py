"""Protects language models: `transformer_lm` under post and pre, and the equations."""

from typing import Any, Dict, List

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from helpers.equations import KINDS
from helpers.host import assert_same_training
from helpers.language_models import (
    CELLS,
    OPTIONS,
    PlainLanguageModel,
    build_host_lm,
    build_lm,
    lm_pair,
    lm_sample,
)
from helpers.models import (
    PAD,
    assert_close,
    assert_same_gradients,
    forward,
    gradients,
    step_by_step,
    stir,
)

pytestmark = pytest.mark.usefixtures("exact_softmax")
GRID = pytest.mark.parametrize(("kind", "name"), CELLS)


@GRID
def test_loss_and_gradients(kind: str, name: str) -> None:
    assert_same_training(*lm_pair(kind, **OPTIONS[name]), lm_sample())


@GRID
def test_incremental_decoding(kind: str, name: str) -> None:
    model, host = (m.eval() for m in lm_pair(kind, **OPTIONS[name]))
    tokens = lm_sample()["net_input"]["src_tokens"].clone()
    tokens[tokens.eq(PAD)] = 7  # beams hold no padding
    with torch.no_grad():
        whole = model(tokens)[0]
        for place, (ours, theirs) in enumerate(
            zip(step_by_step(model, tokens), step_by_step(host, tokens))
        ):
            assert_close(ours, theirs)
            assert_close(ours[:, -1], whole[:, place])


@GRID
def test_parameters_their_names_and_their_initial_values(kind: str, name: str) -> None:
    host = build_host_lm(kind, **OPTIONS[name]).state_dict()
    model = build_lm(residual=kind, **OPTIONS[name]).state_dict()
    assert list(model) == list(host)
    for key, value in host.items():
        assert key.endswith("_float_tensor") or torch.equal(model[key], value), key


@pytest.mark.parametrize("kind", ["post", "pre"])
def test_beam_search(kind: str) -> None:
    found: List[Any] = []
    for model in lm_pair(kind):
        generator = SequenceGenerator(
            [model.eval()], model.decoder.dictionary, beam_size=3, max_len_b=8
        )
        tokens = lm_sample()["net_input"]["src_tokens"][:2, :3]
        batch = {"net_input": {"src_tokens": tokens, "src_lengths": torch.full((2,), 3)}}
        found.append(generator.generate([model], batch, prefix_tokens=tokens[:, 1:]))
    for ours, theirs in zip(*found):
        assert [beam["tokens"].tolist() for beam in ours] == [
            beam["tokens"].tolist() for beam in theirs
        ]
        assert_close(ours[0]["score"], theirs[0]["score"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decoder_layers": 7},
        {"decoder_learned_pos": True, "share_decoder_input_output_embed": True},
        {"layernorm_embedding": True, "no_scale_embedding": True},
        {"scale_attn": True, "scale_heads": True, "scale_fc": True, "scale_resids": True},
    ],
)
def test_model_is_its_equations(kind: str, options: Dict[str, Any]) -> None:
    check(kind, options)


@pytest.mark.parametrize(
    "options",
    [
        {"residual_scale": 0.05},
        {"residual_alpha": 0.0},
        {"residual_scale": 0.3, "decoder_layers": 1},
    ],
)
def test_scale_and_alpha_stand_where_the_paper_has_them(options: Dict[str, Any]) -> None:
    check("resdual", options)


def check(kind: str, options: Dict[str, Any]) -> None:
    """Output, and every gradient of a random projection of it."""
    model = stir(build_lm(residual=kind, **options)).eval()
    plain = PlainLanguageModel(model, KINDS[kind], options)
    batch = lm_sample()
    expected = plain.logits(batch["net_input"]["src_tokens"])
    actual = forward(model, batch)
    words = batch["target"].ne(PAD)
    assert_close(actual[words], expected[words])

    projection = torch.randn(expected.shape, dtype=torch.float64) * words.unsqueeze(-1)
    (actual * projection).sum().backward()
    (expected * projection).sum().backward()
    assert_same_gradients(gradients(model), plain.gradients(model))
