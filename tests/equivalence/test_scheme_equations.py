"""Protects the rivals' equations: outputs and gradients against plain float64 arithmetic."""

from typing import Any, Dict

import pytest
import torch
from helpers.language_models import build_lm, lm_sample
from helpers.models import (
    PAD,
    assert_close,
    assert_same_gradients,
    build,
    forward,
    gradients,
    sample,
    stir,
)
from helpers.scheme_equations import (
    CASES,
    PlainRival,
    PlainRivalLanguageModel,
    options_of,
)
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("exact_softmax")

DEPTHS: Dict[str, Dict[str, Any]] = {
    "5+4": {"encoder_layers": 5, "decoder_layers": 4},
    "1+1": {"encoder_layers": 1, "decoder_layers": 1},
    "4+2 without cross-attention": {
        "encoder_layers": 4, "decoder_layers": 2, "no_cross_attention": True,
    },
}  # fmt: skip


def check(model: nn.Module, actual: Tensor, plain: Any, expected: Tensor, words: Tensor) -> None:
    """Output, and every gradient of a random projection of it."""
    assert_close(actual[words], expected[words])
    projection = torch.randn(expected.shape, dtype=torch.float64) * words.unsqueeze(-1)
    (actual * projection).sum().backward()
    (expected * projection).sum().backward()
    assert_same_gradients(gradients(model), plain.gradients(model))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("case", CASES)
def test_a_rival_is_its_equation(case: str, depth: str) -> None:
    options = {**DEPTHS[depth], **options_of(case)}
    model = stir(build(**options), size=0.1).eval()
    plain = PlainRival(model, options)
    batch = sample()
    net_input = batch["net_input"]
    expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])
    check(model, forward(model, batch), plain, expected, batch["target"].ne(PAD))


@pytest.mark.parametrize("case", CASES)
def test_a_language_model_is_its_equation(case: str) -> None:
    options = {"decoder_layers": 5, **options_of(case)}
    model = stir(build_lm(**options), size=0.1).eval()
    plain = PlainRivalLanguageModel(model, options)
    batch = lm_sample()
    expected = plain.logits(batch["net_input"]["src_tokens"])
    check(model, forward(model, batch), plain, expected, batch["target"].ne(PAD))
