"""Protects extreme inputs: one token, nothing but padding, 1024 positions and more."""

from typing import Any, Dict, Tuple

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from helpers.models import (
    EOS,
    KINDS,
    PAD,
    WORDS,
    assert_close,
    assert_same_gradients,
    build,
    gradients,
    sentences,
    shifted,
    step_by_step,
    stir,
    stirred,
)
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("exact_softmax")
LONG = {"max_source_positions": 1024, "max_target_positions": 1024}


def run(model: nn.Module, source: Tensor, previous: Tensor) -> Tuple[Tensor, Dict[str, Any]]:
    """Logits of the words, with the gradients of their squares' sum."""
    model.zero_grad()
    output = model(source, None, previous)[0]
    assert bool(torch.isfinite(output).all())
    words = output[previous.ne(PAD)]
    words.square().sum().backward()
    return words.detach(), gradients(model)


def assert_same_run(model: nn.Module, batch: Tuple[Tensor, Tensor], alone: Any) -> None:
    actual, expected = run(model, *batch), run(model, *alone)
    assert_close(actual[0], expected[0])
    assert_same_gradients(actual[1], expected[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slow_path", [False, True])
@pytest.mark.parametrize("more", [{}, {"cross_self_attention": True}])
def test_all_rows_padding_but_one(kind: str, slow_path: bool, more: Dict[str, Any]) -> None:
    """Neither its outputs nor any gradient hears of the others."""
    model = stir(build(residual=kind, **more)).train()
    if slow_path:  # fairseq's attention in place of the fused one
        for module in model.modules():
            if hasattr(module, "q_proj"):
                module.q_proj.register_forward_hook(lambda *_: None)
    source, previous = sentences([6], seed=1), shifted(sentences([4], seed=2))
    padded = [torch.full((3, row.size(1)), PAD) for row in (source, previous)]
    for rows, row in zip(padded, (source, previous)):
        rows[1] = row[0]
    assert_same_run(model, (padded[0], padded[1]), (source, previous))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sentence_is_translated(kind: str) -> None:
    """fairseq-interactive makes EOS alone of an empty line."""
    model = stirred(residual=kind).float()
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=3, max_len_b=5)
    empty, longer = torch.tensor([[EOS]]), sentences([5], seed=1)
    both = torch.cat((torch.full((1, 4), PAD), empty), dim=1)
    both = torch.cat((both, longer))
    found = [
        [[h["tokens"].tolist() for h in beam] for beam in generator.generate([model], {
            "net_input": {"src_tokens": tokens, "src_lengths": tokens.ne(PAD).sum(dim=1)}
        })]
        for tokens in (empty, both)
    ]  # fmt: skip
    assert len(found[0][0]) == 3
    assert found[1][0] == found[0][0]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_sines_go_on_beyond_1024(kind: str) -> None:
    """What lies beyond does not change what comes before."""
    model = stirred(residual=kind, **LONG)
    source, previous = sentences([1100], seed=1), shifted(sentences([1100], seed=2))
    whole = model(source, None, previous)[0]
    assert bool(torch.isfinite(whole).all())
    assert_close(model(source, None, previous[:, :1000])[0], whole[:, :1000], tolerance=1e-8)


@torch.no_grad()
def test_a_thousand_decoding_steps_are_the_whole_pass() -> None:
    model = stirred(encoder_layers=1, decoder_layers=1, **LONG).float()
    source = sentences([1024], seed=1)
    previous = shifted(sentences([1024], seed=2))
    expected = model(source, None, previous)[0]
    steps = step_by_step(model, previous, model.encoder(source))
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_at_1024_positions_and_in_padding(kind: str, dtype: torch.dtype) -> None:
    model = stirred(residual=kind, **LONG).to(dtype)
    source = torch.randint(4, 4 + WORDS, (2, 1024))
    source[1] = PAD
    assert bool(torch.isfinite(model(source, None, source)[0]).all())


@torch.no_grad()
def test_torchscript_pads_alike() -> None:
    model = stirred(export=True).float()
    source, previous = sentences([5, 3], seed=1), shifted(sentences([4, 2], seed=2))
    source[1], previous[1] = PAD, PAD
    expected, actual = (
        model(source, None, previous)[0],
        torch.jit.script(model)(source, None, previous)[0],
    )
    assert bool(torch.isfinite(actual).all())
    assert_close(actual, expected, tolerance=1e-4)
