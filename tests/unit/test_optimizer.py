"""Protects --optimizer fused_adam: fairseq's Adam to the last digits, with the same options."""

from typing import Dict, List

import pytest
import torch
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import Tensor

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.training.optimizer import FusedAdam, FusedAdamConfig

SHAPES = ((5, 7), (7,), (3, 2, 4))


def weights() -> List[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(shape, requires_grad=True) for shape in SHAPES]


def optimizers(**options: float) -> Dict[str, FairseqAdam]:
    common = {"lr": [0.01], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-12, **options}
    return {
        "host": FairseqAdam(FairseqAdamConfig(**common), weights()),
        "fused": FusedAdam(FusedAdamConfig(**common), weights()),
    }


def set_gradients(optimizer: FairseqAdam, step: int) -> None:
    torch.manual_seed(step)
    for weight in optimizer.params:
        weight.grad = torch.randn_like(weight)


def test_flat_parameters_are_taken_and_statistics_in_16_bits_are_not() -> None:
    pair = optimizers()
    assert pair["fused"].supports_flat_params and pair["host"].supports_flat_params
    with pytest.raises(ResDualError, match="--fp16-adam-stats is for --optimizer adam"):
        FusedAdam(FusedAdamConfig(lr=[0.01], fp16_adam_stats=True), weights())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_steps_equal_fairseqs(weight_decay: float, clip: float) -> None:
    pair = optimizers(weight_decay=weight_decay)
    norms = {}
    for step in range(20):
        for name, optimizer in pair.items():
            set_gradients(optimizer, step)
            optimizer.multiply_grads(0.25)
            norms[name] = optimizer.clip_grad_norm(clip)
            optimizer.set_lr(0.01 / (step + 1))
            optimizer.step()
            optimizer.zero_grad()
        torch.testing.assert_close(norms["fused"], norms["host"], rtol=1e-6, atol=0)
    for ours, theirs in zip(pair["fused"].params, pair["host"].params):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_state_comes_back() -> None:
    first = optimizers()["fused"]
    set_gradients(first, 1)
    first.step()
    second = optimizers()["fused"]
    second.load_state_dict(first.state_dict(), {"lr": 0.5})
    assert second.get_lr() == 0.5
    for ours, theirs in zip(second.params, first.params):
        assert torch.equal(
            second.optimizer.state[ours]["exp_avg"], first.optimizer.state[theirs]["exp_avg"]
        )
