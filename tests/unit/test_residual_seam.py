"""Protects the place for rivals: a residual scheme is one small class and changes no layer."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Type

import pytest
import torch
from helpers.equations import Block, PlainModel
from helpers.models import (
    assert_close,
    assert_same_gradients,
    build,
    forward,
    gradients,
    output_and_gradients,
    sample,
    stir,
)
from torch import Tensor, nn

from resdual_fairseq.residual import RESIDUALS, Residual, ResidualOptions, Streams

OWN: Dict[str, Any] = {"encoder_layers": 3, "decoder_layers": 2}


class DeepNorm(Residual):
    """x_{k+1} = LN_k(a x_k + f_k(x_k)), with smaller initial weights (Wang et al. 2022)."""

    def initialize(self, weights: Sequence[nn.Module]) -> None:
        scaled = weights[2:] if len(weights) == 4 else weights  # v, out; or both of feed-forward
        with torch.no_grad():
            for projection in scaled:
                projection.weight.mul_((8 * self.blocks) ** -0.25)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return self((2 * self.blocks) ** 0.25 * x + f), d


class ReZero(Residual):
    """x_{k+1} = x_k + g_k f_k(x_k) without any norm; g_k is learned (Bachlechner et al. 2020)."""

    def __init__(self, options: ResidualOptions, embed_dim: int, blocks: int, k: int) -> None:
        super().__init__(options, embed_dim, blocks, k)
        self.weight = self.bias = None
        self.gain = nn.Parameter(torch.zeros(())) if k <= blocks else None

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert self.gain is not None
        return x + self.gain * f, d


class LayerBypass(Residual):
    """Post-LN, and a second path around every whole layer (after B2T, Takase et al. 2022).

    The second stream holds the layer's input and comes back after the feed-forward.
    """

    ends_layer = False

    def initialize(self, weights: Sequence[nn.Module]) -> None:
        self.ends_layer = len(weights) == 2

    def init_streams(self, x: Tensor) -> Streams:
        return x, x

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        if not self.ends_layer:
            return self(x + f), d
        assert d is not None
        x = self(x + d + f)
        return x, x


def plain_deepnorm(x: Tensor, stack: List[Block], *_: Any) -> Tensor:
    for block in stack:
        x = block.norm((2 * len(stack)) ** 0.25 * x + block.f(x))
    return x


def plain_bypass(x: Tensor, stack: List[Block], *_: Any) -> Tensor:
    layer_input = x
    for block in stack:
        if block.name.endswith("final_layer_norm"):
            x = layer_input = block.norm(x + layer_input + block.f(x))
        else:
            x = block.norm(x + block.f(x))
    return x


def plain_rezero(weights: Dict[str, Tensor]) -> Callable[..., Tensor]:
    def join(x: Tensor, stack: List[Block], *_: Any) -> Tensor:
        for block in stack:
            x = x + weights[f"{block.name}.gain"] * block.f(x)
        return x

    return join


RIVALS: Dict[str, Type[Residual]] = {
    "deepnorm": DeepNorm,
    "rezero": ReZero,
    "bypass": LayerBypass,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, scheme in RIVALS.items():
        monkeypatch.setitem(RESIDUALS, name, scheme)


def plain_rival(kind: str, model: nn.Module) -> PlainModel:
    plain = PlainModel(model, {"deepnorm": plain_deepnorm}.get(kind, plain_bypass), OWN, kept={})
    if kind == "rezero":
        plain.join = plain_rezero(plain.weights)
    return plain


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("kind", RIVALS)
def test_a_rival_is_its_equation(kind: str) -> None:
    model = stir(build(residual=kind, **OWN)).eval()
    plain = plain_rival(kind, model)
    batch = sample()
    words = batch["target"].ne(model.decoder.padding_idx)
    net_input = batch["net_input"]
    expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])[words]
    actual = forward(model, batch)[words]
    assert_close(actual, expected)
    actual.square().mean().backward()
    expected.square().mean().backward()
    assert_same_gradients(gradients(model), plain.gradients(model))
    assert all(gradient is not None for gradient in gradients(model).values())


def test_initial_weights_are_the_schemes() -> None:
    host, model = build(residual="post", **OWN), build(residual="deepnorm", **OWN)
    for side, blocks in (("encoder", 6), ("decoder", 6)):
        for name, expected in getattr(host, side).layers.state_dict().items():
            scaled = name.endswith("weight") and any(
                part in name for part in ("v_proj", "out_proj", "fc1", "fc2")
            )
            factor = (8 * blocks) ** -0.25 if scaled else 1.0
            actual = getattr(model, side).layers.state_dict()[name]
            torch.testing.assert_close(actual, factor * expected, rtol=1e-6, atol=0)


def test_owned_parameters_are_saved_trained_and_start_where_the_scheme_says() -> None:
    model = build(residual="rezero", **OWN)
    gains = [name for name, _ in model.named_parameters() if name.endswith("gain")]
    assert len(gains) == 2 * 3 + 3 * 2
    assert set(gains) <= set(model.state_dict())
    source = sample()["net_input"]["src_tokens"]
    x_1 = model.eval().encoder(source, return_all_hiddens=True)["encoder_states"][0]
    assert torch.equal(model.encoder(source)["encoder_out"][0], x_1)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    forward(model.train(), sample()).square().mean().backward()
    optimizer.step()
    moved = dict(model.named_parameters())
    assert all(moved[name].item() != 0 for name in gains if name.startswith("decoder"))


@pytest.mark.parametrize("kind", RIVALS)
def test_rivals_run_under_activation_checkpointing(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        model = stir(build(residual=kind, checkpoint_activations=checkpointed, dropout=0.2, **OWN))
        found.append(output_and_gradients(model.train())[1])
    assert_same_gradients(found[1], found[0])
