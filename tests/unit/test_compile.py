"""Protects torch.compile: the compiled model has the eager one's loss and gradients."""

from typing import Any, Callable, Dict, Optional, Tuple

import pytest
import torch
from helpers.models import PAD, assert_close, assert_same_gradients, build, gradients, sample, stir
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional as F


def loss_and_gradients(
    model: nn.Module, forward: Callable[..., Any], batch: Dict[str, Any]
) -> Tuple[Tensor, Dict[str, Optional[Tensor]]]:
    model.zero_grad()
    logits, _ = forward(**batch["net_input"])
    loss = F.cross_entropy(logits.transpose(1, 2), batch["target"], ignore_index=PAD)
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.slow
def test_compiled_training() -> None:
    """By the backend that traces forward and backward, and leaves the kernels as they are."""
    torch._dynamo.reset()
    counters.clear()
    model = stir(build(encoder_layers=1, decoder_layers=1)).float().train()
    compiled = torch.compile(model, backend="aot_eager", dynamic=False)
    for seed in (7, 8):
        expected_loss, expected = loss_and_gradients(model, model, sample(seed=seed))
        expected = {name: gradient.clone() for name, gradient in expected.items()}
        loss, actual = loss_and_gradients(model, compiled, sample(seed=seed))
        assert_close(loss, expected_loss, 1e-6)
        assert_same_gradients(actual, expected, 1e-6)
    # Both stacks are captured; only the question whether a batch has padding leaves the graph.
    assert counters["stats"]["calls_captured"] > 100
    assert all("Tensor.item()" in reason for reason in counters["graph_break"])
