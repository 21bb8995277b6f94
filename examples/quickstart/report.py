"""The quickstart's result in one page: scores with their signatures, examples, size, seconds."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint
from resdual_fairseq.errors import ResDualError

EXAMPLES = 6


def count_parameters(checkpoint: Path) -> int:
    """Trained numbers in a checkpoint, shared ones once.

    Raises ResDualError when the file is missing or broken.
    """
    weights = load_whole_checkpoint(checkpoint)["model"]
    distinct = {w.data_ptr(): w.numel() for name, w in weights.items() if is_trained(name)}
    return sum(distinct.values())


def updates(checkpoint: Path) -> int:
    """How many updates the training has made; fewer than asked for when its time was up."""
    return int(load_whole_checkpoint(checkpoint)["optimizer_history"][-1]["num_updates"])


def is_trained(name: str) -> bool:
    """Whether a name of the state dict is a weight, not one of fairseq's markers."""
    return not name.endswith(("version", "_float_tensor"))


def score_lines(scores: list[dict[str, Any]]) -> list[str]:
    """A line for each metric of `sacrebleu -f json`."""
    return [f"{s['name']:<5} {s['score']:6.2f}   {signature(s)}" for s in scores]


def signature(score: dict[str, Any]) -> str:
    """sacreBLEU's signature of a score."""
    return str(score["signature"]).replace(" ", "")


def stage_lines(data: Path, model: Path) -> list[str]:
    """Seconds of each stage of the demo; of one that was interrupted, those of its last call."""
    stages = [(data / "prepare.seconds")] + [
        model / f"{name}.seconds" for name in ("train", "cool-down", "translate", "score")
    ]
    return [f"{path.stem:<10} {path.read_text().strip():>5} s{of_calls(path)}" for path in stages]


def of_calls(seconds: Path) -> str:
    """What to say beside the seconds of a stage that took several calls."""
    calls = seconds.with_suffix(".calls")
    count = len(calls.read_text().splitlines()) if calls.exists() else 1
    return f", in the last of {count} calls" if count > 1 else ""


def example_lines(data: Path, hypotheses: Path) -> list[str]:
    """Evenly spaced test lines: source, reference, translation."""
    columns = [
        path.read_text(encoding="utf-8").split("\n")[:-1]
        for path in (data / "text/test.de", data / "text/test.en", hypotheses)
    ]
    if not columns[0]:
        raise ResDualError(f"{data} holds no test lines")
    step = max(1, len(columns[0]) // EXAMPLES)
    lines = []
    for number in list(range(step // 2, len(columns[0]), step))[:EXAMPLES]:
        source, reference, translation = (column[number] for column in columns)
        lines += [
            f"line {number + 1}",
            f"  source      {source}",
            f"  reference   {reference}",
            f"  translation {translation}",
        ]
    return lines


def page(data: Path, model: Path) -> str:
    """The whole report."""
    test = model / "test"
    scores = json.loads((test / "scores.json").read_text(encoding="utf-8"))
    lines = sum(1 for _ in (data / "text/test.en").open(encoding="utf-8"))
    parts = [
        [f"ResiDual, German to English: {lines} test lines that the model has not seen"],
        score_lines(scores if isinstance(scores, list) else [scores]),
        example_lines(data, test / "hypotheses.en"),
        [
            f"parameters {count_parameters(model / 'checkpoint_last.pt'):,}",
            f"updates    {updates(model / 'checkpoint_last.pt'):,}",
        ],
        stage_lines(data, model),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def main() -> None:
    """Print the report and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of prepare.py")
    parser.add_argument("--model", type=Path, required=True, help="folder of the training")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    try:
        text = page(args.data, args.model)
    except (ResDualError, OSError) as error:
        sys.exit(f"error: {error}; run scripts/demo.sh, which makes what is missing")
    print(text, end="")
    partial = args.out.with_name(args.out.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, args.out)


if __name__ == "__main__":
    main()
