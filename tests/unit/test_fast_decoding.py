"""Protects the fast decoding steps, in torch and compiled: what the layers' own forward finds."""

from typing import Any, Dict, List

import pytest
import torch
from fairseq.search import Sampling
from helpers.models import EOS, KINDS, PAD, let_sentences_end, sample, stirred
from helpers.searches import Hypotheses, assert_same_hypotheses, by_layers, prepared, ready, search
from torch import Tensor, nn

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "unlike_widths": {"decoder_embed_dim": 12, "decoder_attention_heads": 3},
    "learned_positions": {"decoder_learned_pos": True, "layernorm_embedding": True},
    "gelu": {"activation_fn": "gelu", "share_all_embeddings": True},
}
SEARCHES: Dict[str, Dict[str, Any]] = {
    "greedy": {"beam_size": 1},
    "beam": {"beam_size": 3},
    "wide_beam": {"beam_size": 5, "len_penalty": 0.5, "min_len": 3},
    "no_repeat": {"beam_size": 4, "no_repeat_ngram_size": 2, "unk_penalty": 1.0},
    "long": {"beam_size": 2, "min_len": 40},
}


SLOW = pytest.mark.slow
RARE = [how for how in SEARCHES if how != "beam"]
"""Left out of the quick part: one search of each model is enough there."""


def both_ways(models: List[nn.Module], taken: List[int], **options: Any) -> List[Hypotheses]:
    found = [search(models, **options)]
    assert taken
    del taken[:]
    found.append(search([by_layers(model) for model in models], **options))
    assert not taken
    return found


@pytest.mark.parametrize(
    "kind,name", [("post", "as_is"), ("pre", "as_is"), *(("resdual", name) for name in OPTIONS)]
)
@pytest.mark.parametrize("how", ["beam", *(pytest.param(how, marks=SLOW) for how in RARE)])
def test_searches_find_the_same(kind: str, name: str, how: str, taken: List[int]) -> None:
    model = ready(residual=kind, **OPTIONS[name])
    assert_same_hypotheses(*both_ways([model], taken, **SEARCHES[how]))


@pytest.mark.parametrize("layerdrop", [0.0, 0.4])
def test_sampling_with_a_seed(layerdrop: float, taken: List[int]) -> None:
    """LayerDrop draws random numbers in evaluation, too, from those that sampling draws from."""
    model = ready(encoder_layerdrop=layerdrop, decoder_layerdrop=layerdrop)
    strategy = Sampling(model.decoder.dictionary, sampling_topk=5)

    def sampled() -> Hypotheses:
        torch.manual_seed(7)
        return search([model], beam_size=3, search_strategy=strategy)

    found = [sampled(), sampled()]
    assert taken
    model = by_layers(model)
    expected = sampled()
    for hypotheses in found:
        # Unlikely tokens have scores of which float32 keeps less.
        assert_same_hypotheses(hypotheses, expected, close=1e-4)


def test_ensemble_of_kinds(taken: List[int]) -> None:
    models = [ready(residual=kind, seed=seed) for seed, kind in enumerate(KINDS)]
    assert_same_hypotheses(*both_ways(models, taken, beam_size=3))


def test_prefixes_of_several_lengths(taken: List[int]) -> None:
    prefix = torch.tensor([[7, 8, 9], [5, PAD, PAD], [6, 4, PAD]])
    found = both_ways([ready()], taken, beam_size=3, prefix=prefix)
    assert_same_hypotheses(*found)
    assert found[0][0][0]["tokens"][:3].tolist() == [7, 8, 9]


@torch.no_grad()
@pytest.mark.parametrize("order", [[1, 0, 2], [2, 2], [0, 0, 1, 1, 2]])
def test_any_order_of_rows_without_beams(order: List[int], taken: List[int]) -> None:
    """What a user of the decoder may ask that no beam search does; with padding in a row."""
    model = ready()
    batch = sample()["net_input"]
    tokens = torch.tensor([[EOS, 5, 7, PAD], [EOS, 6, 4, 9], [EOS, PAD, 8, 10]])
    outputs = []
    for fast in (True, False):
        state: Dict[str, Any] = {}
        if not fast:  # grad mode is one of the things that leave decoding to the layers
            torch.set_grad_enabled(True)
        memory = model.encoder(batch["src_tokens"], batch["src_lengths"])
        for length in (1, 2):
            model.decoder(tokens[:, :length], encoder_out=memory, incremental_state=state)
        rows = torch.tensor(order)
        model.decoder.reorder_incremental_state_scripting(state, rows)
        memory = model.encoder.reorder_encoder_out(memory, rows)
        for length in (3, 4):
            y, extra = model.decoder(
                tokens[rows, :length], encoder_out=memory, incremental_state=state
            )
        outputs.append((y, extra["attn"][0], *extra["inner_states"]))
        assert bool(taken) is fast
        del taken[:]
    for ours, theirs in zip(*outputs):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("begin", [[5, 5, 5, 6, 6, 6], [5, 5, 4, 6, 6, 6]])
@pytest.mark.parametrize("order", [[0, 0, 0, 2, 2, 2], [0, 0, 1, 2, 2, 2], [2, 2, 2, 0, 0, 0]])
def test_beams_of_a_view_of_the_memory(
    order: List[int], begin: List[int], taken: List[int]
) -> None:
    """Beams that begin alike are computed once; others, and rows of any sentence, apart."""
    model = ready()
    batch = sample()["net_input"]
    memory = model.encoder(batch["src_tokens"], batch["src_lengths"])
    rows = torch.tensor(order)
    tokens = torch.tensor([begin, [4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4]]).t()
    outputs = []
    for fast in (True, False):
        torch.set_grad_enabled(not fast)
        state: Dict[str, Any] = {}
        found: List[Tensor] = []
        seen = model.encoder.reorder_encoder_out(memory, rows)
        for length in (1, 2, 3):
            y, extra = model.decoder(tokens[:, :length], encoder_out=seen, incremental_state=state)
            found += [y, extra["attn"][0], *extra["inner_states"]]
        outputs.append(found)
        assert bool(taken) is fast
        del taken[:]
    for ours, theirs in zip(*outputs):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_reordered_memory_that_was_changed(taken: List[int]) -> None:
    model = ready()
    batch = sample()["net_input"]
    memory = model.encoder(batch["src_tokens"], batch["src_lengths"])
    order = torch.tensor([0, 0, 1, 1, 2, 2])
    tokens = torch.full((6, 1), EOS)

    def first(seen: Any) -> Tensor:
        return model.decoder(tokens, encoder_out=seen, incremental_state={})[0]

    whole = model.encoder.reorder_at_once(memory, order)
    whole["encoder_out"] = [2 * whole["encoder_out"][0]]
    for change in ("in place", "by key"):
        view = model.encoder.reorder_encoder_out(memory, order)
        if change == "in place":
            view["encoder_out"][0].mul_(2)
        else:
            view["encoder_out"] = [2 * view["encoder_out"][0]]
        torch.testing.assert_close(first(view), first(whole))
    assert taken == [6] * 4


@torch.no_grad()
def test_a_reordered_memory_that_was_emptied() -> None:
    model = ready()
    batch = sample()["net_input"]
    memory = model.encoder(batch["src_tokens"], batch["src_lengths"])
    view = model.encoder.reorder_encoder_out(memory, torch.tensor([1, 0, 2]))
    view.clear()
    assert dict(view) == view.copy() == {}
    with pytest.raises(KeyError):
        model.decoder(torch.full((3, 1), EOS), encoder_out=view, incremental_state={})


@torch.no_grad()
def test_other_rows_than_the_memory_has(taken: List[int]) -> None:
    model = ready()
    batch = sample()["net_input"]
    memory = model.encoder(batch["src_tokens"], batch["src_lengths"])
    state: Dict[str, Any] = {}
    with pytest.raises(ValueError, match="given 4 rows, but this search has 3"):
        model.decoder(torch.full((4, 1), EOS), encoder_out=memory, incremental_state=state)
    model.decoder(torch.full((3, 1), EOS), encoder_out=memory, incremental_state=state)
    with pytest.raises(ValueError, match="given 2 rows, but this search has 3"):
        model.decoder(torch.full((2, 2), EOS), encoder_out=memory, incremental_state=state)
    model.decoder(torch.full((3, 2), EOS), encoder_out=memory, incremental_state=state)
    assert taken == [4, 3, 2, 3]


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"residual": "pre", "no_decoder_final_norm": True}, {"residual_alpha": 0.25}]
)
def test_how_the_streams_close(options: Dict[str, Any], taken: List[int]) -> None:
    assert_same_hypotheses(*both_ways([ready(**options)], taken, beam_size=3))


SPOILED = {
    "self_attn.q_proj": lambda decoder: decoder.layers[1].self_attn.q_proj,
    "self_attn.k_proj": lambda decoder: decoder.layers[1].self_attn.k_proj,
    "encoder_attn.q_proj": lambda decoder: decoder.layers[1].encoder_attn.q_proj,
    "word": lambda decoder: decoder.embed_tokens,
}


@torch.no_grad()
@pytest.mark.parametrize("spoiled", SPOILED)
def test_nan_stays_nan(spoiled: str) -> None:
    model = let_sentences_end(stirred()).float()
    SPOILED[spoiled](model.decoder).weight[4 if spoiled == "word" else 1, 2] = float("nan")
    prepared(model)
    memory = model.encoder(sample()["net_input"]["src_tokens"])
    tokens = torch.tensor([[EOS, 4, 5]] * 3)
    assert model.decoder(tokens, encoder_out=memory)[0].isnan().any()
    state: Dict[str, Any] = {}
    for length in (1, 2):
        found = model.decoder(tokens[:, :length], encoder_out=memory, incremental_state=state)[0]
    assert found.isnan().any()


@torch.no_grad()
@pytest.mark.parametrize("part", ["q_proj", "k_proj", "v_proj"])
def test_nan_stays_nan_in_the_encoder(part: str) -> None:
    """Also where nothing is hidden, which torch's fused attention makes 0 on a CPU."""
    model = stirred().float()
    getattr(model.encoder.layers[0].self_attn, part).weight[0, 1] = float("nan")
    assert model.encoder(torch.full((2, 5), 7))["encoder_out"][0].isnan().all()
