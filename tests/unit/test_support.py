"""Protects the one switch: what is packed at preparation, what is left to layers, and why."""

import logging
from typing import Any, Callable, Dict, List

import pytest
import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.utils import get_activation_fn
from helpers.models import EOS, KINDS, assert_close, build, let_sentences_end, sample, stirred
from helpers.searches import assert_same_hypotheses, by_layers, prepared, search
from torch import Tensor, nn

from resdual_fairseq.model.layers import ResDualDecoderLayer
from resdual_fairseq.native import library
from resdual_fairseq.residual import PostLN, ResiDual, Streams
from resdual_fairseq.schemes import RESIDUALS

pytestmark = pytest.mark.skipif(library.loaded() is None, reason="the library was not compiled")
Change = Callable[[Any], Any]


def tiny(**options: Any) -> nn.Module:
    return let_sentences_end(stirred(**options)).float().eval()


class Louder(FairseqDropout):
    """A dropout that does something in evaluation, too."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        return 1.5 * x


class OwnLayer(ResDualDecoderLayer):
    def feed_forward(self, x: Tensor) -> Tensor:
        return 3 * super().feed_forward(x)


class OwnAttention(nn.Module):
    """Another class's attention, around fairseq's."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.encoder_decoder_attention = False

    def forward(self, *given: Any, **named: Any) -> Any:
        x, weights = self.attention(*given, **named)
        return 2 * x, weights


def set_in(path: str, make: Callable[[Any], Any]) -> Change:
    """Replace what a path in the decoder names by what is made of it."""

    def change(model: Any) -> None:
        parent, _, name = path.rpartition(".")
        owner = model.decoder.get_submodule(parent)
        setattr(owner, name, make(getattr(owner, name)))

    return change


def hook_everywhere(part: Any) -> Any:
    part.register_forward_hook(lambda module, given, out: (0.5 * out[0], *out[1:]))
    return part


def split_heads(attention: MultiheadAttention) -> MultiheadAttention:
    attention.num_heads *= 2
    attention.head_dim //= 2
    attention.scaling = attention.head_dim**-0.5
    return attention


def inherit(model: Any) -> None:
    model.decoder.layers[1].__class__ = OwnLayer


def retain_dropout(model: Any) -> None:
    model.decoder.layers[0].dropout_module.apply_during_inference = True


CHANGES: Dict[str, Change] = {
    "is a OwnLayer": inherit,
    "is a Louder": set_in("layers.1.dropout_module", lambda _: Louder(0.0).eval()),
    "is a OwnAttention": set_in("layers.0.self_attn", lambda part: OwnAttention(part).eval()),
    "has hooks": set_in("layers.1.self_attn", hook_everywhere),
    "a method of layers.0 was": set_in("layers.0.feed_forward", lambda _: lambda x: 0.1 * x),
    "a method of layers.1.final_layer_norm was": set_in(
        "layers.1.final_layer_norm.add_output", lambda _: lambda x, d, f: (x - f, d)
    ),
    "a method of layer_norm was": set_in("layer_norm.stack_output", lambda _: lambda x, d: 0.5 * x),
    "differ in size": set_in("layers.1.self_attn", split_heads),
    "activation": set_in("layers.1.activation_fn", lambda _: get_activation_fn("gelu")),
    "does more than attention": set_in("layers.1.self_attn.scaling", lambda _: 0.9),
}


@torch.no_grad()
@pytest.mark.parametrize("reason", CHANGES)
def test_what_was_changed_before_counts(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """In prepared models and in others; the log of a prepared one tells why it runs in torch."""
    model = tiny()
    before = search([model], beam_size=2)
    CHANGES[reason](model)
    unprepared = search([model], beam_size=2)
    with caplog.at_level(logging.INFO):
        found = search([prepared(model)], beam_size=2)
    assert any("decoder runs in torch: " in line and reason in line for line in caplog.messages)
    expected = search([by_layers(model)], beam_size=2)
    assert_same_hypotheses(found, expected, 1e-4)
    assert_same_hypotheses(unprepared, expected, 1e-4)
    with pytest.raises(AssertionError):
        assert_same_hypotheses(found, before, 1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind,name", [(nn.Linear, "forward"), (ResiDual, "add_output")])
def test_what_was_replaced_on_a_class_counts(
    kind: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    method = getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda *given: method(*given))
    assert "was replaced" in str(prepared(model).decoder.obstacle)


class OwnNorm(PostLN):
    """A scheme that the library does not know, though it inherits from one that it does."""

    def add_output(self, x: Tensor, d: Any, f: Tensor) -> Streams:
        return self(x + 2 * f), d


def elsewhere(name: str) -> Change:
    return lambda model: model.decoder.layers[0].get_submodule(name).to("meta")


def spoil(model: Any) -> None:
    model.decoder.layers[1].fc1.weight[1, 2] = float("inf")


@torch.no_grad()
@pytest.mark.parametrize("name", ["extract_features_scriptable", "embed", "embed_at", "output"])
def test_methods_of_the_decoder_count(name: str) -> None:
    model = tiny()
    method = getattr(model.decoder, name)
    setattr(model.decoder, name, lambda *given: method(*given))
    assert name in str(prepared(model).decoder.obstacle)


IN_TORCH: Dict[str, Any] = {
    "has no form of OwnNorm": ({"residual": "own"}, lambda _: None),
    "neither relu nor gelu": ({"activation_fn": "tanh"}, lambda _: None),
    "is not finite": ({}, spoil),
    "is on meta": ({}, elsewhere("fc1")),
    "is bfloat16": ({}, lambda model: model.bfloat16()),
    "is float16": ({}, lambda model: model.half()),
    "NormFormer": ({"scale_attn": True}, lambda _: None),
    "--cross-self-attention": ({"cross_self_attention": True}, lambda _: None),
    "--retain-dropout": ({}, retain_dropout),
}


@torch.no_grad()
@pytest.mark.parametrize("reason", IN_TORCH)
def test_what_the_library_does_not_know(
    reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(RESIDUALS, "own", OwnNorm)
    options, change = IN_TORCH[reason]
    model = build(**options).float().eval()
    change(model)
    with caplog.at_level(logging.INFO):
        assert prepared(model).decoder.packed is None
    assert any("decoder runs in torch: " in line and reason in line for line in caplog.messages)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_layers_are_searched_alike(kind: str) -> None:
    model = tiny(residual=kind, checkpoint_activations=True)
    assert prepared(model).decoder.packed is not None
    expected = prepared(tiny(residual=kind))
    assert_same_hypotheses(search([model], beam_size=2), search([expected], beam_size=2))


def step(model: Any) -> Tensor:
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    found: Tensor = model.decoder(torch.full((3, 1), EOS), memory, incremental_state={})[0]
    return found


MOVES: Dict[str, Change] = {
    "load_state_dict": lambda model: model.load_state_dict(tiny(residual_alpha=0.5).state_dict()),
    "load_state_dict of a stack": lambda model: model.decoder.load_state_dict(
        build(seed=3).float().decoder.state_dict()
    ),
    "half and back": lambda model: model.half().float(),
}


@torch.no_grad()
@pytest.mark.parametrize("move", MOVES)
def test_other_weights_are_packed_anew(move: str) -> None:
    model = prepared(tiny())
    packed = model.decoder.packed
    MOVES[move](model)
    assert model.decoder.packed not in (None, packed)
    assert_close(step(model), step(by_layers(model)), 1e-4)


@torch.no_grad()
def test_a_model_that_is_not_prepared_follows_its_weights(taken: List[int]) -> None:
    model = tiny()
    search([model], beam_size=2)
    model.decoder.layers[0].fc1.weight.data.mul_(3)
    found = search([model], beam_size=2)
    assert_same_hypotheses(found, search([by_layers(model)], beam_size=2), 1e-4)


@torch.no_grad()
def test_training_drops_what_was_packed() -> None:
    decoder = prepared(tiny()).decoder
    decoder.train()
    assert decoder.packed is None and not decoder.prepared


@torch.no_grad()
@pytest.mark.parametrize("why", ["gradients", "autocast", "float64 memory"])
def test_where_the_library_steps_aside(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared(tiny())
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    monkeypatch.setattr(library, "decode", lambda *_: pytest.fail("the library was called"))
    if why == "float64 memory":
        memory["encoder_out"] = [memory["encoder_out"][0].double()]
        with pytest.raises(RuntimeError, match=r"dtype|scalar type"):
            model.decoder(torch.full((3, 1), EOS), memory, incremental_state={})
        return
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast")
    with torch.set_grad_enabled(why == "gradients"), autocast:
        found = model.decoder(torch.full((3, 1), EOS), memory, incremental_state={})[0]
    assert found.isfinite().all() and found.requires_grad == (why == "gradients")
