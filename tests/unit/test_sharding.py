"""Protects the seam where FSDP wraps a layer: both streams pass through it, with gradients."""

from typing import Any, Iterator

import pytest
import torch
from helpers.models import KINDS, assert_close, assert_same_gradients, output_and_gradients, stirred
from torch import distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from resdual_fairseq.model import stack as stacks


@pytest.fixture
def one_process() -> Iterator[None]:
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("kind", KINDS)
def test_wrapped_layers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own FSDP stands in for fairscale's, which needs CUDA."""
    plain = stirred(residual=kind)

    def wrap(layer: nn.Module, min_num_params: int) -> nn.Module:
        return FullyShardedDataParallel(
            layer.double(), device_id=torch.device("cpu"), use_orig_params=True
        )

    monkeypatch.setattr(stacks, "fsdp_wrap", wrap)
    model = stirred(residual=kind)
    layers = [*model.encoder.layers, *model.decoder.layers]
    assert all(type(layer) is FullyShardedDataParallel for layer in layers)
    found: Any = []
    for each in (model, plain):
        y, gradients = output_and_gradients(each)
        names = [name.replace("_fsdp_wrapped_module.", "") for name in gradients]
        found.append((y, dict(zip(names, gradients.values()))))
    (y, ours), (expected, theirs) = found
    assert_close(y, expected)
    assert_same_gradients(ours, theirs)
