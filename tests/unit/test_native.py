"""Protects the compiled library: its sums with every instruction set, its threads, its file."""

import shutil
import sys
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from helpers.encoders import encoder_outputs
from helpers.models import EOS, KINDS, assert_close, build, sample, stir, stirred
from helpers.searches import prepared, ready
from torch import Tensor, nn
from torch.nn import functional as F

from resdual_fairseq.checkpoints.int8 import decoded, decoded_state, encoded_state, quantize_rows
from resdual_fairseq.generation.packing import pack
from resdual_fairseq.native import library

pytestmark = [
    pytest.mark.skipif(library.loaded() is None, reason="the library was not compiled here"),
]
SIZES = [(1, 8, 16), (5, 13, 33), (6, 7, 1), (30, 300, 40), (100, 600, 150)]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def product(layer: nn.Linear, x: Tensor, int8: bool = False) -> Tensor:
    packed = pack([layer], int8)
    out = x.new_full((x.size(0), packed.struct.outputs), float("nan"))
    return library.linear(packed.struct, x, out)


@pytest.mark.parametrize("rows,inputs,outputs", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_products(isa: str, rows: int, inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(rows, inputs)
    assert_close(product(layer, x), layer(x), 1e-5)


@pytest.mark.parametrize("rows,inputs,outputs", SIZES)
def test_products_with_codes(isa: str, rows: int, inputs: int, outputs: int) -> None:
    """All that is lost beside the rounded weights is in the last bit kept of what comes in."""
    torch.manual_seed(1)
    layer = nn.Linear(inputs, outputs)
    x = torch.randn(rows, inputs) * torch.logspace(-3, 3, rows)[:, None]
    x[0] = 0
    expected = F.linear(x, decoded(*quantize_rows(layer.weight)), layer.bias)
    most = {2: 2**13, 4: 127}[library.load().resdual_k_group()]  # of what a code counts up to
    bound = x.abs().amax(dim=1, keepdim=True) / most / 2 * layer.weight.abs().sum(dim=1)
    found = product(layer, x, int8=True)
    assert ((found - expected).abs() <= 1.01 * bound + 1e-5).all()


@pytest.mark.parametrize("int8", [True, False])
def test_what_is_not_finite_stays_in_its_row(isa: str, int8: bool) -> None:
    x = torch.ones(8, 20)
    x[3, 5], x[6, 2] = float("nan"), float("inf")
    finite = product(nn.Linear(20, 17), x, int8).isfinite().all(dim=1)
    assert finite.tolist() == [row not in (3, 6) for row in range(8)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_encoder(isa: str, kind: str, activation: str) -> None:
    options: Dict[str, Any] = {"residual": kind, "activation_fn": activation}
    assert_close(*encoder_outputs(stirred(**options).float()), 2e-5)


@pytest.mark.parametrize("sentences", [1, 4, 12])
@pytest.mark.parametrize("loudest", [-1.0, 0.5, 3.0])
@pytest.mark.parametrize("width", [8, 72])
def test_units_that_relu_sets_to_0(isa: str, sentences: int, loudest: float, width: int) -> None:
    """Left out where many are 0 in a few rows: all of them, some, and few."""
    model = stir(build(encoder_embed_dim=width, encoder_ffn_embed_dim=1100), size=0.1)
    model = model.float().eval()
    for layer in model.encoder.layers:
        layer.fc1.bias.uniform_(-4, loudest)
    tokens = torch.randint(4, 20, (sentences, 5))
    assert_close(*encoder_outputs(model, tokens), 2e-5)


def test_rows_are_shared_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ready()
    tokens = torch.randint(4, 20, (64, 5))
    outputs = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        memory = model.encoder(tokens)
        previous = torch.full((64, 1), EOS)
        step = model.decoder(previous, encoder_out=memory, incremental_state={})[0]
        outputs.append((memory["encoder_out"][0], step))
    assert library.threads_for(64) == 3
    for one, other in zip(*outputs):
        assert_close(one, other, 2e-5)  # other tiles, hence other roundings


def test_traces_hold_the_layers() -> None:
    model = ready()
    tokens = sample()["net_input"]["src_tokens"]

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.encoder

        def forward(self, tokens: Tensor) -> Tensor:
            return self.encoder(tokens)["encoder_out"][0]

    encode = Encode().eval()
    traced = torch.jit.trace(encode, tokens, check_trace=False)
    other = tokens.flip(0)
    assert_close(traced(other), encode(other), 2e-5)


def test_a_state_dict_of_codes_loads() -> None:
    model = stirred(share_all_embeddings=True).float().eval()
    state = encoded_state(model.state_dict())
    assert all(value.dim() < 2 or value.dtype == torch.int8 for value in state.values())
    shared = ["encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection"]
    assert len({state[f"{name}.weight.codes"].data_ptr() for name in shared}) == 1
    other = build(share_all_embeddings=True, seed=3).float().eval()
    other.load_state_dict(state)
    assert other.encoder.int8 and other.decoder.int8
    for name, weight in decoded_state(state).items():
        if name.endswith((".weight", ".bias")):  # fairseq 0.12.2 has copies under other names
            assert torch.equal(other.state_dict()[name], weight)
    batch = sample()["net_input"]
    state = {}
    logits = []
    for int8 in (True, False):
        other.encoder.use_int8(int8)
        other.decoder.use_int8(int8)
        prepared(other)
        memory = other.encoder(batch["src_tokens"])
        previous = torch.full((3, 1), EOS)
        logits.append(other.decoder(previous, encoder_out=memory, incremental_state={})[0])
    close = {2: 1e-3, 4: 5e-2}[
        library.load().resdual_k_group()
    ]  # inputs of 13 bits or more, or of 8
    assert 0 < (logits[0] - logits[1]).abs().max() < close * logits[1].abs().max()
    other = build(share_all_embeddings=True).float()
    other.load_state_dict(encoded_state(model.state_dict()))
    other.train().eval()  # what was trained on is not what the codes stood for
    assert not other.encoder.int8 and not other.decoder.int8
    other.load_state_dict(encoded_state(model.state_dict()))
    assert other.encoder.int8
    other.load_state_dict(model.state_dict())
    assert not other.encoder.int8 and not other.decoder.int8


def test_the_library_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ``--user-dir`` names a checkout, the library lies with the installed package."""
    checkout = Path(library.__file__).parent
    built = next(path for path in library.places() if library.open_library(path) is not None)
    there = tmp_path / "resdual_fairseq" / "native" / built.name
    there.parent.mkdir(parents=True)
    shutil.copy(built, there)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    places = [checkout / built.name, there]
    assert list(library.places()) == [place for place in places if place.exists()]
    assert library.open_library(there) is not None
    monkeypatch.setattr(library, "checksum", lambda _: 7)
    assert library.open_library(there) is None  # built from other sources
    there.unlink()  # it is loaded: not to be written over
    there.write_bytes(b"no library")
    assert library.open_library(there) is None
