"""Protects the rivals' equations: outputs and gradients against plain float64 arithmetic."""

from typing import Any, Dict

import pytest
from helpers.equations import assert_is_equation
from helpers.language_models import build_lm, lm_sample
from helpers.models import PAD, build, forward, sample, stir
from helpers.scheme_equations import (
    CASES,
    PlainRival,
    PlainRivalLanguageModel,
    options_of,
)

pytestmark = pytest.mark.usefixtures("exact_softmax")

DEPTHS: Dict[str, Dict[str, Any]] = {
    "5+4": {"encoder_layers": 5, "decoder_layers": 4},
    "1+1": {"encoder_layers": 1, "decoder_layers": 1},
    "4+2 without cross-attention": {
        "encoder_layers": 4, "decoder_layers": 2, "no_cross_attention": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("case", CASES)
def test_a_rival_is_its_equation(case: str, depth: str) -> None:
    options = {**DEPTHS[depth], **options_of(case)}
    model = stir(build(**options), size=0.1).eval()
    plain = PlainRival(model, options)
    batch = sample()
    net_input = batch["net_input"]
    expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])
    assert_is_equation(model, forward(model, batch), plain, expected, batch["target"].ne(PAD))


@pytest.mark.parametrize("layers", [2, 5, 8])
@pytest.mark.parametrize("case", CASES)
def test_a_language_model_is_its_equation(case: str, layers: int) -> None:
    options = {"decoder_layers": layers, **options_of(case)}
    model = stir(build_lm(**options), size=0.1).eval()
    plain = PlainRivalLanguageModel(model, options)
    batch = lm_sample()
    expected = plain.logits(batch["net_input"]["src_tokens"])
    assert_is_equation(model, forward(model, batch), plain, expected, batch["target"].ne(PAD))
