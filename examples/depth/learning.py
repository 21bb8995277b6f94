"""What a training's log says: its losses, and whether it learned anything beyond word counts."""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fairseq.data import Dictionary, data_utils

from resdual_fairseq.schemes.kinds import title_of


class Baselines(NamedTuple):
    """What can be reached without looking at a sentence, in bits a token of validation.

    Attributes:
        uniform: all words alike, as an untrained model.
        unigram: words by how often training has them.
    """

    uniform: float
    unigram: float

    @classmethod
    def of(cls, data: Path) -> Baselines:
        """The baselines of a data-bin of one language pair."""
        (train,) = (p for p in data.glob("train.*.idx") if p.name.split(".")[2] == target(p))
        language = train.name.split(".")[2]
        words = Dictionary.load(str(data / f"dict.{language}.txt"))
        seen, held_out = (
            counts(data / train.name.replace("train", split, 1), words)
            for split in ("train", "valid")
        )
        share = (seen + 1) / (seen + 1).sum()
        return cls(
            uniform=math.log2(len(words)),
            unigram=float(-(held_out * np.log2(share)).sum() / held_out.sum()),
        )


def target(index: Path) -> str:
    """The target language of train.SOURCE-TARGET.LANGUAGE.idx."""
    return index.name.split(".")[1].split("-")[1]


def counts(index: Path, words: Dictionary) -> np.ndarray:
    """How often every word stands in a split; ends of sentences count."""
    split = data_utils.load_indexed_dataset(str(index.with_suffix("")), words)
    return np.bincount(np.concatenate(list(split)), minlength=len(words))


class Outcome(NamedTuple):
    """One run and what came of it.

    Attributes:
        run: residual, layers, warm_up, seed.
        curve: (update, training loss in bits a token), every ten updates.
        valid: validation loss after the last update, bits a token; infinite where it diverged.
        learned: whether `valid` is below the unigram baseline.
    """

    run: Any
    curve: list[tuple[int, float]]
    valid: float
    learned: bool

    def summary(self, baselines: Baselines) -> str:
        if math.isinf(self.valid):
            return f"diverged after update {self.curve[-1][0] if self.curve else 0}"
        verdict = "learns" if self.learned else "fails"
        return f"{verdict}: {self.valid:.2f} bits a token (word counts: {baselines.unigram:.2f})"


def read_log(log: Path, run: Any, baselines: Baselines) -> Outcome:
    """The outcome that a log of fairseq-train (--log-format json) tells."""
    curve: list[tuple[int, float]] = []
    valid = math.inf
    for row in log_rows(log):
        if "valid_loss" in row:
            loss = float(row["valid_loss"])
            valid = loss if math.isfinite(loss) else math.inf
        elif "loss" in row:
            curve.append((int(row["num_updates"]), float(row["loss"])))
    return Outcome(run, curve, valid, valid < baselines.unigram)


def log_rows(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log that are JSON."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith('{"'):
            yield json.loads(line)


def write_rows(outcomes: Sequence[Outcome], path: Path) -> None:
    """One line a run: its settings, validation loss (bits a token), whether it learned."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["residual", "layers", "warm_up", "seed", "valid_loss", "learned"])
        for one in outcomes:
            writer.writerow([*one.run, f"{one.valid:.4f}", int(one.learned)])
    os.replace(unfinished, path)


def table(outcomes: Sequence[Outcome], baselines: Baselines, updates: int) -> str:
    """Markdown: a row for each kind and warm-up, a column for each depth."""
    depths = sorted({one.run.layers for one in outcomes})
    rows = [
        "| residual | warm-up | " + " | ".join(f"{n} + {n} layers" for n in depths) + " |",
        "|---|---|" + "---|" * len(depths),
    ]
    for residual, warm_up in dict.fromkeys((o.run.residual, o.run.warm_up) for o in outcomes):
        cells = []
        for layers in depths:
            wanted = (residual, warm_up, layers)
            same = [o for o in outcomes if (o.run.residual, o.run.warm_up, o.run.layers) == wanted]
            cells.append(cell(same))
        rows.append(f"| {title_of(residual)} | {warm_up or 'none'} | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            *rows,
            "",
            f"Validation loss after {updates} updates in bits a token, mean (least to most) over "
            "seeds; in brackets how many runs learned, that is, ended below "
            f"{baselines.unigram:.2f}, which word counts alone reach. "
            f"An untrained model has about {baselines.uniform:.2f}.",
        ]
    )


def cell(same: Sequence[Outcome]) -> str:
    """Runs that differ in their seed only."""
    if not same:
        return ""
    learned = f"[{sum(o.learned for o in same)}/{len(same)}]"
    losses = [o.valid for o in same if math.isfinite(o.valid)]
    if not losses:
        return f"diverged {learned}"
    spread = f"{statistics.mean(losses):.2f} ({min(losses):.2f} to {max(losses):.2f})"
    gone = f", {len(same) - len(losses)} diverged" if len(losses) < len(same) else ""
    return f"{spread}{gone} {learned}"
