"""Protects the embeddings of a decoding step by the library: torch's, to the last bit."""

from typing import Any, Dict, List, Optional, Tuple

import pytest
import torch
from helpers.models import PAD, stirred
from torch import Tensor, nn

from resdual_fairseq import native

pytestmark = [
    pytest.mark.skipif(native.loaded() is None, reason="the library was not compiled here"),
]
TAKEN: Dict[str, Dict[str, Any]] = {
    "sinusoidal": {},
    "learned": {"decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True},
    "no_scale": {"no_scale_embedding": True},
}
LEFT: Dict[str, Dict[str, Any]] = {
    "norm": {"layernorm_embedding": True},
    "projection": {},
    "cross_self_attention": {"cross_self_attention": True},
    "retained_dropout": {"dropout": 0.1},
}
Found = Tuple[Tensor, Optional[Tensor]]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def decoder(**options: Any) -> Any:
    return stirred(**options).float().decoder


def by_torch(ours: Any, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> Found:
    with monkeypatch.context() as patch:
        patch.setattr(native, "embedded", lambda *_: None)
        found: Found = ours.embed(tokens, {})
    return found


TOKENS = torch.tensor([[2, 5, 6, 9], [2, 8, PAD, 7], [2, 4, 4, 4]])


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("last", [[5, 6, 7], [5, PAD, 7], [PAD, PAD, PAD]])
def test_same_as_torch(name: str, last: List[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = decoder(**TAKEN[name])
    tokens = TOKENS.clone()
    tokens[:, -1] = torch.tensor(last)
    for seen in (tokens, tokens[:, -1:], tokens.t().contiguous().t()):
        assert native.embedded(ours, seen) is not None
        (x, padding), expected = ours.embed(seen, {}), by_torch(ours, seen, monkeypatch)
        assert torch.equal(x, expected[0])
        assert (padding is None) == (expected[1] is None) == (PAD not in last)
        if padding is not None and expected[1] is not None:
            assert torch.equal(padding, expected[1])


@pytest.mark.parametrize("name", LEFT)
def test_what_more_is_done_is_left_to_torch(name: str) -> None:
    ours = decoder(**LEFT[name])
    if name == "projection":
        ours.project_in_dim = nn.Linear(8, 8).eval()
    ours.dropout_module.apply_during_inference = name == "retained_dropout"
    assert native.embedded(ours, TOKENS) is None
    assert ours.embed(TOKENS, {})[0].shape[:2] == (1, 3)


@pytest.mark.parametrize("learned", [False, True])
def test_positions_beyond_the_table(learned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """fairseq's sinusoidal ones grow; there is no learned one, which torch says."""
    ours = decoder(decoder_learned_pos=learned)
    long = torch.full((2, 2000), 5)
    assert native.embedded(ours, long) is None
    if learned:
        with pytest.raises(IndexError):
            ours.embed(long, {})
    else:
        assert torch.equal(ours.embed(long, {})[0], by_torch(ours, long, monkeypatch)[0])


@pytest.mark.parametrize("token", [-1, 1000])
def test_tokens_that_are_none(token: int) -> None:
    with pytest.raises(IndexError):
        decoder().embed(torch.full((2, 3), token), {})


def test_it_follows_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = decoder()
    ours.embed_tokens.weight.data.mul_(3)
    assert torch.equal(ours.embed(TOKENS, {})[0], by_torch(ours, TOKENS, monkeypatch)[0])
    ours.embed_tokens.register_forward_hook(lambda *_: torch.zeros(3, 1, 8))
    assert native.embedded(ours, TOKENS) is None
    ours.embed_tokens = nn.Embedding.from_pretrained(ours.embed_tokens.weight, max_norm=1.0)
    assert native.embedded(ours, TOKENS) is None
