"""What 8 bits cost and give: size, speed and sacreBLEU of a checkpoint, whole and rounded.

    python examples/export/int8.py my/model/average.pt my/data-bin my/text/test.en \\
        my/text/test.de --tokenizer moses --bpe subword_nmt --bpe-codes my/bpe.codes \\
        --onnx my/onnx my/onnx-int8

Translates a text (not segmented) greedily on one core with the checkpoint itself, and with folders
that resdual-export wrote, if any are named.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from translate import ROWS, Translator

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.transformer import ResDualTransformerModel

LONGEST: dict[str, Any] = {"max_len_a": 1.2, "max_len_b": 10}
SAME: dict[str, Any] = {"a": 1.2, "b": 10}
Translate = Callable[[list[str]], list[str]]


def megabytes(model: Any) -> float:
    """Of a state dict, each tensor once."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell() / 1e6


def with_torch(hub: Any) -> Translate:
    def translate(lines: list[str]) -> list[str]:
        return hub.translate(lines, beam=1, **LONGEST)

    return translate


def with_onnx(hub: Any, folder: Path) -> Translate:
    translator = Translator(folder, threads=1)

    def translate(lines: list[str]) -> list[str]:
        tokens = [hub.apply_bpe(hub.tokenize(line)) for line in lines]
        found: list[str] = []
        for start in range(0, len(tokens), ROWS):
            found += translator.translate(tokens[start : start + ROWS], **SAME)
        return [hub.detokenize(hub.remove_bpe(line)) for line in found]

    return translate


def systems(hub: Any, folders: list[Path]) -> list[tuple[str, float, Translate]]:
    """Name, megabytes and translating function of each way."""
    found = [("torch, 32 bits", megabytes(hub.models[0].float()), with_torch(hub))]
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6
        found.append((folder.name, size, with_onnx(hub, folder)))
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Size, speed and sacreBLEU in 32 and 8 bits.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="the data-bin it was trained on")
    parser.add_argument("source", type=Path, help="a text to translate")
    parser.add_argument("reference", type=Path, help="its translation")
    parser.add_argument("--tokenizer", help="as fairseq-generate's")
    parser.add_argument("--bpe", help="as fairseq-generate's")
    parser.add_argument("--bpe-codes", help="as fairseq-generate's")
    parser.add_argument(
        "--onnx", type=Path, nargs="*", default=[], help="folders that resdual-export wrote"
    )
    parser.add_argument("--lines", type=int, help="only the first so many lines")
    return parser.parse_args()


def read(path: Path, count: int | None) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1][:count]
    except OSError as error:
        sys.exit(f"error: {path}: {error.strerror}; give a text file")


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    pairs = zip(read(args.source, args.lines), read(args.reference, args.lines))
    # Sentences of like length stand together, so that batches hold little padding.
    lines, references = zip(*sorted(pairs, key=lambda pair: len(pair[0])))
    segmentation = {name: getattr(args, name) for name in ("tokenizer", "bpe", "bpe_codes")}
    for folder in args.onnx:
        if not (folder / "model.json").is_file():
            sys.exit(f"error: {folder} holds no model.json; make it with resdual-export")
    try:
        hub = ResDualTransformerModel.from_pretrained(
            str(args.checkpoint.parent),
            checkpoint_file=args.checkpoint.name,
            data_name_or_path=str(args.data.absolute()),
            **{name: value for name, value in segmentation.items() if value},
        )
        print(f"{'':16}{'MB':>8}{'lines/s':>9}{'BLEU':>8}")
        for name, size, translate in systems(hub, args.onnx):
            started = time.perf_counter()
            found = translate(list(lines))
            speed = len(lines) / (time.perf_counter() - started)
            metric = sacrebleu.BLEU()
            score = metric.corpus_score(found, [list(references)]).score
            print(f"{name:16}{size:8.2f}{speed:9.1f}{score:8.2f}", flush=True)
    except ResDualError as error:
        sys.exit(f"error: {error}")
    print(f"{len(lines)} lines, {metric.get_signature()}")


if __name__ == "__main__":
    main()
