"""Protects the place for schemes of a user's own: one small class, which changes no layer."""

from typing import Any, Dict, Optional, Sequence

import pytest
import torch
from helpers.models import assert_same_gradients, build, output_and_gradients, sample, stir
from torch import Tensor, nn

from resdual_fairseq.residual import Place, Residual, ResidualOptions, Streams
from resdual_fairseq.schemes import RESIDUALS

OWN: Dict[str, Any] = {"residual": "own", "encoder_layers": 3, "decoder_layers": 2}


class Own(Residual):
    """x_{k+1} = g_k x_k + f_k(x_k); block k's weights start 1/k as large."""

    has_norms = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.place = place
        self.g = None if place.around_stack else nn.Parameter(torch.ones(()))

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        with torch.no_grad():
            for projection in weights:
                projection.weight.div_(self.k)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert self.g is not None
        return self.g * x + f, d


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RESIDUALS, "own", Own)


def test_each_connection_knows_its_place() -> None:
    model = build(**OWN)
    names = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
    for stack, other in (("encoder", 2), ("decoder", 3)):
        layers = getattr(model, stack).layers
        found = [
            getattr(layer, name).place for layer in layers for name in names if hasattr(layer, name)
        ]
        per_layer = 2 if stack == "encoder" else 3
        parts = ["self_attn", "cross_attn", "ffn"] if per_layer == 3 else ["self_attn", "ffn"]
        n = per_layer * len(layers)
        assert found == [
            Place(k, n, 1 + (k - 1) // per_layer, len(layers), part, stack, other)
            for k, part in enumerate(parts * len(layers), start=1)
        ]
        end = Place(n + 1, n, len(layers) + 1, len(layers), "stack", stack, other)
        assert getattr(model, stack).layer_norm.place == end


def test_initial_weights_are_the_schemes() -> None:
    post, own = build(**{**OWN, "residual": "post"}), build(**OWN)
    for layer, host in zip(own.decoder.layers, post.decoder.layers):
        k = layer.final_layer_norm.k
        assert torch.allclose(layer.fc1.weight, host.fc1.weight / k)
        assert torch.equal(layer.fc1.bias, host.fc1.bias)


def test_owned_parameters_are_saved_and_trained() -> None:
    model = stir(build(**OWN))
    names = [name for name, _ in model.named_parameters() if name.endswith(".g")]
    assert len(names) == 2 * 3 + 3 * 2
    assert set(names) <= set(model.state_dict())
    found = output_and_gradients(model.train())[1]
    assert all(found[name] is not None and found[name] != 0 for name in names)


def test_it_runs_under_activation_checkpointing() -> None:
    found = []
    for checkpointed in (False, True):
        model = stir(build(checkpoint_activations=checkpointed, dropout=0.2, **OWN), size=0.1)
        found.append(output_and_gradients(model.train())[1])
    assert_same_gradients(found[1], found[0])


@torch.no_grad()
def test_it_is_searched_by_its_own_methods() -> None:
    model = stir(build(**OWN), size=0.1).float().eval()
    model.make_generation_fast_()
    assert model.decoder.packed is None  # the library does not know it
    tokens = sample()["net_input"]["prev_output_tokens"]
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    state: Dict[str, Any] = {}
    for length in range(1, 4):
        step = model.decoder(tokens[:, :length], memory, incremental_state=state)[0]
        whole = model.decoder(tokens[:, :length], memory)[0]
        torch.testing.assert_close(step[:, -1], whole[:, -1], rtol=1e-4, atol=1e-4)
