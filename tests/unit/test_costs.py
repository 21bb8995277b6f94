"""Protects the price of a layer in training: products and bytes kept.

Counts, not times, so that it says the same on every machine. Costs of one layer are differences
between models of one and of two.
"""

from typing import Any, Callable, Dict

import pytest
import torch
from helpers.models import KINDS, build, sample
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

STACKS = ("encoder", "decoder")
PRE_LN = {"encoder_normalize_before": True, "decoder_normalize_before": True}
SIZES: Dict[str, Any] = {
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "matmul"}


class Products(TorchDispatchMode):
    """How many products of matrices torch was asked for; attention to all heads is one."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.count += name in PRODUCTS or "scaled_dot_product" in name
        return function(*args, **(kwargs or {}))


class Kept:
    """The bytes that autograd keeps for backward, each storage once, parameters left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.storages: Dict[int, torch.UntypedStorage] = {}

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters:
            self.storages[storage.data_ptr()] = storage
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def products(**options: Any) -> int:
    """Of a forward and backward pass."""
    model = build(**options).float().train()
    with Products() as counted:
        model(**sample()["net_input"])[0].sum().backward()
    return counted.count


def kept_bytes(**options: Any) -> int:
    """Between a forward and a backward pass."""
    model = build(**options).float().train()
    kept = Kept(model)
    with saved_tensors_hooks(kept.keep, lambda tensor: tensor):
        model(**sample()["net_input"])
    return kept.bytes


def of_a_layer(cost: Callable[..., int], stack: str, **options: Any) -> int:
    options = {**SIZES, **options}
    return cost(**{**options, f"{stack}_layers": 2}) - cost(**options)


@pytest.mark.parametrize("cost", [products, kept_bytes])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("stack", STACKS)
def test_a_layer_costs_what_the_hosts_does(
    stack: str, dropout: float, cost: Callable[..., int]
) -> None:
    """The dual sum needs nothing for its backward pass."""
    ours = {of_a_layer(cost, stack, residual=kind, dropout=dropout) for kind in KINDS}
    host = of_a_layer(cost, stack, arch="transformer", dropout=dropout, **PRE_LN)
    assert len(ours) == 1
    assert 0.9 * host < ours.pop() <= host


@pytest.mark.parametrize(("kind", "streams"), [("resdual", 2), ("post", 1), ("pre", 1)])
@pytest.mark.parametrize("stack", STACKS)
def test_kept_bytes_of_a_checkpointed_layer(stack: str, kind: str, streams: int) -> None:
    """The streams that come in, and nothing of what the layer computes."""
    batch = sample()["net_input"]
    tokens = batch["src_tokens" if stack == "encoder" else "prev_output_tokens"].numel()
    kept = of_a_layer(kept_bytes, stack, residual=kind, checkpoint_activations=True)
    assert kept == streams * tokens * SIZES["encoder_embed_dim"] * 4
