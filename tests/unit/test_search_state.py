"""Protects a search's state as fairseq has it: programs may branch, cut, fill in and map over it.

Each program runs with fairseq's own `transformer` and with prepared models of the same weights.
"""

import pickle
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch
from fairseq.utils import apply_to_sample
from helpers.host import pair
from helpers.language_models import build_lm
from helpers.models import EOS, sample, stir
from helpers.searches import prepared
from torch import Tensor
from torch.utils._pytree import tree_map

State = Dict[str, Dict[str, Any]]
BEAM = torch.tensor([0, 0, 1, 1, 2, 2])


class Search:
    """Greedy decoding, one token after another."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.memory = None
        self.rows = 3
        if hasattr(model, "encoder"):
            memory = model.encoder(**encoder_input())
            self.memory = model.encoder.reorder_encoder_out(memory, BEAM)
            self.rows = 6

    def start(self) -> Tensor:
        return torch.full((self.rows, 1), EOS)

    def go_on(self, tokens: Tensor, state: State, steps: int, first: int = 0) -> Tensor:
        """``first`` chooses the first next token: the best, the second best, ..."""
        for step in range(steps):
            logits = self.step(tokens, state)
            choice = logits.argsort(dim=-1, descending=True)[:, first if step == 0 else 0]
            tokens = torch.cat((tokens, choice[:, None]), dim=1)
        return tokens

    def step(self, tokens: Tensor, state: State) -> Tensor:
        found: Tensor = self.model.decoder(tokens, self.memory, incremental_state=state)[0][:, -1]
        return found

    def attentions(self) -> List[Any]:
        layers = self.model.decoder.layers
        return [layer.self_attn for layer in layers]


def encoder_input() -> Dict[str, Tensor]:
    batch = sample()["net_input"]
    return {"src_tokens": batch["src_tokens"], "src_lengths": batch["src_lengths"]}


def branch(search: Search) -> List[Tensor]:
    """After three steps one branch goes on, then the other."""
    state: State = {}
    tokens = search.go_on(search.start(), state, 3)
    other = {key: dict(value) for key, value in state.items()}
    one = search.go_on(tokens, state, 4, first=1)
    return [one, search.go_on(tokens, other, 4)]


def cut_back(search: Search) -> List[Tensor]:
    """As speculative decoding does: five steps, of which two stay."""
    state: State = {}
    tokens = search.go_on(search.start(), state, 5)
    for attention in search.attentions():
        entry = attention.get_incremental_state(state, "attn_state")
        cut = {
            key: None if value is None else value[:, :, :2] if value.dim() == 4 else value[:, :2]
            for key, value in entry.items()
        }
        attention.set_incremental_state(state, "attn_state", cut)
    return [search.go_on(tokens[:, :3], state, 4, first=1)]


def fill_in(search: Search) -> List[Tensor]:
    """Keys and values that no step has made stand before the first."""
    state: State = {}
    torch.manual_seed(3)
    for attention in search.attentions():
        shape = (search.rows, attention.num_heads, 2, attention.head_dim)
        made = {"prev_key": torch.randn(shape), "prev_value": torch.randn(shape)}
        attention.set_incremental_state(state, "attn_state", made)
    return [search.go_on(search.start(), state, 4)]


def map_over(search: Search) -> List[Tensor]:
    """Keys and values are scaled by fairseq's ``apply_to_sample``, then decoding goes on."""
    state: State = {}
    tokens = search.go_on(search.start(), state, 3)
    met: List[Tensor] = []

    def scale(value: Tensor) -> Tensor:
        met.append(value)
        return value * 1.5 if value.is_floating_point() else value

    tokens = search.go_on(tokens, apply_to_sample(scale, state), 3)
    assert met and all(isinstance(value, Tensor) for value in met)
    return [tokens]


def reorder_and_look(search: Search) -> List[Tensor]:
    """Beams change places; the state before, kept aside, is still what it was."""
    state: State = {}
    tokens = search.go_on(search.start(), state, 2)
    aside = {key: dict(value) for key, value in state.items()}
    order = torch.tensor([1, 0, 2, 2, 5, 4][: search.rows]).clamp(max=search.rows - 1)
    search.model.decoder.reorder_incremental_state_scripting(state, order)
    found = [search.go_on(tokens[order], state, 2), search.go_on(tokens, aside, 2, first=1)]
    keys = [a.get_incremental_state(state, "attn_state")["prev_key"] for a in search.attentions()]
    return [*found, *keys]


def swap_rows(search: Search) -> List[Tensor]:
    """By torch's ``tree_map``, after which every row goes on as its neighbour."""
    state: State = {}
    tokens = search.go_on(search.start(), state, 3)
    order = torch.arange(search.rows).flip(0)
    rows = {key: value for key, value in state.items() if key in own_keys(search)}
    moved = tree_map(lambda value: None if value is None else value[order], rows)
    return [search.go_on(tokens[order], {**state, **moved}, 3)]


def own_keys(search: Search) -> List[str]:
    """The names of self-attention's entries."""
    return [a._get_full_incremental_state_key("attn_state") for a in search.attentions()]


PROGRAMS: List[Callable[[Search], List[Tensor]]] = [branch, cut_back, fill_in, map_over, swap_rows]


def assert_same(found: List[Tensor], expected: List[Tensor]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("program", [*PROGRAMS, reorder_and_look])
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_a_translation_model(kind: str, program: Any, taken: List[int]) -> None:
    model, host = pair(kind)
    expected = program(Search(host.float().eval()))
    assert_same(program(Search(prepared(model.float()))), expected)
    assert bool(taken) == (program is not fill_in)


@torch.no_grad()
@pytest.mark.parametrize("program", [branch, cut_back, map_over])
def test_beams_of_which_fairseq_is_told(program: Any, taken: List[int]) -> None:
    """Then its cross-attention keeps one row for all beams of a sentence."""
    model, host = pair("post")
    host = host.float().eval()
    prepared(model.float())
    for one in (model, host):
        one.decoder.set_beam_size(2)
    assert_same(program(Search(model)), program(Search(host)))
    assert taken


@torch.no_grad()
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_language_model(program: Any, taken: List[int]) -> None:
    """Against one that takes no steps of the whole stack: autograd is on, which leaves layers."""
    model = stir(build_lm(residual="resdual")).float()
    with torch.enable_grad():
        expected = [found.detach() for found in program(Search(model.eval()))]
    assert not taken
    assert_same(program(Search(prepared(model))), expected)


@torch.no_grad()
def test_the_reordered_encoder_output(tmp_path: Path) -> None:
    """A dictionary of tensors: for fairseq's helpers, for pickle, whatever the order becomes."""
    model, _ = pair("post")
    encoder = prepared(model.float()).encoder
    whole = encoder(**encoder_input())
    order = torch.tensor([2, 0, 1])
    expected = whole["encoder_out"][0][:, order]
    found = encoder.reorder_encoder_out(whole, order)
    mapped = apply_to_sample(lambda value: value + 1, encoder.reorder_encoder_out(whole, order))
    torch.testing.assert_close(mapped["encoder_out"][0], expected + 1)
    dumped = pickle.dumps(encoder.reorder_encoder_out(whole, order))
    assert isinstance(pickle.loads(dumped), dict) and b"ResDual" not in dumped
    for copied in (encoder.reorder_encoder_out(whole, order) | {}, {**found}):
        torch.testing.assert_close(copied["encoder_out"][0], expected)
    torch.save(encoder.reorder_encoder_out(whole, order), tmp_path / "output.pt")
    loaded = torch.load(tmp_path / "output.pt", weights_only=True)
    torch.testing.assert_close(loaded["encoder_out"][0], expected)
    order.zero_()
    whole["encoder_out"] = [torch.zeros(1)]
    torch.testing.assert_close(found["encoder_out"][0], expected)
    assert len(found) == len(list(found)) > 0
