"""Models as they are before training: built from sizes and a seed."""

from argparse import Namespace
from typing import Any, Iterator, Tuple

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_INV_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks import FairseqTask

from ..errors import ResDualError
from ..schemes.kinds import kinds, options_of
from ..transformer import MODEL
from .measure import Label


def models(args: Namespace) -> Iterator[Tuple[Label, Namespace]]:
    """All models that a command line asks for, and their options, small ones first.

    Raises:
        ResDualError: the preset is unknown, or an option cannot hold.
    """
    for depth in sorted(set(args.depths)):
        for seed in range(1, args.seeds + 1):
            for residual in dict.fromkeys(args.residual):
                label = Label(f"{residual}-{depth}-{seed}", residual, seed)
                yield label, model_options(args, residual, depth)


def model_options(args: Namespace, residual: str, depth: int) -> Namespace:
    """The options of one model, as a command line of fairseq-train would give them.

    Args:
        args: with ``arch`` and ``width``, ``ffn``, ``heads``; None takes the preset's.
        residual: the kind of its residual connections, of schemes/kinds.py.
        depth: layers of the encoder, and as many of the decoder.
    """
    if args.arch not in ARCH_MODEL_INV_REGISTRY[MODEL]:
        known = ", ".join(sorted(ARCH_MODEL_INV_REGISTRY[MODEL]))
        raise ResDualError(f"--arch {args.arch} is not a preset of this model; give one of {known}")
    if residual not in kinds():
        raise ResDualError(f"--residual {residual} is unknown; give one of {', '.join(kinds())}")
    given = {
        "encoder_embed_dim": args.width,
        "encoder_ffn_embed_dim": args.ffn or (4 * args.width if args.width else None),
        "encoder_attention_heads": args.heads,
        "decoder_attention_heads": args.heads,
    }
    options = Namespace(
        arch=args.arch,
        _name=args.arch,
        **options_of(residual),
        encoder_layers=depth,
        decoder_layers=depth,
        **{name: value for name, value in given.items() if value is not None},
    )
    ARCH_CONFIG_REGISTRY[args.arch](options)
    return options


def build(options: Namespace, seed: int, task: FairseqTask, device: str) -> Any:
    """The model with its initial weights."""
    torch.manual_seed(seed)
    return ARCH_MODEL_REGISTRY[options.arch].build_model(options, task).to(device)
