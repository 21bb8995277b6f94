"""Protects that the compiled library computes with the weights that a model has now."""

from argparse import Namespace
from typing import Any, Callable, Dict, Tuple

import pytest
import torch
from fairseq.optim.adam import Adam
from helpers.encoders import encoder_outputs
from helpers.models import EOS, PAD, assert_close, sample, stirred
from torch import Tensor, nn

from resdual_fairseq import native
from resdual_fairseq.generation import packing
from resdual_fairseq.native import library

pytestmark = [
    pytest.mark.skipif(native.loaded() is None, reason="the library was not compiled here"),
]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def test_it_follows_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stirred().float().eval()
    before, _ = encoder_outputs(model, monkeypatch)
    model.encoder.layers[0].fc1.weight.mul_(1.5)
    after, expected = encoder_outputs(model, monkeypatch)
    assert not torch.allclose(before, after)
    assert_close(after, expected, 2e-5)
    model.load_state_dict(stirred(seed=2).state_dict())
    assert_close(*encoder_outputs(model, monkeypatch), 2e-5)
    kept = model.encoder.layers[0].fc1.weight.detach().clone()
    model.encoder.layers[0].fc1.weight = nn.Parameter(2 * kept)
    assert_close(*encoder_outputs(model, monkeypatch), 2e-5)


@pytest.mark.parametrize("trains", [True, False])
def test_it_follows_fairseqs_optimizers(trains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change weights through .data, which a tensor's version does not tell."""
    model = stirred().float().eval()
    before, _ = encoder_outputs(model, monkeypatch)
    optimizer = Adam(model.encoder.parameters(), lr=0.1)
    if trains:
        model.train()
        assert model.encoder.layers not in packing.kept
        model.eval()
    for parameter in model.encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    versions = [parameter._version for parameter in model.encoder.parameters()]
    optimizer.step()
    assert versions == [parameter._version for parameter in model.encoder.parameters()]
    after, expected = encoder_outputs(model, monkeypatch)
    assert not torch.allclose(before, after)
    assert_close(after, expected, 1e-4)


def narrow(layer: Any, inner: int) -> None:
    """Take feed-forward units away, as pruning does."""
    layer.fc1.weight.data = layer.fc1.weight.data[:inner]
    layer.fc1.bias.data = layer.fc1.bias.data[:inner]
    layer.fc2.weight.data = layer.fc2.weight.data[:, :inner].contiguous()


def widen(layer: Any, more: int) -> None:
    """Add feed-forward units, and leave out_features as it was."""
    width = layer.fc1.weight.size(1)
    for parameter, shape, dim in (
        (layer.fc1.weight, (more, width), 0),
        (layer.fc1.bias, (more,), 0),
        (layer.fc2.weight, (width, more), 1),
    ):
        parameter.data = torch.cat([parameter.data, torch.randn(shape)], dim=dim)


EDITS: Dict[str, Any] = {
    "pruned": lambda layer: layer.fc1.weight.data.masked_fill_(layer.fc1.weight.abs() < 0.3, 0),
    "one row": lambda layer: layer.fc2.weight.data[5].add_(1),
    "one column": lambda layer: layer.fc2.weight.data[:, 9].add_(torch.arange(8.0)),
    "one number": lambda layer: layer.fc1.weight.data[4, 2:3].add_(1),
    "transposed": lambda layer: setattr(
        layer.self_attn.q_proj.weight, "data", layer.self_attn.q_proj.weight.data.t()
    ),
    "wider": lambda layer: widen(layer, 300),
    "one bias": lambda layer: layer.fc1.bias.data[3].add_(1),
    "norm": lambda layer: setattr(layer.final_layer_norm, "eps", 0.5),
    "scale": lambda layer: setattr(layer.final_layer_norm, "s", 3.0),
    "activation": lambda layer: setattr(layer, "activation_fn", torch.tanh),
    "narrower": lambda layer: narrow(layer, 7),
    "forward": lambda layer: setattr(layer, "forward", lambda x, d, *_: (x, d)),
}


def test_all_layers_wider_than_they_say() -> None:
    model = stirred().float().eval()
    for layer in model.encoder.layers:
        widen(layer, 2000)
    tokens = sample()["net_input"]["src_tokens"]
    first, again = (model.encoder(tokens)["encoder_out"][0] for _ in range(2))
    assert first.isfinite().all() and torch.equal(first, again)
    packed = packing.packed_stack(model.encoder)
    assert packed is not None and packed.structure.inner == model.encoder.layers[0].fc2.weight.size(
        1
    )


@pytest.mark.parametrize("edit", EDITS)
def test_it_notices_what_is_edited_by_hand(edit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a model that is not going to be trained, hence keeps its packed weights."""
    model = stirred().float().eval()
    tokens = sample()["net_input"]["src_tokens"]

    def both() -> Tuple[Tensor, Tensor]:
        found = []
        for switch in ("1", "0"):
            monkeypatch.setenv("RESDUAL_NATIVE", switch)
            found.append(model.encoder(tokens)["encoder_out"][0].transpose(0, 1)[tokens.ne(PAD)])
        return found[0], found[1]

    before, _ = both()
    EDITS[edit](model.encoder.layers[0])
    after, expected = both()
    assert_close(after, expected, 2e-5)
    assert not torch.equal(before, after)


SHAPES = [
    *((512, 2048), (2048, 512), (256, 256), (8000, 128), (64, 512), (128, 1024), (128, 512)),
    *(
        (502, 1004),
        (1004, 502),
        (64, 2008),
        (2008, 64),
        (16, 1024),
        (3, 6000),
        (6000, 3),
        (1, 20000),
    ),
]


@pytest.mark.parametrize("rows,columns", SHAPES)
def test_some_numbers_are_of_every_row_and_column(rows: int, columns: int) -> None:
    """Those by which a model that is prepared for inference notices other weights."""
    places = range(0, rows * columns, packing.step_of(torch.Size([rows, columns])))
    assert {place % columns for place in places} == set(range(columns))
    assert {place // columns for place in places} == set(range(rows))


@pytest.mark.parametrize("prepared", [True, False])
def test_a_prepared_model_follows_its_weights(prepared: bool) -> None:
    model = stirred().float().eval()
    if prepared:
        model.prepare_for_inference_(Namespace(generation=Namespace(beam=5, print_alignment=None)))
    assert model.encoder.prepared == model.decoder.prepared == prepared
    tokens = sample()["net_input"]["src_tokens"]
    before = model.encoder(tokens)["encoder_out"][0]
    model.encoder.layers[0].fc1.weight.data.mul_(1.5)
    assert not torch.allclose(before, model.encoder(tokens)["encoder_out"][0], atol=1e-3)


def test_a_prepared_model_notices_one_number_that_torch_changed() -> None:
    """Its checksum need not meet that number, but torch counts what it writes."""
    model = stirred(encoder_embed_dim=64, encoder_ffn_embed_dim=256).float().eval()
    model.prepare_for_inference_(Namespace(generation=Namespace(beam=5, print_alignment=None)))
    tokens = sample()["net_input"]["src_tokens"]
    before = model.encoder(tokens)["encoder_out"][0]
    layer = model.encoder.layers[0]
    assert packing.step_of(layer.fc2.weight.shape) > 1
    layer.fc2.weight[0].clamp_(min=-1000)  # writes what is there
    assert torch.equal(before, model.encoder(tokens)["encoder_out"][0])
    layer.fc2.weight[0, 1:20].add_(5)
    assert not torch.allclose(before, model.encoder(tokens)["encoder_out"][0], atol=1e-3)


def test_weights_that_are_no_parameters() -> None:
    """Nothing tells when they change, so torch computes with them."""
    model = stirred().float().eval()
    for layer in model.encoder.layers:
        weight = layer.fc2.weight.detach().clone()
        del layer.fc2.weight
        layer.fc2.weight = weight
    tokens = sample()["net_input"]["src_tokens"]
    before = model.encoder(tokens)["encoder_out"][0]
    weight.mul_(1.5)
    assert not torch.allclose(before, model.encoder(tokens)["encoder_out"][0], atol=1e-3)


def test_dropout_that_begins_after_a_search() -> None:
    model = stirred(dropout=0.5).float().eval()
    tokens = sample()["net_input"]["src_tokens"]
    one, other = (model.encoder(tokens)["encoder_out"][0] for _ in range(2))
    assert torch.equal(one, other)
    model.encoder.layers[1].dropout_module.apply_during_inference = True
    one, other = (model.encoder(tokens)["encoder_out"][0] for _ in range(2))
    assert not torch.equal(one, other)


def test_a_search_notices_an_output_projection_that_was_edited() -> None:
    model = stirred().float().eval()
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    previous = torch.full((3, 1), EOS)
    logits = []
    for _ in range(2):
        logits.append(model.decoder(previous, encoder_out=memory, incremental_state={})[0])
        model.decoder.output_projection.weight.data[6].add_(1)
    same = (logits[0] == logits[1]).all(dim=0).flatten()
    assert not same[6] and same.sum() == len(same) - 1


def test_weights_go_with_their_model() -> None:
    model = stirred().float().eval()
    model.encoder(sample()["net_input"]["src_tokens"])
    assert model.encoder.layers in packing.kept
    count = len(packing.kept)
    del model
    assert len(packing.kept) < count


def halve_and_back(model: nn.Module) -> None:
    model.half().float()


def move(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def assign(model: nn.Module) -> None:
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    nn.Module.load_state_dict(model, state, assign=True)


def replace_projection(model: nn.Module) -> None:
    weight = model.decoder.output_projection.weight.detach().clone()
    model.decoder.output_projection.weight = nn.Parameter(weight)


@pytest.mark.parametrize("change", [halve_and_back, move, assign, replace_projection])
def test_memory_of_weights_that_are_gone_is_not_read(
    change: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stirred().float().eval()
    tokens = sample()["net_input"]["src_tokens"]

    def step() -> Tensor:
        memory = model.encoder(tokens)
        found: Tensor = model.decoder(torch.full((3, 1), EOS), memory, incremental_state={})[0]
        return found

    step()
    change(model)
    there = {parameter.data_ptr() for parameter in model.parameters()}
    fingerprint = library.fingerprint

    def checked(arrays: Tensor) -> int:
        assert set(arrays[:, 0].tolist()) <= there
        return fingerprint(arrays)

    monkeypatch.setattr(library, "fingerprint", checked)
    found = step()
    monkeypatch.setenv("RESDUAL_NATIVE", "0")
    assert_close(found, step(), 1e-4)
