"""Protects `--residual-fp32`: sums in float32, blocks in 16 bits, and nothing else changes."""

from typing import Any, Dict, List, Optional, Tuple

import pytest
import torch
from helpers.language_models import build_lm
from helpers.models import (
    PAD,
    assert_same_gradients,
    build,
    forward,
    output_and_gradients,
    sample,
    step_by_step,
    stir,
    stirred,
)
from helpers.searches import by_layers
from torch import Tensor, nn

from resdual_fairseq.residual import Place, ResidualOptions
from resdual_fairseq.schemes import RESIDUALS, build_residual

WITH_SUM = ["resdual", "pre"]
FORMATS = [torch.float16, torch.bfloat16]
CELLS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "resdual": ("resdual", {}),
    "resdual with weighted residuals": ("resdual", {"scale_resids": True}),
    "pre": ("pre", {}),
    "pre with weighted residuals": ("pre", {"scale_resids": True}),
    "pre without final norm": ("pre", {"no_decoder_final_norm": True}),
}


def narrow(kind: str, dtype: torch.dtype = torch.bfloat16, **options: Any) -> nn.Module:
    """A model in 16 bits whose stream is in float32."""
    return stirred(residual=kind, residual_fp32=True, **options).to(dtype)


@torch.no_grad()
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", WITH_SUM)
def test_the_sum_is_wide_and_the_rest_is_not(kind: str, dtype: torch.dtype) -> None:
    model = narrow(kind, dtype)
    x, d = model.decoder.layer_norm.init_streams(torch.randn(5, 3, 8, dtype=dtype))
    for layer in model.decoder.layers:
        x, d, _ = layer(x, d, torch.randn(4, 3, 8, dtype=dtype))
        assert (x if d is None else d).dtype == torch.float32
        assert d is None or x.dtype == dtype
    assert model.decoder.layer_norm.stack_output(x, d).dtype == dtype
    assert forward(model, sample()).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", WITH_SUM)
def test_no_bit_changes_where_nothing_is_narrow(kind: str, dtype: torch.dtype) -> None:
    found = []
    for fp32 in (False, True):
        model = stir(build(residual=kind, residual_fp32=fp32, dropout=0.2)).to(dtype).train()
        found.append(output_and_gradients(model))
    assert torch.equal(found[0][0], found[1][0])
    assert_same_gradients(found[1][1], found[0][1], tolerance=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", WITH_SUM)
def test_no_bit_changes_under_autocast(kind: str) -> None:
    """As with --amp, whose streams are in float32 anyway."""
    outputs = []
    for fp32 in (False, True):
        model = stirred(residual=kind, residual_fp32=fp32).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs.append(forward(model, sample()))
    assert torch.equal(outputs[0], outputs[1])


def summed(kind: str, fp32: bool, outputs: List[Tensor]) -> Tensor:
    """What a stack of blocks makes of these outputs in its sum."""
    options = ResidualOptions(kind=kind, alpha=0.0, fp32=fp32)
    blocks, width, dtype = len(outputs) - 1, outputs[0].size(-1), outputs[0].dtype
    end = Place(blocks + 1, blocks, blocks + 1, blocks, "stack")
    around_stack = build_residual(options, width, end).to(dtype)
    x, d = around_stack.init_streams(outputs[0])
    for k, f in enumerate(outputs[1:], start=1):
        place = Place(k, blocks, k, blocks, "ffn")
        x, d = build_residual(options, width, place).to(dtype).add_output(x, d, f)
    return around_stack.stack_output(x, d)


@torch.no_grad()
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("kind", WITH_SUM)
def test_three_hundred_outputs_keep_their_digits(kind: str, dtype: torch.dtype) -> None:
    """Only the rounding of the result is left; a narrow sum errs several times as much."""
    generator = torch.Generator().manual_seed(1)
    outputs = [torch.randn(50, 64, generator=generator).to(dtype) for _ in range(301)]
    expected = summed(kind, False, [f.double() for f in outputs])
    wide, plain = (
        (summed(kind, fp32, outputs).double() - expected).abs() for fp32 in (True, False)
    )
    assert bool((wide <= torch.finfo(dtype).eps * (expected.abs() / 2 + 1e-3)).all())
    assert plain.mean() > 5 * wide.mean()


@torch.no_grad()
@pytest.mark.parametrize("cell", ["resdual", "pre without final norm"])
def test_torchscript(cell: str) -> None:
    kind, more = CELLS[cell]
    model = narrow(kind, export=True, **more)
    expected = forward(model, sample())
    actual = torch.jit.script(model)(**sample()["net_input"])[0]
    assert actual.dtype == expected.dtype == torch.bfloat16
    distance = (actual - expected).float().norm() / expected.float().norm()
    assert distance < 0.1  # attention is computed in another order there


@torch.no_grad()
@pytest.mark.parametrize("steps_of_layers", [False, True])
@pytest.mark.parametrize("kind", WITH_SUM)
def test_decoding_step_by_step(kind: str, steps_of_layers: bool) -> None:
    model = by_layers(narrow(kind)) if steps_of_layers else narrow(kind)
    net_input = sample()["net_input"]
    previous = net_input["prev_output_tokens"].masked_fill(
        net_input["prev_output_tokens"].eq(PAD), 9
    )
    expected = model(net_input["src_tokens"], None, previous)[0].float()
    memory = model.encoder(net_input["src_tokens"])
    actual = torch.cat(step_by_step(model, previous, memory), dim=1)
    assert actual.dtype == torch.bfloat16
    assert (actual.float() - expected).norm() / expected.norm() < 0.1


@pytest.mark.parametrize("how", ["checkpoint_activations", "offload_activations"])
@pytest.mark.parametrize("kind", WITH_SUM)
def test_activation_checkpointing(kind: str, how: str) -> None:
    found = []
    for options in ({}, {how: True}):
        found.append(output_and_gradients(narrow(kind, dropout=0.2, **options).train())[1])
    for name, gradient in found[0].items():
        other = found[1][name]
        assert gradient is not None and gradient.dtype == torch.bfloat16 and other is not None
        if not name.endswith("k_proj.bias"):  # whose gradient is 0 but for rounding
            # torch's attention rounds otherwise where it runs without gradients.
            assert (gradient - other).norm() < 0.1 * gradient.norm()


@torch.no_grad()
@pytest.mark.parametrize("cell", CELLS)
def test_a_language_model(cell: str) -> None:
    kind, more = CELLS[cell]
    tokens = sample()["net_input"]["prev_output_tokens"]
    models = [
        stir(build_lm(residual=kind, residual_fp32=fp32, **more)).eval() for fp32 in (False, True)
    ]
    assert torch.equal(models[0](tokens)[0], models[1](tokens)[0])
    expected, actual = models[0](tokens)[0], models[1].bfloat16()(tokens)[0]
    assert actual.dtype == torch.bfloat16
    assert (actual.double() - expected).norm() / expected.norm() < 0.1


def streams(model: nn.Module) -> Tuple[Tensor, Optional[Tensor]]:
    return model.encoder.layer_norm.init_streams(torch.zeros(1, 1, 8, dtype=torch.bfloat16))


def test_it_is_off_by_default() -> None:
    for kind in RESIDUALS:
        x, d = streams(build(residual=kind).bfloat16())
        assert x.dtype == torch.bfloat16
        assert d is None or d.dtype == torch.bfloat16
