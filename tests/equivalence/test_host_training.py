"""Protects fair comparisons: Post-LN and Pre-LN train exactly as fairseq's `transformer` does."""

from typing import Any

import pytest
import torch
from helpers.host import BASELINES, CELLS, OPTIONS, assert_same_training, build_host, pair
from helpers.models import (
    assert_close,
    build,
    forward,
    sample,
)

GRID = pytest.mark.parametrize(("kind", "name"), CELLS)
EITHER = pytest.mark.parametrize("kind", BASELINES)


@GRID
def test_loss_and_gradients(kind: str, name: str) -> None:
    assert_same_training(*pair(kind, **OPTIONS[name]), sample())


@GRID
def test_outputs_and_all_that_goes_with_them(kind: str, name: str) -> None:
    models = [model.eval() for model in pair(kind, **OPTIONS[name])]
    batch = sample()
    (output, extra), (host_output, host_extra) = (model(**batch["net_input"]) for model in models)
    assert_close(output, host_output)
    assert (extra["attn"][0] is None) is (host_extra["attn"][0] is None)
    if extra["attn"][0] is not None:
        assert_close(extra["attn"][0], host_extra["attn"][0])
    assert len(extra["inner_states"]) == len(host_extra["inner_states"])
    for state, host_state in zip(extra["inner_states"], host_extra["inner_states"]):
        assert_close(state, host_state)


@GRID
def test_parameters_their_names_and_their_initial_values(kind: str, name: str) -> None:
    host = build_host(kind, **OPTIONS[name]).state_dict()
    model = build(residual=kind, **OPTIONS[name]).state_dict()
    assert list(model) == list(host)
    for key, value in host.items():
        # fairseq 0.12.2 leaves this marker of a device uninitialized.
        assert key.endswith("_float_tensor") or torch.equal(model[key], value), key


@EITHER
@pytest.mark.parametrize("left_pad", [False, True])
def test_encoder_output_with_all_states(kind: str, left_pad: bool) -> None:
    model, host = pair(kind)
    source = sample(left_pad)["net_input"]["src_tokens"]
    ours = model.encoder(source, return_all_hiddens=True)
    theirs = host.encoder(source, return_all_hiddens=True)
    for key in ("encoder_out", "encoder_padding_mask", "encoder_embedding", "src_lengths"):
        assert_close(ours[key][0], theirs[key][0])
    assert len(ours["encoder_states"]) == len(theirs["encoder_states"]) == 3
    for state, host_state in zip(ours["encoder_states"], theirs["encoder_states"]):
        assert_close(state, host_state)


@EITHER
def test_token_embeddings_in_place_of_a_look_up(kind: str) -> None:
    model, host = pair(kind)
    source = sample()["net_input"]["src_tokens"]
    embeddings = torch.randn(*source.shape, 8, dtype=torch.float64)
    outputs = [
        m.encoder(source, token_embeddings=embeddings)["encoder_out"][0] for m in (model, host)
    ]
    assert_close(*outputs)


@EITHER
@pytest.mark.parametrize("whole", [False, True])
def test_decoder_with_and_without_memory_and_causal_mask(kind: str, whole: bool) -> None:
    model, host = pair(kind)
    previous = sample()["net_input"]["prev_output_tokens"]
    outputs = [
        m.decoder(previous, encoder_out=None, full_context_alignment=whole)[0]
        for m in (model, host)
    ]
    assert_close(*outputs)


@EITHER
@pytest.mark.parametrize("modules", [None, ["TransformerEncoder"], ["TransformerDecoderLayerBase"]])
def test_retained_dropout(kind: str, modules: Any) -> None:
    """`--retain-dropout-modules` takes fairseq's names, for fairseq's modules and for these."""
    outputs = []
    for model in pair(kind, dropout=0.3, attention_dropout=0.2):
        model.eval()
        for name, module in model.named_modules():
            if hasattr(module, "make_generation_fast_") and module is not model:
                module.make_generation_fast_(
                    name=name, retain_dropout=True, retain_dropout_modules=modules
                )
        torch.manual_seed(3)
        outputs.append(forward(model, sample()))
        torch.manual_seed(4)
        assert not torch.equal(outputs[-1], forward(model, sample()))
    assert_close(*outputs)


def test_parameters_stand_in_the_order_of_pre_ln() -> None:
    host = [name for name, _ in build_host("pre").named_parameters()]
    assert [name for name, _ in build(residual="resdual").named_parameters()] == host
