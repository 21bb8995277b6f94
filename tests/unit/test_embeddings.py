"""Protects the embeddings of a decoding step by the library: torch's, to the last bit."""

from typing import Any, Dict, Iterator, List

import pytest
import torch
from helpers.models import PAD, stirred
from helpers.searches import prepared
from torch import nn

from resdual_fairseq.native import library

pytestmark = [
    pytest.mark.skipif(library.loaded() is None, reason="the library was not compiled here"),
]
TAKEN: Dict[str, Dict[str, Any]] = {
    "sinusoidal": {},
    "learned": {"decoder_learned_pos": True},
    "no_positions": {"no_token_positional_embeddings": True},
    "no_scale": {"no_scale_embedding": True},
}
TOKENS = torch.tensor([[2, 5, 6, 9], [2, 8, PAD, 7], [2, 4, 4, 4]])


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("last", [[5, 6, 7], [5, PAD, 7], [PAD, PAD, PAD]])
def test_same_as_torch(name: str, last: List[int]) -> None:
    decoder = prepared(stirred(**TAKEN[name]).float()).decoder
    tokens = TOKENS.clone()
    tokens[:, -1] = torch.tensor(last)
    for seen in (tokens, tokens[:, -1:], tokens.t().contiguous().t()):
        found = decoder.packed.embedding.embed(seen)
        (x, padding), expected = found, decoder.embed(seen, {})
        assert torch.equal(x, expected[0])
        assert (padding is None) == (expected[1] is None) == (PAD not in last)
        if padding is not None:
            assert torch.equal(padding, expected[1])


def norm(decoder: Any) -> None:
    decoder.layernorm_embedding = nn.LayerNorm(8).eval()


def retained_dropout(decoder: Any) -> None:
    decoder.dropout_module.apply_during_inference = True


def hook(decoder: Any) -> None:
    decoder.embed_tokens.register_forward_hook(lambda *_: None)


def largest_norm(decoder: Any) -> None:
    decoder.embed_tokens.max_norm = 1.0


def scale_for_each_channel(decoder: Any) -> None:
    decoder.embed_scale = torch.ones(8)


@pytest.mark.parametrize(
    "change", [norm, retained_dropout, hook, largest_norm, scale_for_each_channel]
)
def test_what_more_is_done_is_left_to_torch(change: Any) -> None:
    model = stirred().float()
    change(model.decoder)
    assert prepared(model).decoder.packed.embedding is None


@pytest.mark.parametrize("learned", [False, True])
def test_positions_beyond_the_table(learned: bool) -> None:
    """fairseq's sinusoidal ones grow; there is no learned one, which torch says."""
    decoder = prepared(stirred(decoder_learned_pos=learned).float()).decoder
    long = torch.full((2, 2000), 5)
    assert decoder.packed.embedding.embed(long) is None
    if learned:
        with pytest.raises(IndexError):
            decoder.embed_step(long, {})
    else:
        assert torch.equal(decoder.embed_step(long, {})[0], decoder.embed(long, {})[0])


@pytest.mark.parametrize("token", [-1, 1000])
def test_tokens_that_are_none(token: int) -> None:
    with pytest.raises(IndexError):
        prepared(stirred().float()).decoder.embed_step(torch.full((2, 3), token), {})
