"""Translate the test set of every direction with a trained model and score each, in one table.

Run again after an interruption, it keeps the directions that are translated.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sacrebleu.metrics import BLEU, CHRF

from common.command_line import exit_status
from multilingual.directions import directions_of, languages_of
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.hypotheses import detokenized
from resdual_fairseq.preparation.run_steps import (
    read_lines,
    run,
    say,
    scratch,
    sha256,
    tool,
    write_lines,
    write_whole,
)

ENGLISH = "en"
# Languages written without spaces between words, and sacreBLEU's tokenizer for them.
TOKENIZERS = {"zh_Hans": "zh", "zh_Hant": "zh", "ja": "char"}
PLUGIN = Path(__file__).resolve().parents[2] / "resdual_fairseq"


class Row(NamedTuple):
    """One direction's scores and how sacreBLEU made them."""

    source: str
    target: str
    lines: int
    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def translate(options: argparse.Namespace, source: str, target: str) -> list[str]:
    """The model's translations of one direction, in the order of the test set."""
    name = f"{source}-{target}"
    result = options.out / f"{name}.{target}"
    wanted = len(read_lines(references(options.data, source, target)))
    if not result.exists():
        with scratch(options.out / f"{name}.tmp") as folder:
            run([*generate_command(options, source, target), "--results-path", str(folder)])
            output = (folder / "generate-test.txt").read_text(encoding="utf-8")
            found = detokenized(output)
            if len(found) != wanted:
                raise ResDualError(
                    f"{name} has {len(found)} translations for {wanted} lines; give the --data "
                    "that the model was trained on"
                )
            lines = folder / "lines"
            write_lines(lines, [found[number] for number in range(wanted)])
            os.replace(lines, result)
    return read_lines(result)


def generate_command(options: argparse.Namespace, source: str, target: str) -> list[str]:
    """fairseq-generate for one direction."""
    data = options.data
    command = [tool("fairseq-generate"), str(data / "data-bin"), "--user-dir", str(PLUGIN)]
    command += ["--task", "translation_multi_simple_epoch", "--encoder-langtok", "tgt"]
    command += ["--langs", ",".join(languages_of(data))]
    command += ["--lang-pairs", ",".join("-".join(pair) for pair in directions_of(data))]
    command += ["--source-lang", source, "--target-lang", target, "--gen-subset", "test"]
    command += ["--path", str(options.model), "--beam", str(options.beam)]
    command += ["--max-len-a", "1.5", "--max-len-b", "10", "--max-tokens", "4000"]
    command += ["--required-batch-size-multiple", "1", "--tokenizer", "moses"]
    return [*command, "--bpe", "subword_nmt", "--bpe-codes", str(data / "bpe.codes")]


def references(data: Path, source: str, target: str) -> Path:
    """The clean test lines of the target language."""
    other = target if source == ENGLISH else source
    return data / "text" / f"{ENGLISH}-{other}" / f"test.{target}"


def score(source: str, target: str, lines: list[str], reference: list[str]) -> Row:
    """sacreBLEU's BLEU and chrF of one direction."""
    bleu, chrf = BLEU(tokenize=TOKENIZERS.get(target, "13a")), CHRF()
    return Row(
        source=source,
        target=target,
        lines=len(lines),
        bleu=bleu.corpus_score(lines, [reference]).score,
        chrf=chrf.corpus_score(lines, [reference]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown: a row a direction, then the averages, then the signatures."""
    groups: list[tuple[str, Callable[[Row], bool]]] = [
        ("from English", lambda row: row.source == ENGLISH),
        ("to English", lambda row: row.target == ENGLISH),
        ("all", lambda row: True),
    ]
    text = ["| direction | test lines | BLEU | chrF2 |", "|---|---|---|---|"]
    for row in rows:
        name = f"{row.source}-{row.target}"
        text.append(f"| {name} | {row.lines} | {row.bleu:.1f} | {row.chrf:.1f} |")
    for name, belongs in groups:
        some = [row for row in rows if belongs(row)]
        means = [sum(getattr(row, what) for row in some) / len(some) for what in ("bleu", "chrf")]
        text.append(f"| average {name} ({len(some)}) | | {means[0]:.1f} | {means[1]:.1f} |")
    signatures = {row.bleu_signature for row in rows} | {row.chrf_signature for row in rows}
    return "\n".join([*text, "", *(f"`{signature}`" for signature in sorted(signatures))])


def work(options: argparse.Namespace) -> None:
    """Translate and score every direction, print the table and write it beside the translations."""
    if not options.model.is_file():
        raise ResDualError(f"--model {options.model} does not exist; give a checkpoint")
    directions = directions_of(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "model.sha256"
    settings = f"{sha256(options.model)} beam {options.beam}"
    if record.exists() and read_lines(record) != [settings]:
        raise ResDualError(
            f"{options.out} holds translations of another model or beam; choose another --out"
        )
    write_whole(record, settings)
    rows = []
    for number, (source, target) in enumerate(directions, start=1):
        say(f"{source}-{target}: direction {number} of {len(directions)}")
        lines = translate(options, source, target)
        reference = read_lines(references(options.data, source, target))
        rows.append(score(source, target, lines, reference))
    result = table(rows)
    write_whole(options.out / "scores.md", result)
    say("\n" + result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="prepare.py's --out")
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint (.pt)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the translations")
    parser.add_argument("--beam", type=int, default=4, help="(default: 4)")
    options = parser.parse_args(arguments)
    return exit_status("score.py", lambda: work(options))


if __name__ == "__main__":
    sys.exit(main())
