"""How much memory a measurement takes, told before it is taken."""

import os
import resource
import sys
from argparse import Namespace
from typing import Any, Dict, Iterable

import torch
from fairseq.tasks import FairseqTask

from ..errors import ResDualError

BYTES = 4
"""Of a float32; measurements run in it."""
MARGIN = 1.25
"""What is resident over what is in use, from the second batch on: 1.23 at the most was seen, at 30
and 100 layers of width 256."""


def parameters(args: Namespace, source_words: int, target_words: int) -> int:
    """Weights of the model, counted from its options (shared embeddings once)."""
    c, f = args.encoder_embed_dim, args.encoder_ffn_embed_dim
    attention, feed_forward, norm = 4 * (c * c + c), 2 * c * f + c + f, 2 * c
    encoder = args.encoder_layers * (attention + feed_forward + 2 * norm)
    decoder = args.decoder_layers * (2 * attention + feed_forward + 3 * norm)
    if getattr(args, "share_all_embeddings", False):
        tables = source_words
    elif getattr(args, "share_decoder_input_output_embed", False):
        tables = source_words + target_words
    else:
        tables = source_words + 2 * target_words
    return encoder + decoder + tables * c


def activations(args: Namespace, target_words: int, tokens: int) -> int:
    """Numbers kept for the backward pass of a batch with so many tokens on either side.

    Fused attention also keeps its three input projections, joined into one.
    """
    c, f = args.encoder_embed_dim, args.encoder_ffn_embed_dim
    encoder = args.encoder_layers * (tokens * (9 * c + f) + 3 * c * c)
    decoder = args.decoder_layers * (tokens * (16 * c + f) + 6 * c * c)
    return encoder + decoder + 4 * tokens * target_words


def needed(args: Namespace, task: FairseqTask, tokens: int) -> int:
    """Bytes for weights, their gradients and one batch."""
    source, target = len(task.source_dictionary), len(task.target_dictionary)
    numbers = 2 * parameters(args, source, target) + activations(args, target, tokens)
    return int(MARGIN * BYTES * numbers)


def largest(batches: Iterable[Dict[str, Any]]) -> int:
    """Tokens of the largest batch on either side, with padding."""
    return max(
        batch["net_input"][side].numel()
        for batch in batches
        for side in ("src_tokens", "prev_output_tokens")
    )


def available(device: str) -> int:
    """Bytes that are free on the device; on ``cpu`` also within this process's limit."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    return min(free_here(), left_to_process())


def left_to_process() -> int:
    """Bytes of addresses that ``ulimit -v`` leaves, where there is such a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return limit - int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        return limit


def free_here() -> int:
    """Bytes that are free on this machine."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            line = next(line for line in stream if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(args: Namespace, task: FairseqTask, tokens: int, device: str) -> None:
    """Raise where the model of these options does not fit.

    Raises:
        ResDualError: with both sizes and the remedy.
    """
    wanted, free = needed(args, task, tokens), available(device)
    if wanted > free:
        raise ResDualError(
            f"{args.encoder_layers} + {args.decoder_layers} layers of width "
            f"{args.encoder_embed_dim} with {tokens} tokens a batch need about {gib(wanted)} of "
            f"memory, and {gib(free)} are free; give a smaller --max-tokens (or, before training, "
            "--width or --depths), or --ignore-memory to try all the same"
        )


def gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
