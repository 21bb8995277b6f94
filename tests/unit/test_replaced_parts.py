"""Protects that searches do what a user made of a model: hooks, replaced methods, changed norms."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List

import pytest
import torch
from fairseq.modules import FairseqDropout, MultiheadAttention, SinusoidalPositionalEmbedding
from fairseq.utils import get_activation_fn
from helpers.models import EOS, sample
from helpers.searches import assert_same_hypotheses, ready, search
from torch import Tensor, nn

from resdual_fairseq.generation import torch_steps as decoding
from resdual_fairseq.model import layers
from resdual_fairseq.model.decoder import ResDualDecoder
from resdual_fairseq.model.layers import ResDualDecoderLayer, ResDualEncoderLayer
from resdual_fairseq.residual import ResiDual


@torch.no_grad()
@pytest.mark.parametrize("kind", ["resdual", "pre"])
def test_a_hook_on_what_closes_the_streams(kind: str, taken: List[int]) -> None:
    model = ready(residual=kind)
    model.decoder.layer_norm.register_forward_hook(lambda module, given, found: 2 * found)
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    tokens = torch.tensor([[EOS, 4, 5]] * 3)
    expected = model.decoder(tokens, encoder_out=memory)[0][:, -1:]
    state: Dict[str, Any] = {}
    for length in (1, 2, 3):
        found = model.decoder(tokens[:, :length], encoder_out=memory, incremental_state=state)[0]
    assert taken
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def go_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every module compute by itself."""
    monkeypatch.setattr(decoding, "applies", lambda *_: False)
    monkeypatch.setattr(layers, "can_fuse", lambda _: False)
    monkeypatch.setenv("RESDUAL_NATIVE", "0")


def replace_close(model: nn.Module) -> None:
    model.decoder.layer_norm.close = lambda x, d: 0.5 * x


def replace_join(model: nn.Module) -> None:
    model.decoder.layers[1].final_layer_norm.join = lambda x, d, f: (x - f, d)


def replace_embeddings(model: nn.Module) -> None:
    embed_at = model.decoder.embed_at
    model.decoder.embed_at = lambda tokens, positions: 2 * embed_at(tokens, positions)


def replace_scale(model: nn.Module) -> None:
    model.decoder.embed_scale = torch.linspace(1, 3, model.decoder.embed_dim)


def replace_probabilities(model: nn.Module) -> None:
    found = model.decoder.get_normalized_probs_scriptable
    model.decoder.get_normalized_probs_scriptable = lambda *given: 2 * found(*given)


def replace_feed_forward(model: nn.Module) -> None:
    model.decoder.layers[0].feed_forward = lambda x: 0.1 * x


def replace_scaling(model: nn.Module) -> None:
    model.decoder.layers[1].self_attn.scaling = 0.9


class Louder(FairseqDropout):
    """A dropout that does something in evaluation, too."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        return 1.5 * x


def replace_dropout(model: nn.Module) -> None:
    for layer in (model.encoder.layers[0], model.decoder.layers[1]):
        layer.activation_dropout_module = Louder(0.0).eval()


def replace_dropout_of_embeddings(model: nn.Module) -> None:
    model.decoder.dropout_module = Louder(0.0).eval()


def remove_dropout(model: nn.Module) -> None:
    for part in (model.encoder.layers[0], model.decoder.layers[1], model.decoder):
        part.dropout_module = nn.Identity()


class OwnEncoderLayer(ResDualEncoderLayer):
    def feed_forward(self, x: Tensor) -> Tensor:
        return 3 * super().feed_forward(x)


class OwnDecoderLayer(ResDualDecoderLayer):
    def feed_forward(self, x: Tensor) -> Tensor:
        return 3 * super().feed_forward(x)


def inherit(model: nn.Module) -> None:
    """As a stack's own build_encoder_layer and build_decoder_layer would have it."""
    model.encoder.layers[0].__class__ = OwnEncoderLayer
    model.decoder.layers[1].__class__ = OwnDecoderLayer


def replace_weight_by_a_tensor(model: nn.Module) -> None:
    for stack in (model.encoder, model.decoder):
        projection = stack.layers[0].fc2
        weight = projection.weight.detach()
        del projection.weight
        projection.weight = 2 * weight


class OwnAttention(nn.Module):
    """Another class's attention, around fairseq's."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *given: Any, **named: Any) -> Any:
        x, weights = self.attention(*given, **named)
        return 2 * x, weights


def wrap_attention(model: nn.Module) -> None:
    for layer, name in (
        (model.encoder.layers[0], "self_attn"),
        (model.decoder.layers[0], "self_attn"),
        (model.decoder.layers[1], "encoder_attn"),
    ):
        setattr(layer, name, OwnAttention(getattr(layer, name)).eval())


class OwnLayer(nn.Module):
    """A layer of another class, around one of ours."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.need_attn = False

    def forward(self, x: Tensor, *given: Any) -> Any:
        return self.layer(1.5 * x, *given)


def wrap_layers(model: nn.Module) -> None:
    model.encoder.layers[0] = OwnLayer(model.encoder.layers[0])
    model.decoder.layers[1] = OwnLayer(model.decoder.layers[1])


def hook_attention(model: nn.Module) -> None:
    for layer in (model.encoder.layers[0], model.decoder.layers[1]):
        layer.self_attn.register_forward_hook(lambda module, given, out: (0.5 * out[0], out[1]))


def more_heads(model: nn.Module) -> None:
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    other = ready(**heads).eval().decoder.layers
    assert other[0].self_attn.num_heads != model.decoder.layers[0].self_attn.num_heads
    model.decoder.layers[1] = other[1]


def more_heads_in_the_encoder(model: nn.Module) -> None:
    for attention in (model.encoder.layers[0].self_attn, model.decoder.layers[1].encoder_attn):
        split_heads(attention)


def more_heads_everywhere(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, MultiheadAttention):
            split_heads(part)


def split_heads(attention: Any) -> None:
    attention.num_heads *= 2
    attention.head_dim //= 2
    attention.scaling = attention.head_dim**-0.5


def another_activation(model: nn.Module) -> None:
    for layer in (model.encoder.layers[0], model.decoder.layers[1]):
        layer.activation_fn = get_activation_fn("gelu")


def one_bias_for_all_units(model: nn.Module) -> None:
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.fc1.bias = nn.Parameter(torch.full((1,), 0.5))


def add_a_key_of_zeros(model: nn.Module) -> None:
    model.encoder.layers[0].self_attn.add_zero_attn = True


REPLACEMENTS = (
    *(replace_dropout, replace_dropout_of_embeddings, remove_dropout, inherit),
    *(replace_weight_by_a_tensor, add_a_key_of_zeros, wrap_attention, wrap_layers),
    *(hook_attention, more_heads, more_heads_in_the_encoder, more_heads_everywhere),
    *(another_activation, one_bias_for_all_units),
    replace_feed_forward,
    replace_scaling,
    replace_close,
    replace_join,
    replace_embeddings,
    replace_scale,
    replace_probabilities,
)


@torch.no_grad()
@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("before", [True, False])
def test_what_a_user_replaces_counts(
    replace: Any, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as it is replaced, also after a search."""
    model = ready()
    if not before:
        search([model], beam_size=2)
    replace(model)
    found = search([model], beam_size=2)
    go_slowly(monkeypatch)
    assert_same_hypotheses(found, search([model], beam_size=2), 1e-4)


KINDS_OF_PARTS = (
    *((ResDualEncoderLayer, "feed_forward"), (ResDualDecoderLayer, "feed_forward")),
    *((ResDualDecoder, "embed_at"), (ResiDual, "join"), (MultiheadAttention, "forward")),
    *((nn.Linear, "forward"), (nn.Embedding, "forward"), (FairseqDropout, "forward")),
    (SinusoidalPositionalEmbedding, "forward"),
)


@torch.no_grad()
@pytest.mark.parametrize("kind,name", KINDS_OF_PARTS)
def test_what_is_replaced_on_a_class_counts(
    kind: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ready()
    before = search([model], beam_size=2)
    method = getattr(kind, name)

    def other(self: Any, *given: Any, **named: Any) -> Any:
        found = method(self, *given, **named)
        return (1.5 * found[0], *found[1:]) if isinstance(found, tuple) else 1.5 * found

    monkeypatch.setattr(kind, name, other)
    found = search([model], beam_size=2)
    go_slowly(monkeypatch)
    assert_same_hypotheses(found, search([model], beam_size=2), 1e-4)
    with pytest.raises(AssertionError):
        assert_same_hypotheses(found, before, 1e-4)


@torch.no_grad()
def test_a_hook_on_all_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ready()
    search([model], beam_size=2)
    changed = lambda module, given, found: 1.5 * found if type(module) is nn.Linear else None  # noqa: E731
    with torch.nn.modules.module.register_module_forward_hook(changed):
        found = search([model], beam_size=2)
        go_slowly(monkeypatch)
        assert_same_hypotheses(found, search([model], beam_size=2), 1e-4)


@torch.no_grad()
def test_threads_that_begin_when_weights_have_changed() -> None:
    model = ready()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            model.decoder.layers[0].fc1.weight.data.add_(0.01)
            rounds = [pool.submit(search, [model], beam_size=2) for _ in range(4)]
            found = [one.result() for one in rounds]
            for other in found[1:]:
                assert_same_hypotheses(found[0], other)


@torch.no_grad()
def test_a_closing_norm_of_another_width_is_refused() -> None:
    """By torch, which says so; the library would read beyond it."""
    model = ready()
    model.decoder.layer_norm.weight = nn.Parameter(torch.ones(3))
    with pytest.raises(RuntimeError, match="shape"):
        search([model], beam_size=2)
