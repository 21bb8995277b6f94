"""Protects generation: Post-LN and Pre-LN decode exactly as fairseq's `transformer` does."""

from typing import Any, Dict, List, Optional

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from helpers.host import BASELINES, CELLS, OPTIONS, pair
from helpers.models import EOS, PAD, assert_close, forward, let_sentences_end, sample, step_by_step
from torch import Tensor, nn

EITHER = pytest.mark.parametrize("kind", BASELINES)
GRID = pytest.mark.parametrize(("kind", "name"), CELLS)


def hypotheses(model: nn.Module, beam: int, **options: Any) -> List[List[Dict[str, Tensor]]]:
    merged = model.args.merge_src_tgt_embed  # fairseq merges into the source's dictionary
    words = model.encoder.dictionary if merged else model.decoder.dictionary
    generator = SequenceGenerator([model], words, beam_size=beam, max_len_b=8, **options)
    return generator.generate([model], sample())


@GRID
def test_incremental_decoding(kind: str, name: str) -> None:
    model, host = (m.eval() for m in pair(kind, **OPTIONS[name]))
    net_input = sample()["net_input"]
    tokens = net_input["prev_output_tokens"].clone()
    tokens[tokens.eq(PAD)] = 7  # beams hold no padding
    with torch.no_grad():
        found = [step_by_step(m, tokens, m.encoder(net_input["src_tokens"])) for m in (model, host)]
    for ours, theirs in zip(*found):
        assert_close(ours, theirs)


@GRID
def test_beam_search(kind: str, name: str) -> None:
    ours, theirs = (
        hypotheses(let_sentences_end(m.eval()), beam=3) for m in pair(kind, **OPTIONS[name])
    )
    assert len(ours) == len(theirs) == 3
    for beams, host_beams in zip(ours, theirs):
        assert len(beams) == len(host_beams) == 3
        for beam, host_beam in zip(beams, host_beams):
            assert beam["tokens"].tolist() == host_beam["tokens"].tolist()
            assert beam["tokens"][-1] == EOS
            assert_close(beam["score"], host_beam["score"])
            assert_close(beam["positional_scores"], host_beam["positional_scores"])
            assert_close(beam["attention"], host_beam["attention"])


@EITHER
@pytest.mark.parametrize(
    "options",
    [
        {"len_penalty": 0.6},
        {"no_repeat_ngram_size": 2},
        {"min_len": 4},
        {"normalize_scores": False},
    ],
)
def test_beam_search_under_constraints(kind: str, options: Dict[str, Any]) -> None:
    ours, theirs = (hypotheses(let_sentences_end(m.eval()), beam=2, **options) for m in pair(kind))
    for beams, host_beams in zip(ours, theirs):
        assert [b["tokens"].tolist() for b in beams] == [b["tokens"].tolist() for b in host_beams]
        assert [b["score"].item() for b in beams] == [b["score"].item() for b in host_beams]


@EITHER
def test_ensemble_with_the_host(kind: str) -> None:
    """One of each in an ensemble searches as two of the host do."""
    model, host = pair(kind)
    dictionary = host.decoder.dictionary
    found = [
        SequenceGenerator(models, dictionary, beam_size=2, max_len_b=8).generate(models, sample())
        for models in ([model, host], [host, host])
    ]
    for mixed, alike in zip(*found):
        assert [b["tokens"].tolist() for b in mixed] == [b["tokens"].tolist() for b in alike]
        assert_close(mixed[0]["score"], alike[0]["score"])


@EITHER
@pytest.mark.parametrize("layer", [None, 0, 2])
@pytest.mark.parametrize("heads", [None, 1])
def test_alignment(kind: str, layer: Optional[int], heads: Optional[int]) -> None:
    model, host = (m.eval() for m in pair(kind, decoder_layers=3))
    net_input = sample()["net_input"]
    options = {"alignment_layer": layer, "alignment_heads": heads}
    (_, ours), (_, theirs) = (m(**net_input, **options) for m in (model, host))
    assert ours["attn"][0].shape == (3, 6, 7)
    assert_close(ours["attn"][0], theirs["attn"][0])


@EITHER
def test_alignment_without_the_causal_mask(kind: str) -> None:
    outputs = []
    for model in (m.eval() for m in pair(kind)):
        net_input = sample()["net_input"]
        memory = model.encoder(net_input["src_tokens"])
        _, extra = model.decoder(
            net_input["prev_output_tokens"],
            encoder_out=memory,
            full_context_alignment=True,
            alignment_layer=1,
        )
        outputs.append(extra["attn"][0])
    assert_close(*outputs)


@EITHER
def test_features_only(kind: str) -> None:
    outputs = [forward(m.eval(), sample(), features_only=True) for m in pair(kind)]
    assert outputs[0].shape == (3, 6, 8)
    assert_close(*outputs)
