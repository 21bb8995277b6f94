"""Protects models in 8 bits: they compute nearly what the whole ones do, in every way in."""

import io
from typing import Any, Dict

import pytest
import torch
from fairseq.modules import MultiheadAttention
from fairseq.sequence_generator import SequenceGenerator
from helpers.host import build_host
from helpers.models import EOS, KINDS, PAD, forward, let_sentences_end, sample, stir, stirred
from torch import nn

from resdual_fairseq.export.quantization import quantized

OPTIONS: Dict[str, Dict[str, Any]] = {
    "as_is": {},
    "cross_self_attention": {"cross_self_attention": True},
    "no_cross_attention": {"no_cross_attention": True},
    "noise": {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 4},
}
pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine == "none", reason="this torch has no kernels of 8 bits"
)


@torch.no_grad()
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_sentences(kind: str, name: str) -> None:
    model = stirred(residual=kind, **OPTIONS[name]).float()
    copy = quantized(model)
    assert all(not isinstance(module, nn.Linear) for module in copy.modules())
    words = sample()["target"].ne(PAD)
    expected, actual = forward(model, sample())[words], forward(copy, sample())[words]
    assert 0 < (actual - expected).abs().mean() < 0.1 * expected.std()


@torch.no_grad()
def test_steps_equal_the_full_pass() -> None:
    model = quantized(stirred().float())
    batch = sample()["net_input"]
    previous = batch["prev_output_tokens"].masked_fill(batch["prev_output_tokens"].eq(PAD), 9)
    memory = model.encoder(batch["src_tokens"])
    state: Dict[str, Any] = {}
    for length in range(1, previous.size(1) + 1):
        # Inputs are rounded with a scale of the whole tensor: compare with one of this length.
        expected = model.decoder(previous[:, :length], encoder_out=memory)[0][:, -1]
        actual, _ = model.decoder(previous[:, :length], encoder_out=memory, incremental_state=state)
        assert (actual[:, -1] - expected).abs().mean() < 0.1 * expected.std()


def test_a_generator_finds_sentences() -> None:
    model = let_sentences_end(stirred()).float()
    models = [quantized(model)]
    found = SequenceGenerator(models, model.decoder.dictionary, beam_size=3, max_len_b=8)
    beams = found.generate(models, sample())
    assert [len(beam) for beam in beams] == [3, 3, 3]
    assert all(hypothesis["tokens"][-1] == EOS for beam in beams for hypothesis in beam)


def test_it_is_smaller_and_the_model_stays_as_it_is() -> None:
    model = stirred(encoder_embed_dim=64, encoder_ffn_embed_dim=128).float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sizes = []
    for each in (model, quantized(model)):
        file = io.BytesIO()
        torch.save(each.state_dict(), file)
        sizes.append(file.tell())
    assert sizes[1] < 0.5 * sizes[0]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    attention = [m for m in model.modules() if isinstance(m, MultiheadAttention)]
    assert not any(module.skip_embed_dim_check for module in attention)


@torch.no_grad()
def test_fairseqs_transformer_too() -> None:
    model = stir(build_host("post")).float().eval()
    expected, actual = forward(model, sample()), forward(quantized(model), sample())
    assert (actual - expected).abs().mean() < 0.1 * expected.std()
