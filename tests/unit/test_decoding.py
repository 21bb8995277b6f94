"""Protects step-by-step decoding: it equals the full pass, and beams can be reordered."""

from typing import Any, Dict, List, Optional

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from helpers.models import (
    KINDS,
    PAD,
    assert_close,
    let_sentences_end,
    sample,
    step_by_step,
    stirred,
)
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("exact_softmax")

State = Dict[str, Dict[str, Optional[Tensor]]]

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "learned_positions": {"decoder_learned_pos": True},
    "layernorm_embedding": {"layernorm_embedding": True},
    "no_cross_attention": {"no_cross_attention": True},
    "cross_self_attention": {"cross_self_attention": True},
    "cross_self_attention_alone": {"cross_self_attention": True, "no_cross_attention": True},
    "scales": dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True),
    "unlike_widths": {"decoder_embed_dim": 12, "decoder_attention_heads": 3},
    "checkpoint_activations": {"checkpoint_activations": True},
    "layerdrop": {"decoder_layerdrop": 0.5},
}


def batch_without_target_padding() -> Dict[str, Any]:
    """Source sentences of several lengths, targets of one, as in a beam."""
    net_input = sample()["net_input"]
    previous = net_input["prev_output_tokens"]
    return {**net_input, "prev_output_tokens": previous.masked_fill(previous.eq(PAD), 9)}


def next_logits(model: nn.Module, previous: Tensor, memory: Any, state: State) -> Tensor:
    """B x V after the tokens so far (B x T)."""
    return model.decoder(previous, encoder_out=memory, incremental_state=state)[0][:, -1]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_steps_equal_the_full_pass(kind: str, name: str) -> None:
    model = stirred(residual=kind, **OPTIONS[name])
    batch = batch_without_target_padding()
    expected = model(**batch)[0]
    steps = step_by_step(model, batch["prev_output_tokens"], model.encoder(batch["src_tokens"]))
    assert_close(torch.cat(steps, dim=1), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["as_is", "cross_self_attention", "scales"])
@pytest.mark.parametrize("order", [[1, 0, 3, 3, 4, 5], [0, 0, 5, 4], [3, 2]])
def test_reordered_beams_go_on_as_if_they_had_always_stood_so(
    kind: str, name: str, order: List[int]
) -> None:
    """Three sentences of two beams: beams change places, then sentences are done and leave."""
    model = stirred(residual=kind, **OPTIONS[name])
    model.decoder.set_beam_size(2)
    batch = batch_without_target_padding()
    source = batch["src_tokens"].repeat_interleave(2, dim=0)
    previous = torch.cat((batch["prev_output_tokens"], batch["prev_output_tokens"].flip(0)))
    memory = model.encoder(source)
    state: State = {}
    for length in (1, 2, 3):
        next_logits(model, previous[:, :length], memory, state)

    new_order = torch.tensor(order)
    model.decoder.reorder_incremental_state_scripting(state, new_order)
    memory = model.encoder.reorder_encoder_out(memory, new_order)
    source, previous = source[new_order], previous[new_order]
    expected = model(source, None, previous)[0]
    for length in (4, 5):
        actual = next_logits(model, previous[:, :length], memory, state)
        assert_close(actual, expected[:, length - 1])


@torch.no_grad()
def test_reordering_moves_everything_in_the_encoder_output() -> None:
    model = stirred()
    source = sample()["net_input"]["src_tokens"]
    order = torch.tensor([2, 0, 0])
    moved = model.encoder.reorder_encoder_out(model.encoder(source, return_all_hiddens=True), order)
    expected = model.encoder(source[order], return_all_hiddens=True)
    for key in ("encoder_out", "encoder_padding_mask", "encoder_embedding", "src_lengths"):
        assert_close(moved[key][0], expected[key][0])
    assert len(moved["encoder_states"]) == 3
    for state, other in zip(moved["encoder_states"], expected["encoder_states"]):
        assert_close(state, other)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_beams_are_those_of_the_full_pass(kind: str) -> None:
    model = let_sentences_end(stirred(residual=kind))
    words = model.decoder.dictionary
    generator = SequenceGenerator([model], words, beam_size=4, max_len_b=7, normalize_scores=False)
    source = sample()["net_input"]["src_tokens"]
    beams = generator.generate([model], sample())
    assert len({len(hypothesis["tokens"]) for beam in beams for hypothesis in beam}) > 1
    for sentence, beam in zip(source, beams):
        for hypothesis in beam:
            target = hypothesis["tokens"]
            previous = torch.cat((target[-1:], target[:-1])).unsqueeze(0)
            logits = model(sentence[sentence.ne(PAD)].unsqueeze(0), None, previous)[0]
            scores = logits[0].log_softmax(dim=-1).gather(1, target.unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(
                hypothesis["positional_scores"].double(), scores, rtol=0, atol=1e-5
            )
