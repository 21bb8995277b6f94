"""Protects the warm-up study's reading of logs: losses, who learned, who diverged, the baseline."""

import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any, List

import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset

from depth import curves, learning

BASELINES = learning.Baselines(uniform=11.0, unigram=9.0)


def write_log(path: Path, losses: List[float], valid: Any) -> Path:
    rows: List[Any] = [
        {"epoch": 1, "loss": str(loss), "num_updates": str(10 * number)}
        for number, loss in enumerate(losses, start=1)
    ]
    if valid is not None:
        rows.append({"epoch": 1, "valid_loss": str(valid), "valid_num_updates": "20"})
    text = ["begin", *map(json.dumps, rows), "done training in 3.0 seconds"]
    path.write_text("\n".join(text) + "\n")
    return path


def outcome(tmp_path: Path, valid: Any, residual: str = "post", warm_up: int = 0) -> Any:
    run = Namespace(residual=residual, layers=6, warm_up=warm_up, seed=1)
    log = write_log(tmp_path / "log", [10.5, 9.5], valid)
    return learning.read_log(log, run, BASELINES)


@pytest.mark.parametrize(
    ("valid", "learned", "told"),
    [
        (8.5, True, "learns: 8.50"),
        (9.5, False, "fails: 9.50"),
        (None, False, "diverged after update 20"),
        ("nan", False, "diverged after update 20"),
    ],
)
def test_who_learned(valid: Any, learned: bool, told: str, tmp_path: Path) -> None:
    one = outcome(tmp_path, valid)
    assert one.curve == [(10, 10.5), (20, 9.5)]
    assert one.learned == learned
    assert one.summary(BASELINES).startswith(told)


def test_the_table_counts_seeds_and_divergence(tmp_path: Path) -> None:
    ones = [outcome(tmp_path, valid) for valid in (8.0, 9.5, None)]
    ones += [outcome(tmp_path, None, residual="resdual", warm_up=125)]
    text = learning.table(ones, BASELINES, 20)
    assert "| Post-LN | none | 8.75 (8.00 to 9.50), 1 diverged [1/3] |" in text
    assert "| ResiDual | 125 | diverged [0/1] |" in text


def test_word_counts_set_the_baseline(tmp_path: Path) -> None:
    """Where every sentence is one of two words and its end, a token costs one bit at most."""
    words = Dictionary()
    letters = [words.add_symbol(letter) for letter in "ab"]
    words.save(str(tmp_path / "dict.en.txt"))
    for split in ("train", "valid"):
        for language in ("de", "en"):
            prefix = str(tmp_path / f"{split}.de-en.{language}")
            builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", len(words))
            for number in range(1000):
                builder.add_item(torch.tensor([letters[number % 2], words.eos()]))
            builder.finalize(f"{prefix}.idx")
    found = learning.Baselines.of(tmp_path)
    assert found.uniform == math.log2(len(words))
    assert found.unigram == pytest.approx(1.5, abs=0.02)


def test_curves_are_drawn_for_every_panel(tmp_path: Path) -> None:
    ones = [outcome(tmp_path, valid, warm_up=w) for valid in (8.0, None) for w in (0, 125)]
    curves.draw_curves(ones, BASELINES, tmp_path)
    assert (tmp_path / "warm_up.png").stat().st_size > 10_000
    assert (tmp_path / "warm_up.svg").read_text().count("no warm-up") >= 1
