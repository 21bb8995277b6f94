"""Protects fair comparisons: Post-LN and Pre-LN train exactly as fairseq's `transformer` does."""

from typing import Any, Dict, Tuple

import pytest
import torch
from fairseq.criterions import FairseqCriterion
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from helpers.host import BASELINES, CELLS, OPTIONS, build_host, pair
from helpers.models import (
    assert_close,
    assert_same_gradients,
    build,
    forward,
    gradients,
    sample,
    task,
)
from torch import Tensor, nn

GRID = pytest.mark.parametrize(("kind", "name"), CELLS)
EITHER = pytest.mark.parametrize("kind", BASELINES)


def criterion(options: Dict[str, Any]) -> FairseqCriterion:
    if "adaptive_softmax_cutoff" in options:
        return AdaptiveLoss(task(), sentence_avg=False)
    return LabelSmoothedCrossEntropyCriterion(task(), sentence_avg=False, label_smoothing=0.1)


def loss_and_gradients(
    model: nn.Module, options: Dict[str, Any], seed: int
) -> Tuple[Tensor, Dict[str, Any]]:
    """One training step's loss; the seed decides dropout, LayerDrop and quantization noise."""
    model.train()
    model.zero_grad()
    torch.manual_seed(seed)
    loss, _, _ = criterion(options)(model, sample())
    loss.backward()
    return loss.detach(), gradients(model)


@GRID
def test_loss_and_gradients(kind: str, name: str) -> None:
    model, host = pair(kind, **OPTIONS[name])
    for seed in (1, 2):
        loss, grads = loss_and_gradients(model, OPTIONS[name], seed)
        host_loss, host_grads = loss_and_gradients(host, OPTIONS[name], seed)
        assert_close(loss, host_loss)
        assert_same_gradients(grads, host_grads)


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
