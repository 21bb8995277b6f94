"""Does every scheme train deep stacks at all? Sequences of letters, to be turned round.

A target is its source backwards, so that a model has to learn where to look and nothing else. All
schemes have the same stack, batches, optimizer and warm-up; each is tried at the rates of a list,
in their order, until it writes 99 % of new sequences without a mistake (greedily).

    python examples/depth/reversal.py --out reversal.md
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

logging.basicConfig(level=logging.WARNING)  # before fairseq, which would ask for every detail

import torch  # noqa: E402
from fairseq.data import Dictionary  # noqa: E402
from fairseq.models import ARCH_CONFIG_REGISTRY  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from common.command_line import exit_status, positive  # noqa: E402
from resdual_fairseq.preparation.run_steps import say, write_whole  # noqa: E402
from resdual_fairseq.schemes import RESIDUALS  # noqa: E402
from resdual_fairseq.schemes.kinds import LEARNED, kinds, options_of, title_of  # noqa: E402
from resdual_fairseq.transformer import MODEL, ResDualTransformerModel  # noqa: E402

LETTERS = 8
HEADS = 2
EVERY = 25
"""Updates between two tests."""
ENOUGH = 0.99


class Task:
    """The part of a fairseq task that a model reads."""

    def __init__(self) -> None:
        self.source_dictionary = self.target_dictionary = Dictionary()
        for letter in range(LETTERS):
            self.source_dictionary.add_symbol(f"letter{letter}")


def build(kind: str, args: argparse.Namespace) -> ResDualTransformerModel:
    """The model, with its initial weights."""
    torch.manual_seed(args.seed)
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (
        ("layers", args.layers), ("attention_heads", HEADS), ("embed_dim", args.width),
        ("ffn_embed_dim", 2 * args.width))}  # fmt: skip
    options = argparse.Namespace(
        arch=MODEL, dropout=0.0, share_all_embeddings=True,
        max_source_positions=64, max_target_positions=64, **sizes, **options_of(kind))  # fmt: skip
    ARCH_CONFIG_REGISTRY[MODEL](options)
    return ResDualTransformerModel.build_model(options, Task())


def sequences(count: int, length: int, generator: torch.Generator) -> Tensor:
    """count x length letters."""
    return torch.randint(4, 4 + LETTERS, (count, length), generator=generator)


def begun(target: Tensor) -> Tensor:
    """Teacher forcing's decoder input: the end of sentence, then all letters but the last."""
    return torch.cat((torch.full_like(target[:, :1], 2), target[:, :-1]), dim=1)


@torch.no_grad()
def exact(model: nn.Module, length: int) -> float:
    """The share of new sequences that come out without a mistake, greedily."""
    model.eval()
    source = sequences(200, length, torch.Generator().manual_seed(999))
    memory = model.encoder(source, torch.full((len(source),), length))
    written = torch.full((len(source), 1), 2)
    for _ in range(length):
        scores = model.decoder(written, memory)[0][:, -1]
        written = torch.cat((written, scores.argmax(dim=-1, keepdim=True)), dim=1)
    model.train()
    return written[:, 1:].eq(source.flip(1)).all(dim=1).float().mean().item()


def updates_needed(kind: str, rate: float, args: argparse.Namespace) -> int | None:
    """After how many updates a scheme turns sequences round, or None where it does not."""
    model = build(kind, args).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.98), fused=True)
    generator = torch.Generator().manual_seed(args.seed)
    for update in range(1, args.updates + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, update / args.warm_up)
        source = sequences(args.batch, args.length, generator)
        target = source.flip(1)
        scores = model(source, torch.full((len(source),), args.length), begun(target))[0]
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        if not bool(loss.isfinite()):
            return None
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if update % EVERY == 0 and exact(model, args.length) >= ENOUGH:
            return update
    return None


def study(args: argparse.Namespace) -> None:
    rows = [
        "| scheme | learns at a rate of | after updates | and not before, at |",
        "|---|---|---|---|",
    ]
    for kind in args.residuals:
        began = time.monotonic()
        failed: list[float] = []
        found = None
        for rate in args.lr:
            found = updates_needed(kind, rate, args)
            if found:
                break
            failed.append(rate)
        told = f"{rate:g} | {found}" if found else f"none | not in {args.updates}"
        rows.append(f"| {title_of(kind)} | {told} | {', '.join(map('{:g}'.format, failed))} |")
        say(f"{rows[-1]}  ({time.monotonic() - began:.0f} s)")
        write_whole(args.out, "\n".join(rows))
    say(f"written: {args.out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*RESIDUALS, "b2t:unscaled", LEARNED]
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the table, in Markdown")
    add("--residuals", nargs="+", default=every, choices=kinds(), metavar="KIND",
        help="KIND or KIND:VARIANT (all); learned is resdual with a learned alpha")  # fmt: skip
    add("--layers", type=positive, default=12, help="of either stack (12)")
    add(
        "--width",
        type=positive,
        default=32,
        help="of the model; feed-forward is twice as wide (32)",
    )
    add("--length", type=positive, default=5, help="letters of a sequence (5)")
    add("--lr", type=float, nargs="+", default=[1e-3, 5e-4, 2.5e-4],
        help="learning rates, in their order (0.001 0.0005 0.00025)")  # fmt: skip
    add("--warm-up", type=positive, default=100, help="updates until the rate is reached (100)")
    add("--updates", type=positive, default=1500, help="at most (1500)")
    add("--batch", type=positive, default=64, help="sequences of an update (64)")
    add("--seed", type=int, default=1, help="of weights and batches (1)")
    arguments = parser.parse_args()
    if arguments.width % HEADS:
        parser.error(f"--width has to be a multiple of its {HEADS} attention heads")
    if not all(0 < rate < float("inf") for rate in arguments.lr):
        parser.error("--lr takes learning rates above 0")
    sys.exit(exit_status("reversal.py", lambda: study(arguments)))
