"""Protects the estimate of memory: it is near what a model takes, and refuses in a sentence."""

from typing import Any, Dict

import pytest
import torch
from helpers.models import sample, task

from resdual_fairseq.diagnostics import memory
from resdual_fairseq.diagnostics.data import build_criterion
from resdual_fairseq.diagnostics.untrained import Plan, Sizes, build, model_options
from resdual_fairseq.errors import ResDualError

SIZES = Sizes(width=32, heads=2)


@pytest.mark.parametrize("arch", ["resdual_transformer", "resdual_transformer_iwslt_de_en"])
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_parameters_are_counted(arch: str, kind: str) -> None:
    plan, sizes = Plan(kind, 3, 1), Sizes(arch, width=32, heads=2)
    model = build(plan, sizes, task())
    actual = sum(weight.numel() for weight in model.parameters())
    words = len(task().source_dictionary)
    counted = memory.parameters(model_options(plan, sizes), words, words)
    closing_norms = 0 if kind == "post" else 2 * 2 * 32
    assert actual == counted + closing_norms


@pytest.mark.parametrize("kind", ["post", "pre", "resdual"])
def test_the_estimate_is_what_the_backward_pass_keeps_and_not_twice_that(kind: str) -> None:
    plan = Plan(kind, 8, 1)
    model = build(plan, SIZES, task()).eval()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: Dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch: Dict[str, Any] = sample()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = build_criterion(task(), 0.1)(model, batch)[0]
    assert loss.requires_grad
    tokens = batch["net_input"]["src_tokens"].numel()
    estimate = memory.BYTES * memory.activations(model_options(plan, SIZES), 24, tokens)
    assert sum(kept.values()) < estimate < 2 * sum(kept.values())


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    args = model_options(Plan("resdual", 100, 1), Sizes())
    needed = memory.needed(args, task(), 1000)
    monkeypatch.setattr(memory, "available", lambda device: needed)
    memory.check_memory(args, task(), 1000, "cpu")
    monkeypatch.setattr(memory, "available", lambda device: needed - 1)
    with pytest.raises(
        ResDualError, match=r"100 \+ 100 layers of width 512 with 1000 tokens a batch need about"
    ):
        memory.check_memory(args, task(), 1000, "cpu")


def test_shared_embeddings_need_one_dictionary() -> None:
    sizes = Sizes("resdual_transformer_iwslt_de_en", width=8, heads=2)
    with pytest.raises(ResDualError, match="shares all embeddings, but the two dictionaries"):
        build(Plan("post", 1, 1), sizes, task(joined=False))
