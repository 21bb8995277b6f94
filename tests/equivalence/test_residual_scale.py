"""Protects `--residual-scale`: it keeps the dual stream small and changes no result."""

import copy
from typing import Any, Dict, List, Tuple, Union

import pytest
import torch
from helpers.models import build, forward, gradients, sample, stir
from torch import Tensor, nn

from resdual_fairseq.residual import LN_EPS, ResiDual, ResidualOptions, auto_scale, build_residual

SHALLOW, DEEP_ENCODER, DEEP_DECODER = (2, 3), (100, 1), (1, 100)


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


def output_and_gradients(model: nn.Module) -> Tuple[Tensor, Dict[str, Any]]:
    output = forward(model, sample())
    output.square().mean().backward()
    return output.detach(), gradients(model)


@pytest.mark.parametrize(
    ("s", "depth"),
    [
        ("auto", SHALLOW),
        (0.25, SHALLOW),
        (2.0**-10, SHALLOW),
        (8.0, SHALLOW),
        ("auto", DEEP_ENCODER),
        ("auto", DEEP_DECODER),
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


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    ("s", "depth"),
    [(0.05, SHALLOW), (0.3, SHALLOW), (3.0, SHALLOW), (0.05, DEEP_ENCODER), (0.05, DEEP_DECODER)],
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


def test_auto_scale_is_the_largest_power_of_two_allowed() -> None:
    for blocks in range(1, 1300):
        s = auto_scale(blocks)
        assert s * (blocks + 1) <= 1 < 2 * s * (blocks + 1)
        assert float(s).hex().startswith("0x1.0000000000000p")


def stream_and_terms(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> List[Tuple[Any, Any]]:
    """Every (d, largest of |x_1| and |f_1| .. |f_k|) of one pass, for both stacks."""
    seen: List[Tuple[Any, Any]] = []
    start, join = ResiDual.init_streams, ResiDual.add_output

    def recording_start(self: ResiDual, x: Tensor) -> Any:
        streams = start(self, x)
        seen.append((streams[1], x.abs().max()))
        return streams

    def recording_join(self: ResiDual, x: Tensor, d: Tensor, f: Tensor) -> Any:
        streams = join(self, x, d, f)
        seen.append((streams[1], torch.maximum(seen[-1][1], f.abs().max())))
        return streams

    monkeypatch.setattr(ResiDual, "init_streams", recording_start)
    monkeypatch.setattr(ResiDual, "add_output", recording_join)
    forward(model, sample())
    return seen


@pytest.mark.parametrize("depth", [(1, 1), (3, 4), (50, 30)])
def test_dual_stream_of_a_model_stays_within_its_terms(
    depth: Tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stir(build(encoder_layers=depth[0], decoder_layers=depth[1]), size=1.0).eval()
    seen = stream_and_terms(model, monkeypatch)
    assert len(seen) == 2 + 2 * depth[0] + 3 * depth[1]
    assert all(d.abs().max() <= bound for d, bound in seen)


def test_dual_stream_does_not_overflow_fp16() -> None:
    """A hundred layers whose blocks all say 60000: s = 1 overflows, auto does not."""
    f = torch.full((1, 1, 4), 60000.0, dtype=torch.float16)
    for scale, finite in (("auto", True), (1.0, False)):
        options = ResidualOptions(scale=scale)
        _, d = build_residual(options, 4, 300, 301).init_streams(f)
        for k in range(1, 301):
            _, d = build_residual(options, 4, 300, k).half().add_output(torch.zeros_like(f), d, f)
        assert bool(torch.isfinite(d).all()) is finite


def test_closing_eps_follows_s() -> None:
    for s in (1.0, 0.25, 0.05):
        closing = build_residual(ResidualOptions(scale=s), 4, 6, 7)
        assert closing.eps == LN_EPS * s**2
        assert build_residual(ResidualOptions(scale=s), 4, 6, 6).eps == LN_EPS
