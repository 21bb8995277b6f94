"""Protects 16 bits and autocast: outputs and gradients are float32's but for rounding."""

from typing import Any, Dict, Tuple

import pytest
import torch
from fairseq import utils
from helpers.models import KINDS, PAD, build, sample, stir
from torch import Tensor, nn

from resdual_fairseq.residual import Place, ResidualOptions
from resdual_fairseq.schemes import build_residual

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason="needs a GPU: the model in 16 bits on CUDA"
        ),
    ),
]
FORMATS = {torch.float16: 0.02, torch.bfloat16: 0.15}
"""Formats with the largest distance allowed, as a share of the whole: some 20 roundings."""


def model_on(device: str, dtype: torch.dtype, **options: Any) -> nn.Module:
    """Weights that every format here holds exactly."""
    model = stir(build(encoder_layers=4, **options), size=0.1).bfloat16()
    return model.to(device, dtype).train()


def output_and_gradients(model: nn.Module, device: str) -> Tuple[Tensor, Dict[str, Tensor]]:
    batch = utils.apply_to_sample(lambda tensor: tensor.to(device), sample())
    output = model(**batch["net_input"])[0][batch["target"].ne(PAD)].float()
    output.square().mean().backward()
    grads = {name: w.grad.float() for name, w in model.named_parameters() if w.grad is not None}
    return output.detach(), grads


def assert_near(actual: Tensor, expected: Tensor, share: float, name: str) -> None:
    assert actual.shape == expected.shape
    assert bool(torch.isfinite(actual).all()), name
    distance = (actual - expected).norm() / expected.norm()
    assert distance < share, f"{name}: {distance:.3g}"


def assert_same_step(actual: Any, expected: Any, share: float) -> None:
    assert_near(actual[0], expected[0], share, "output")
    assert actual[1].keys() == expected[1].keys()
    whole = [torch.cat([g.flatten() for g in found[1].values()]) for found in (actual, expected)]
    assert_near(*whole, 2 * share, "gradient")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, {"residual_fp32": True}) for kind in ("resdual", "pre")),
        ("resdual", {"residual_scale": 1.0}),
    ],
)
def test_weights_in_16_bits(
    kind: str, options: Dict[str, Any], dtype: torch.dtype, device: str
) -> None:
    """As --fp16, --bf16 and their memory-efficient kin compute."""
    scale = {"residual_scale": 1.0} if kind == "resdual" else {}
    plain = model_on(device, torch.float32, residual=kind, **scale)
    narrow = model_on(device, dtype, residual=kind, **options)
    expected = output_and_gradients(plain, device)
    assert_same_step(output_and_gradients(narrow, device), expected, FORMATS[dtype])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_autocast(kind: str, device: str) -> None:
    """As --amp computes: products in 16 bits, weights and streams in float32."""
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    expected = output_and_gradients(model_on(device, torch.float32, residual=kind), device)
    model = model_on(device, torch.float32, residual=kind)
    with torch.autocast(device, dtype=dtype):
        actual = output_and_gradients(model, device)
    assert not torch.equal(actual[0], expected[0])
    assert_same_step(actual, expected, FORMATS[dtype])


@torch.no_grad()
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("blocks", [7, 255])
def test_auto_scale_holds_the_largest_number_of_a_format(dtype: torch.dtype, blocks: int) -> None:
    """The worst case: as many blocks as s allows, all of them at the format's largest number."""
    f = torch.full((1, 1, 4), torch.finfo(dtype).max, dtype=dtype)
    x, d = build_residual(
        ResidualOptions(), 4, Place(blocks + 1, blocks, blocks + 1, blocks, "stack")
    ).init_streams(f)
    for k in range(1, blocks + 1):
        connection = build_residual(ResidualOptions(), 4, Place(k, blocks, k, blocks, "ffn")).to(
            dtype
        )
        _, d = connection.add_output(torch.zeros_like(x), d, f)
    assert d is not None
    assert torch.equal(d, f)
