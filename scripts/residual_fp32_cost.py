"""What `--residual-fp32` costs: training steps in 16 bits with and without it, in turns.

python scripts/residual_fp32_cost.py [--residual resdual] [--layers 18] [--precision bf16] ...

Two models with the same weights take steps on the same batch in one process, now one first, now the
other, so that whatever else the machine does falls on both. On a GPU the peak of memory is told,
too.
"""

import argparse
import statistics
import time
from typing import Any, Dict, List

import torch
from fairseq import utils
from gradient_log_cost import build, make_batch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--residual", choices=["resdual", "pre"], default="resdual", help="kind")
    parser.add_argument("--layers", type=int, default=6, help="of either stack (6)")
    parser.add_argument("--width", type=int, default=128, help="(128; feed-forward 4 times that)")
    parser.add_argument("--words", type=int, default=4000, help="of the vocabulary (4000)")
    parser.add_argument("--tokens", type=int, default=1000, help="a batch (1000)")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="(bf16)")
    parser.add_argument("--steps", type=int, default=30, help="pairs of steps to time (30)")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda (default: cuda where there is one)",
    )
    return parser.parse_args()


class Trained:
    """A model that takes steps."""

    def __init__(self, args: argparse.Namespace, fp32: bool) -> None:
        torch.manual_seed(1)
        model, self.criterion = build(args, residual=args.residual, residual_fp32=fp32)
        self.model = model.to(args.device, PRECISIONS[args.precision])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)

    def step(self, batch: Dict[str, Any]) -> float:
        """Seconds of one training step."""
        finish(batch)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss, tokens, _ = self.criterion(self.model, batch)
        (loss / tokens).backward()
        self.optimizer.step()
        finish(batch)
        return time.perf_counter() - start

    def peak(self, batch: Dict[str, Any]) -> float:
        """MiB on the GPU at the most of one step."""
        torch.cuda.reset_peak_memory_stats()
        self.step(batch)
        return torch.cuda.max_memory_allocated() / 2**20


def finish(batch: Dict[str, Any]) -> None:
    """Wait for what the device has still to do."""
    if batch["target"].is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    args = parse_arguments()
    torch.manual_seed(1)
    batch = utils.apply_to_sample(lambda t: t.to(args.device), make_batch(args))
    plain, wide = (Trained(args, fp32) for fp32 in (False, True))
    for trained in (plain, wide, plain, wide):
        trained.step(batch)
    without: List[float] = []
    extra: List[float] = []
    for number in range(args.steps):
        order = (plain, wide) if number % 2 else (wide, plain)
        times = {id(trained): trained.step(batch) for trained in order}
        without.append(times[id(plain)])
        extra.append(times[id(wide)] - times[id(plain)])
    median, cost = statistics.median(without), statistics.median(extra)
    print(f"step without it  {1000 * median:9.2f} ms, median of {args.steps}")
    print(f"step with it     {1000 * cost:+9.2f} ms, median of paired differences")
    print(f"share            {100 * cost / median:+9.2f} %")
    if args.device != "cpu":
        print(
            f"peak of memory   {plain.peak(batch):.0f} MiB without it, {wide.peak(batch):.0f} with"
        )


if __name__ == "__main__":
    main()
