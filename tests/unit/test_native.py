"""Protects the compiled library: its sums, which models it takes, and that it follows weights."""

import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
import torch
from fairseq.optim.adam import Adam
from helpers.models import EOS, KINDS, PAD, assert_close, build, sample, stir, stirred
from torch import Tensor, nn
from torch.nn import functional as F

from resdual_fairseq import native
from resdual_fairseq.int8 import decoded, decoded_state, encoded, encoded_state
from resdual_fairseq.native import library, rules
from resdual_fairseq.native.structures import Packed
from resdual_fairseq.residual import RESIDUALS, PostLN

pytestmark = [
    pytest.mark.skipif(native.loaded() is None, reason="the library was not compiled here"),
]
SIZES = [(1, 8, 16), (5, 13, 33), (6, 7, 1), (30, 300, 40), (100, 600, 150)]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def product(packed: Packed, x: Tensor) -> Tensor:
    out = x.new_full((x.size(0), packed.structure.outputs), float("nan"))
    return library.linear(packed.structure, x, out)


@pytest.mark.parametrize("rows,inputs,outputs", SIZES)
@pytest.mark.parametrize("bias", [True, False])
def test_products(processor: str, rows: int, inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(rows, inputs)
    assert_close(product(Packed(layer), x), layer(x), 1e-5)


@pytest.mark.parametrize("rows,inputs,outputs", SIZES)
def test_products_with_codes(processor: str, rows: int, inputs: int, outputs: int) -> None:
    """All that is lost beside the rounded weights is in the last bit kept of what comes in."""
    torch.manual_seed(1)
    layer = nn.Linear(inputs, outputs)
    x = torch.randn(rows, inputs) * torch.logspace(-3, 3, rows)[:, None]
    x[0] = 0
    expected = F.linear(x, decoded(*encoded(layer.weight)), layer.bias)
    most = {2: 2**13, 4: 127}[library.together()]  # of what a code counts up to
    bound = x.abs().amax(dim=1, keepdim=True) / most / 2 * layer.weight.abs().sum(dim=1)
    found = product(Packed(layer, together=library.together()), x)
    assert ((found - expected).abs() <= 1.01 * bound + 1e-5).all()


@pytest.mark.parametrize("int8", [True, False])
def test_what_is_not_finite_stays_in_its_row(processor: str, int8: bool) -> None:
    x = torch.ones(8, 20)
    x[3, 5], x[6, 2] = float("nan"), float("inf")
    packed = Packed(nn.Linear(20, 17), together=library.together() if int8 else 0)
    finite = product(packed, x).isfinite().all(dim=1)
    assert finite.tolist() == [row not in (3, 6) for row in range(8)]


@pytest.mark.parametrize("rows,columns", [(1, 1), (3, 7), (5, 48), (40, 333)])
def test_log_softmax(processor: str, rows: int, columns: int) -> None:
    """Torch's, also far from 0 and where something is not finite."""
    torch.manual_seed(1)
    infinity = float("inf")
    x = torch.randn(rows, columns) * torch.logspace(-2, 4, rows)[:, None]
    found, whole = library.log_softmax(x)
    assert whole
    assert_close(found, x.log_softmax(dim=1), 1e-5)
    x[:, 0] = -infinity
    (found, whole), expected = library.log_softmax(x), x.log_softmax(dim=1)
    assert whole == (columns > 1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5, equal_nan=True)
    for value in (infinity, float("nan")):
        x[rows // 2, columns // 2] = value
        (found, whole), expected = library.log_softmax(x), x.log_softmax(dim=1)
        assert not whole
        assert torch.equal(found.isnan(), expected.isnan())
        assert found[rows // 2].isnan().all()


def test_codes_round_to_the_nearest() -> None:
    weight = torch.randn(9, 31)
    weight[4] = 0
    codes, scales = encoded(weight)
    assert (
        codes.dtype == torch.int8
        and codes.abs().amax(dim=1).tolist() == [127] * 4 + [0] + [127] * 4
    )
    assert ((decoded(codes, scales) - weight).abs() <= scales[:, None] / 2 + 1e-7).all()
    again = encoded(decoded(codes, scales))
    assert torch.equal(again[0], codes)


def encoder_outputs(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, tokens: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """Of a batch (unless given, a padded one) at words: compiled, and layer by layer."""
    tokens = sample()["net_input"]["src_tokens"] if tokens is None else tokens
    used: List[Any] = []
    encode = library.encode
    monkeypatch.setattr(library, "encode", lambda *a: used.append(a) or encode(*a))
    found = []
    for switch in ("1", "0"):
        monkeypatch.setenv("RESDUAL_NATIVE", switch)
        found.append(model.encoder(tokens)["encoder_out"][0].transpose(0, 1)[tokens.ne(PAD)])
    assert len(used) == 1
    return found[0], found[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_encoder(
    processor: str, kind: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Dict[str, Any] = {"residual": kind, "activation_fn": activation}
    model = stirred(**options).float().eval()
    assert_close(*encoder_outputs(model, monkeypatch), 2e-5)


@pytest.mark.parametrize("sentences", [1, 4, 12])
@pytest.mark.parametrize("loudest", [-1.0, 0.5, 3.0])
@pytest.mark.parametrize("width", [8, 72])
def test_units_that_relu_sets_to_0(
    processor: str, sentences: int, loudest: float, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out where many are 0 in a few rows: all of them, some, and few."""
    model = stir(build(encoder_embed_dim=width, encoder_ffn_embed_dim=1100), size=0.1)
    model = model.float().eval()
    for layer in model.encoder.layers:
        layer.fc1.bias.uniform_(-4, loudest)
    tokens = torch.randint(4, 20, (sentences, 5))
    assert_close(*encoder_outputs(model, monkeypatch, tokens), 2e-5)


def test_rows_are_shared_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stirred().float().eval()
    tokens = torch.randint(4, 20, (64, 5))
    outputs = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        memory = model.encoder(tokens)
        state: Dict[str, Any] = {}
        previous = torch.full((64, 1), EOS)
        outputs.append(
            (
                memory["encoder_out"][0],
                model.decoder(previous, encoder_out=memory, incremental_state=state)[0],
            )
        )
    assert library.threads_for(64) == 3
    for one, other in zip(*outputs):
        assert_close(one, other, 2e-5)  # other tiles, hence other roundings


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
        assert model.encoder.layers not in rules.kept
        model.eval()
    for parameter in model.encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    versions = [parameter._version for parameter in model.encoder.parameters()]
    optimizer.step()
    assert versions == [parameter._version for parameter in model.encoder.parameters()]
    after, expected = encoder_outputs(model, monkeypatch)
    assert not torch.allclose(before, after)
    assert_close(after, expected, 1e-4)


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


def test_all_layers_wider_than_they_say() -> None:
    model = stirred().float().eval()
    for layer in model.encoder.layers:
        widen(layer, 2000)
    tokens = sample()["net_input"]["src_tokens"]
    first, again = (model.encoder(tokens)["encoder_out"][0] for _ in range(2))
    assert first.isfinite().all() and torch.equal(first, again)
    packed = rules.packed_stack(model.encoder)
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


@pytest.mark.parametrize("rows,columns", [(512, 2048), (2048, 512), (256, 256), (8000, 128)])
def test_some_numbers_are_of_every_row_and_column(rows: int, columns: int) -> None:
    """Those by which a model that is prepared for inference notices other weights."""
    places = range(0, rows * columns, rules.step_of(torch.Size([rows, columns])))
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


def test_one_layer_in_training_drops_out() -> None:
    model = stirred(dropout=0.5).float().eval()
    model.encoder.layers[1].train()
    tokens = sample()["net_input"]["src_tokens"]
    outputs = [model.encoder(tokens)["encoder_out"][0] for _ in range(2)]
    assert not torch.equal(*outputs)


def test_traces_hold_the_layers() -> None:
    model = stirred().float().eval()
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


def test_weights_go_with_their_model() -> None:
    model = stirred().float().eval()
    model.encoder(sample()["net_input"]["src_tokens"])
    assert model.encoder.layers in rules.kept
    count = len(rules.kept)
    del model
    assert len(rules.kept) < count


class OwnNorm(PostLN):
    """A scheme that the library does not know, though it inherits from one that it does."""

    def join(self, x: Tensor, d: Any, f: Tensor) -> Any:
        return self(x + 2 * f), d


@pytest.mark.parametrize(
    "reason",
    ["float64", "training", "gradients", "autocast", "hook", "inner_hook", "tanh", "dropout"],
)
def test_where_it_does_not_apply(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"activation_fn": "tanh"} if reason == "tanh" else {}
    model = stirred(**options)
    model = model if reason == "float64" else model.float()
    model = model.train() if reason == "training" else model.eval()
    if reason == "hook":
        model.encoder.layers[1].register_forward_hook(lambda *_: None)
    if reason == "inner_hook":
        model.encoder.layers[1].self_attn_layer_norm.register_forward_hook(lambda *_: None)
    if reason == "dropout":
        model.encoder.layers[0].dropout_module.apply_during_inference = True
    tokens = sample()["net_input"]["src_tokens"]
    monkeypatch.setattr(library, "encode", lambda *_: pytest.fail("the library was called"))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=reason == "autocast")
    with torch.set_grad_enabled(reason == "gradients"), autocast:
        assert model.encoder(tokens)["encoder_out"][0].isfinite().all()


def test_schemes_of_others_stay_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RESIDUALS, "own", OwnNorm)
    model = build(residual="own").float().eval()
    monkeypatch.setattr(library, "encode", lambda *_: pytest.fail("the library was called"))
    model.encoder(sample()["net_input"]["src_tokens"])


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
        other.encoder.int8 = other.decoder.int8 = int8
        memory = other.encoder(batch["src_tokens"])
        previous = torch.full((3, 1), EOS)
        logits.append(other.decoder(previous, encoder_out=memory, incremental_state={})[0])
    close = {2: 1e-3, 4: 5e-2}[library.together()]  # inputs of 13 bits or more, or of 8
    assert 0 < (logits[0] - logits[1]).abs().max() < close * logits[1].abs().max()
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
    built = Path(library.load()._name)
    there = tmp_path / "resdual_fairseq" / "native" / built.name
    there.parent.mkdir(parents=True)
    shutil.copy(built, there)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    checkout = Path(library.__file__).parent / built.name
    assert list(library.places()) == [place for place in (checkout, there) if place.exists()]
    assert library.opened(there) is not None
    monkeypatch.setattr(library, "checksum", lambda _: 7)
    assert library.opened(there) is None  # built from other sources
    there.unlink()  # it is loaded: not to be written over
    there.write_bytes(b"no library")
    assert library.opened(there) is None


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
