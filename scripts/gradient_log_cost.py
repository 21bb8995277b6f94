"""What `--log-block-gradients` costs: training steps with and without it, in turns.

python scripts/gradient_log_cost.py [--layers 6] [--every 100] [--steps 60] ...

Steps with and without the log alternate in one process on the same model and batch, so that
whatever else the machine does falls on both. What one logged step takes more, divided by N and by
the median step, is the share of training time.
"""

import argparse
import statistics
import tempfile
import time
from argparse import Namespace
from typing import Any, Dict, List

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import resdual_fairseq  # noqa: F401  (registers the model and its optimizer)

ARCH = "resdual_transformer"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=6, help="of either stack (6)")
    parser.add_argument("--width", type=int, default=128, help="(128; feed-forward 4 times that)")
    parser.add_argument("--words", type=int, default=4000, help="of the vocabulary (4000)")
    parser.add_argument("--tokens", type=int, default=1000, help="a batch (1000)")
    parser.add_argument("--every", type=int, default=100, help="N of the option (100)")
    parser.add_argument("--steps", type=int, default=60, help="pairs of steps to time (60)")
    return parser.parse_args()


def build(args: argparse.Namespace, **more: Any) -> Any:
    """A model in training, with these options beside its sizes, and its criterion."""
    words = Dictionary()
    for number in range(args.words - len(words)):
        words.add_symbol(f"w{number}")
    options = Namespace(
        arch=ARCH,
        encoder_layers=args.layers,
        decoder_layers=args.layers,
        encoder_embed_dim=args.width,
        encoder_ffn_embed_dim=4 * args.width,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        share_all_embeddings=True,
        **more,
    )
    ARCH_CONFIG_REGISTRY[ARCH](options)
    task = Namespace(source_dictionary=words, target_dictionary=words)
    model = ARCH_MODEL_REGISTRY[ARCH].build_model(options, task)
    return model.train(), LabelSmoothedCrossEntropyCriterion(task, False, 0.1)


def make_batch(args: argparse.Namespace) -> Dict[str, Any]:
    """Random sentences of 20 words."""
    tokens = torch.randint(4, args.words, (args.tokens // 20, 20))
    lengths = torch.full((len(tokens),), 20)
    inputs = {"src_tokens": tokens, "src_lengths": lengths, "prev_output_tokens": tokens}
    return {"net_input": inputs, "target": tokens, "ntokens": tokens.numel(), "nsentences": 1}


def step(model: Any, criterion: Any, optimizer: Any, batch: Dict[str, Any], update: int) -> float:
    """Seconds of one training step; update 0 is not logged."""
    start = time.perf_counter()
    model.set_num_updates(update - 1)
    optimizer.zero_grad()
    loss, tokens, _ = criterion(model, batch)
    (loss / tokens).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    args = parse_arguments()
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        model, criterion = build(args, log_block_gradients=1, save_dir=folder)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        batch = make_batch(args)
        for _ in range(3):
            step(model, criterion, optimizer, batch, 0)
        without: List[float] = []
        extra: List[float] = []
        for number in range(1, args.steps + 1):
            order = (0, number) if number % 2 else (number, 0)
            times = {u: step(model, criterion, optimizer, batch, u) for u in order}
            without.append(times[0])
            extra.append(times[number] - times[0])
    median, cost = statistics.median(without), statistics.median(extra)
    print(f"step without the log  {1000 * median:9.2f} ms, median of {args.steps}")
    print(f"logged step           {1000 * cost:+9.2f} ms, median of paired differences")
    print(f"share of the time     {100 * cost / args.every / median:9.4f} % at N = {args.every}")


if __name__ == "__main__":
    main()
