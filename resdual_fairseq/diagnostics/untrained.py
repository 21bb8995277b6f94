"""Models as they are before training: built from sizes and a seed."""

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_INV_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks import FairseqTask

from ..errors import ResDualError
from ..transformer import MODEL
from .measure import Label


@dataclass(frozen=True)
class Sizes:
    """What all models of a measurement share; None takes the preset's value."""

    arch: str = MODEL
    width: Optional[int] = None
    ffn: Optional[int] = None
    heads: Optional[int] = None


@dataclass(frozen=True)
class Plan:
    """One model to build and measure: so many encoder layers, and as many of the decoder."""

    residual: str
    depth: int
    seed: int

    @property
    def label(self) -> Label:
        return Label(f"{self.residual}-{self.depth}-{self.seed}", self.residual, self.seed)


def plans(depths: Sequence[int], residuals: Sequence[str], seeds: int) -> List[Plan]:
    """All models to measure, small ones first."""
    return [
        Plan(residual, depth, seed)
        for depth in sorted(set(depths))
        for seed in range(1, seeds + 1)
        for residual in dict.fromkeys(residuals)
    ]


def model_options(plan: Plan, sizes: Sizes) -> Namespace:
    """The options of a plan's model, as a command line would give them.

    Raises:
        ResDualError: the preset is unknown, or an option cannot hold.
    """
    if sizes.arch not in ARCH_MODEL_INV_REGISTRY[MODEL]:
        known = ", ".join(sorted(ARCH_MODEL_INV_REGISTRY[MODEL]))
        raise ResDualError(
            f"--arch {sizes.arch} is not a preset of this model; give one of {known}"
        )
    given = {
        "encoder_embed_dim": sizes.width,
        "encoder_ffn_embed_dim": sizes.ffn or (4 * sizes.width if sizes.width else None),
        "encoder_attention_heads": sizes.heads,
        "decoder_attention_heads": sizes.heads,
    }
    args = Namespace(
        arch=sizes.arch,
        _name=sizes.arch,
        residual=plan.residual,
        encoder_layers=plan.depth,
        decoder_layers=plan.depth,
        **{name: value for name, value in given.items() if value is not None},
    )
    ARCH_CONFIG_REGISTRY[sizes.arch](args)
    return args


def build(plan: Plan, sizes: Sizes, task: FairseqTask, device: str = "cpu") -> Any:
    """The plan's model with its initial weights.

    Raises:
        ResDualError: an option cannot hold, with another or with the data.
    """
    args = model_options(plan, sizes)
    if getattr(args, "share_all_embeddings", False) and task.source_dictionary != (
        task.target_dictionary
    ):
        raise ResDualError(
            f"--arch {sizes.arch} shares all embeddings, but the two dictionaries of the data "
            "differ; give another --arch, or preprocess with --joined-dictionary"
        )
    torch.manual_seed(plan.seed)
    return ARCH_MODEL_REGISTRY[sizes.arch].build_model(args, task).to(device)
