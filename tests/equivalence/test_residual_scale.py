"""Protects `--residual-scale`: it keeps the dual stream small and changes no result."""

import copy
from typing import Any, Tuple, Union

import pytest
import torch
from helpers.models import build, forward, output_and_gradients, sample, stir
from torch import nn

SHALLOW, DEEP = (2, 3), (40, 30)


def scaled(s: Union[float, str], depth: Tuple[int, int], **options: Any) -> nn.Module:
    """A float32 model with moved weights, the same whatever s is."""
    model = build(residual_scale=s, encoder_layers=depth[0], decoder_layers=depth[1], **options)
    return stir(model, size=0.1).float().eval()


def shrink(model: nn.Module, factor: float = 1e-4) -> nn.Module:
    """Make embeddings and blocks' outputs so small that LN_out's eps outweighs their variance."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed_tokens" in name or "out_proj" in name or "fc2" in name:
                weight.mul_(factor)
    return model


@pytest.mark.parametrize(
    ("s", "depth"),
    [
        ("auto", SHALLOW),
        (0.25, SHALLOW),
        (2.0**-10, SHALLOW),
        (8.0, SHALLOW),
        ("auto", DEEP),
    ],
)
def test_powers_of_two_change_no_bit(s: Union[float, str], depth: Tuple[int, int]) -> None:
    expected, expected_gradients = output_and_gradients(scaled(1.0, depth))
    actual, actual_gradients = output_and_gradients(scaled(s, depth))
    assert torch.equal(actual, expected)
    for name, gradient in expected_gradients.items():
        other = actual_gradients[name]
        if gradient is None or other is None:
            assert gradient is other, name
        else:
            assert torch.equal(other, gradient), name


@pytest.mark.parametrize("s", ["auto", 0.25, 2.0**-10])
def test_powers_of_two_change_no_bit_of_very_small_streams(s: Union[float, str]) -> None:
    options = {"no_token_positional_embeddings": True}
    expected, _ = output_and_gradients(shrink(scaled(1.0, SHALLOW, **options)))
    actual, _ = output_and_gradients(shrink(scaled(s, SHALLOW, **options)))
    assert torch.equal(actual, expected)


def test_eps_outweighs_very_small_streams() -> None:
    """Without this the test above would prove nothing about eps."""
    encoder = shrink(scaled(1.0, SHALLOW, no_token_positional_embeddings=True)).encoder
    without_eps = copy.deepcopy(encoder)
    without_eps.layer_norm.eps = 0.0
    source = sample()["net_input"]["src_tokens"]
    difference = encoder(source)["encoder_out"][0] - without_eps(source)["encoder_out"][0]
    assert difference.abs().max() > 0.5


@pytest.mark.parametrize(
    ("s", "depth", "small"),
    [(0.05, SHALLOW, False), (0.3, SHALLOW, True), (3.0, SHALLOW, True), (0.05, DEEP, False)],
)
def test_other_scales_change_rounding_only(s: float, depth: Tuple[int, int], small: bool) -> None:
    options = {"no_token_positional_embeddings": small}
    models = [scaled(scale, depth, **options) for scale in (1.0, s)]
    if small:
        models = [shrink(model) for model in models]
    expected, actual = (forward(model, sample()) for model in models)
    assert not torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
    expected, actual = (forward(model.double(), sample()) for model in models)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
