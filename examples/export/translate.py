"""Greedy translation with the files of `resdual-export`, by numpy and onnxruntime alone.

    python examples/export/translate.py FOLDER < source.txt > target.txt

A line of the source is what the training saw: tokens or subwords, separated by spaces.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

ROWS = 32


class Translator:
    """An exported model.

    Args:
        folder: what resdual-export wrote.
        threads: processor cores to use; 0 for all.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.encoder, self.step = (
            onnxruntime.InferenceSession(folder / name, options, ["CPUExecutionProvider"])
            for name in ("encoder.onnx", "decoder_step.onnx")
        )
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.pad, self.eos, self.unk = facts["pad"], facts["eos"], facts["unk"]
        self.longest_source, self.longest_target = facts["longest_source"], facts["longest_target"]
        self.target = (folder / "target.txt").read_text(encoding="utf-8").split("\n")[:-1]
        source = (folder / "source.txt").read_text(encoding="utf-8").split("\n")[:-1]
        self.numbers = {symbol: number for number, symbol in enumerate(source)}

    def translate(self, lines: list[str], a: float = 0, b: int = 200) -> list[str]:
        """Translate lines of at most a x + b target tokens, x source tokens (with EOS) in a batch.

        As fairseq-generate --beam 1 --max-len-a a --max-len-b b does.
        """
        sentences = [self.encode(line) for line in lines]
        found = self.search(sentences, a, b)
        return [" ".join(self.target[number] for number in tokens) for tokens in found]

    def encode(self, line: str) -> list[int]:
        tokens = [self.numbers.get(symbol, self.unk) for symbol in line.split()]
        return [*tokens[: self.longest_source - 1], self.eos]

    def search(self, sentences: list[list[int]], a: float, b: int) -> list[list[int]]:
        """The likeliest next token, again and again."""
        rows = len(sentences)
        source = np.full((rows, max(map(len, sentences))), self.pad)
        for row, sentence in zip(source, sentences):
            row[: len(sentence)] = sentence
        _, memory = self.encoder.run(None, {"source": source})
        given: dict[str, Any] = {"memory": memory, "memory_padding": source == self.pad}

        layers, two, _, heads, _, width = self.step.get_inputs()[1].shape
        past = np.zeros((layers, two, rows, heads, 0, width), dtype=memory.dtype)
        token = np.full(rows, self.eos)
        found: list[list[int]] = [[] for _ in sentences]
        open_rows = set(range(rows))
        for number in range(min(int(a * source.shape[1] + b), self.longest_target - 1)):
            scores, past = self.step.run(None, {"token": token, "past": past, **given})
            scores[:, self.pad] = -np.inf
            if number == 0:  # fairseq's --min-len is 1
                scores[:, self.eos] = -np.inf
            token = scores.argmax(axis=1)
            open_rows -= {row for row in open_rows if token[row] == self.eos}
            for row in open_rows:
                found[row].append(int(token[row]))
            if not open_rows:
                break
        return found


def batches(lines: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description="Translate standard input line by line.")
    parser.add_argument("folder", type=Path, help="what resdual-export wrote")
    parser.add_argument("--max-len-a", type=float, default=0, help="as fairseq-generate's")
    parser.add_argument("--max-len-b", type=int, default=200, help="as fairseq-generate's")
    args = parser.parse_args()
    if not (args.folder / "model.json").is_file():
        sys.exit(f"error: {args.folder} holds no model.json; make it with resdual-export")
    translator = Translator(args.folder)
    for batch in batches(sys.stdin):
        for line in translator.translate(batch, args.max_len_a, args.max_len_b):
            print(line, flush=True)


if __name__ == "__main__":
    main()
