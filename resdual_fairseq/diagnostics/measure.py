"""All measurements of one model on given batches, as rows of the table."""

import math
from typing import Any, Callable, Dict, Iterable, List, NamedTuple

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from torch import nn

from ..model.blocks import STACKS, Block
from .bounds import block_bounds
from .probes import Place, Probe
from .ranks import effective_rank, linear_cka
from .table import Row


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
    ranks: bool = False,
    done: Callable[[], None] = lambda: None,
) -> List[Row]:
    """Run the batches forward and backward and measure every block.

    The model runs without dropout and keeps no trace of it, but for its gradients, which are
    cleared first and hold those of the summed loss afterwards.

    Args:
        model: a ``resdual_transformer``.
        criterion: fairseq's, such as its label-smoothed cross entropy.
        batches: as fairseq's translation task collates them.
        label: which model this is.
        ranks: also measure effective rank and CKA.
        done: called after each batch.
    """
    device = next(model.parameters()).device
    model.eval()
    model.zero_grad(set_to_none=True)
    total, tokens = 0.0, 0
    with Probe(model, ranks) as probe:
        for batch in batches:
            batch = utils.apply_to_sample(lambda tensor: tensor.to(device), batch)
            probe.expect(batch)
            loss, sample_size, _ = criterion(model, batch)
            loss.backward()
            total += loss.item()
            tokens += int(sample_size)
            done()
    rows = [Row(*label[:2], 0, label.seed, "model", 0, 0, 0, "", "loss", "", total / tokens)]
    for block in probe.blocks:
        rows += place_rows(probe, label, (block.stack, block.k), block.layer, block.part, tokens)
        rows += weight_rows(probe, label, block, tokens)
    for stack, end in probe.ends.items():
        layers = len(list(getattr(model, stack).layers.children()))
        rows += place_rows(probe, label, (stack, end.k), layers, "end", tokens)
    return sorted(rows, key=lambda row: (row.stack != "model", row.stack == "decoder", row.block))


def place_rows(
    probe: Probe, label: Label, place: Place, layer: int, part: str, tokens: int
) -> List[Row]:
    """Rows of what was seen at one place of a stack."""
    stack, k = place
    values = {name: value / probe.tokens[stack] for name, value in probe.token_sums[place].items()}
    values.update((name, math.sqrt(v) / tokens) for name, v in probe.squares[place].items())
    values.update(probe.maxima[place])
    if place in probe.moments:
        values["effective_rank"] = effective_rank(probe.moments[place])
        after = probe.moments.get((stack, k + 1))
        if after is not None:
            values["cka"] = linear_cka(probe.moments[place], after)
    return [row(probe, label, stack, k, layer, part, name, "", v) for name, v in values.items()]


def weight_rows(probe: Probe, label: Label, block: Block, tokens: int) -> List[Row]:
    """Gradient norms of a block's weights, of its layer norm's, and of the block as a whole."""
    weights = dict(block.weights)
    norms = {name: gradient_norm(weight) / tokens for name, weight in weights.items()}
    whole = math.hypot(*norms.values())
    for name, weight in block.connection.named_parameters():
        norms[f"layer_norm.{name}"] = gradient_norm(weight) / tokens
    norms = {"": whole, **norms}
    place = (block.stack, block.k, block.layer, block.part, "gradient")
    return [row(probe, label, *place, name, value) for name, value in norms.items()]


def row(
    probe: Probe,
    label: Label,
    stack: str,
    k: int,
    layer: int,
    part: str,
    quantity: str,
    matrix: str,
    value: float,
) -> Row:
    blocks = probe.ends[stack].blocks
    depth = sum(1 for _ in getattr(probe.model, stack).layers.children())
    return Row(
        label.model,
        label.residual,
        depth,
        label.seed,
        stack,
        k,
        blocks,
        layer,
        part,
        quantity,
        matrix,
        value,
    )


def bound_rows(model: nn.Module, label: Label) -> List[Row]:
    """What the weights alone say of the largest outputs and streams, see bounds.py."""
    bounds = block_bounds(model)
    rows = []
    for stack in STACKS:
        own = [bound for bound in bounds if bound.stack == stack]
        layers = len({bound.layer for bound in own})
        head = (label.model, label.residual, layers, label.seed, stack)
        rows += [
            Row(*head, bound.k, len(own), bound.layer, bound.part, "output_bound", "", bound.output)
            for bound in own
        ]
        stream = max(bound.stream for bound in own)
        rows.append(Row(*head, 0, len(own), 0, "", "stream_bound", "", stream))
    return rows


def gradient_norm(weight: torch.Tensor) -> float:
    """In float64: squares of what vanishes would vanish in float32."""
    return 0.0 if weight.grad is None else weight.grad.double().norm().item()
