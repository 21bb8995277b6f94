"""Protects the streams as plain values: no state on modules, none lost in checkpointing."""

import copy
import pickle
from typing import Any, Dict

import pytest
import torch
from helpers.models import (
    KINDS,
    PAD,
    assert_close,
    assert_same_gradients,
    build,
    forward,
    gradients,
    output_and_gradients,
    sample,
    sentences,
    shifted,
    stir,
    stirred,
)
from torch import Tensor, nn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["checkpoint_activations", "offload_activations"])
@pytest.mark.parametrize("more", [{}, {"cross_self_attention": True}, {"decoder_layerdrop": 0.4}])
def test_activation_checkpointing_changes_no_gradient(
    kind: str, how: str, more: Dict[str, Any]
) -> None:
    options: Dict[str, Any] = {"residual": kind, "dropout": 0.3, **more}
    plain = stir(build(**options)).train()
    checkpointed = stir(build(**{**options, how: True})).train()
    expected, expected_gradients = output_and_gradients(plain, seed=2)
    actual, actual_gradients = output_and_gradients(checkpointed, seed=2)
    assert_close(actual, expected)
    assert_same_gradients(actual_gradients, expected_gradients)


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left_pad", [False, True])
def test_a_batch_equals_its_sentences_one_by_one(kind: str, left_pad: bool) -> None:
    model = stirred(residual=kind)
    source = sentences([2, 7, 5, 3], seed=1, left_pad=left_pad)
    previous = shifted(sentences([6, 2, 4, 3], seed=2))
    together = model(source, None, previous)[0]
    for row, (from_, to) in enumerate(zip(source, previous)):
        from_, to = from_[from_.ne(PAD)].unsqueeze(0), to[to.ne(PAD)].unsqueeze(0)
        alone = model(from_, None, to)[0]
        assert_close(together[row, : to.size(1)], alone[0])


def tensors_on_modules(model: nn.Module) -> Dict[str, Any]:
    """Every attribute of every module that is no parameter, buffer or child."""
    skipped = ("_parameters", "_buffers", "_modules", "_future_mask")  # the last is fairseq's
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in skipped
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_leaves_no_trace_on_the_modules(kind: str) -> None:
    model = stir(build(residual=kind, dropout=0.1)).train()
    before = tensors_on_modules(model)
    forward(model, sample()).sum().backward()
    after = tensors_on_modules(model)
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())
    assert not any(isinstance(value, Tensor) for value in after.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_compute_the_same_and_share_nothing(kind: str, clone: Any) -> None:
    model = stirred(residual=kind)
    forward(model, sample())
    twin = clone(model)
    assert torch.equal(forward(twin, sample()), forward(model, sample()))
    forward(twin, sample()).sum().backward()
    assert all(gradient is None for gradient in gradients(model).values())
    assert twin.encoder.layer_norm is not model.encoder.layer_norm
