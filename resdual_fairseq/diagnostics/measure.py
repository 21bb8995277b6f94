"""All measurements of one model on given batches, as rows of the table."""

import math
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from torch import nn

from ..model.blocks import Block
from ..residual import Residual
from .bounds import are_known, block_bounds
from .probes import Place, Probe
from .ranks import effective_rank, linear_cka
from .table import LEARNED, Row


class Label(NamedTuple):
    """What the rows of one model have in common."""

    model: str
    residual: str
    seed: int


def measure(
    model: nn.Module,
    criterion: FairseqCriterion,
    batches: Iterable[Dict[str, Any]],
    label: Label,
    trained: bool = False,
) -> List[Row]:
    """Run the batches forward and backward and measure every block.

    The model runs without dropout and keeps no trace of it, but for its gradients, which are
    cleared first and hold those of the summed loss afterwards.

    Args:
        model: a ``resdual_transformer``.
        criterion: fairseq's, such as its label-smoothed cross entropy.
        batches: as fairseq's translation task collates them.
        label: which model this is.
        trained: also measure what only trained weights tell: effective ranks, CKA, the numbers
            that residual connections learn and, for the schemes that have them, bounds.
    """
    device = next(model.parameters()).device
    model.eval()
    model.zero_grad(set_to_none=True)
    total, tokens = 0.0, 0
    with Probe(model, trained) as probe:
        for batch in batches:
            batch = utils.apply_to_sample(lambda tensor: tensor.to(device), batch)
            probe.expect(batch)
            loss, sample_size, _ = criterion(model, batch)
            loss.backward()
            total += loss.item()
            tokens += int(sample_size)
    rows = [Row(*label[:2], 0, label.seed, "model", 0, 0, 0, "", "loss", "", total / tokens)]
    found = block_bounds(model) if trained and are_known(model) else []
    bounds = {(b.block.stack, b.block.k): b for b in found}
    for stack, end in probe.ends.items():
        blocks = [block for block in probe.blocks if block.stack == stack]
        depth = len({block.layer for block in blocks})
        head = (label.model, label.residual, depth, label.seed, stack)
        for block in blocks:
            at = (*head, block.k, end.blocks, block.layer, block.part)
            values = place_values(probe, (stack, block.k), tokens)
            if bounds:
                values["output_bound"] = bounds[stack, block.k].output
            rows += [Row(*at, name, "", value) for name, value in values.items()]
            norms = gradient_norms(block, tokens)
            rows += [Row(*at, "gradient", name, value) for name, value in norms.items()]
            rows += [Row(*at, *one) for one in learned(block.connection) if trained]
        at = (*head, end.k, end.blocks, depth, "end")
        values = place_values(probe, (stack, end.k), tokens)
        rows += [Row(*at, name, "", value) for name, value in values.items()]
        rows += [Row(*at, *one) for one in learned(end) if trained]
        if bounds:
            stream = max(bounds[stack, block.k].stream for block in blocks)
            rows.append(Row(*head, 0, end.blocks, 0, "", "stream_bound", "", stream))
    return rows


def place_values(probe: Probe, place: Place, tokens: int) -> Dict[str, float]:
    """What was seen at one place of a stack, by quantity."""
    stack, k = place
    values = {name: value / probe.tokens[stack] for name, value in probe.token_sums[place].items()}
    values.update((name, math.sqrt(v) / tokens) for name, v in probe.squares[place].items())
    values.update(probe.maxima[place])
    if place in probe.moments:
        values["effective_rank"] = effective_rank(probe.moments[place])
        after = probe.moments.get((stack, k + 1))
        if after is not None:
            values["cka"] = linear_cka(probe.moments[place], after)
    return values


def learned(connection: Residual) -> List[Tuple[str, str, float]]:
    """Quantity, name and value of what a connection learns beside its norms' weights and biases."""
    return [
        (quantity, name, value.item())
        for name, numbers in connection.named_parameters(recurse=False)
        if name not in ("weight", "bias")
        for quantity, value in zip(LEARNED, (numbers.mean(), numbers.min(), numbers.max()))
    ]


def gradient_norms(block: Block, tokens: int) -> Dict[str, float]:
    """Of a block as a whole (under no name), of its weights, and of its layer norm's."""
    norms = {name: gradient_norm(weight) / tokens for name, weight in block.weights.items()}
    norm = {
        f"layer_norm.{name}": gradient_norm(weight) / tokens
        for name, weight in block.connection.named_parameters()
    }
    return {"": math.hypot(*norms.values()), **norms, **norm}


def gradient_norm(weight: torch.Tensor) -> float:
    """In float64: squares of what vanishes would vanish in float32."""
    return 0.0 if weight.grad is None else weight.grad.double().norm().item()
