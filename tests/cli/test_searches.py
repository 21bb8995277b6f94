"""Protects every search of fairseq's commands: what each option promises holds for this model."""

from pathlib import Path
from typing import Dict, List

import pytest
from helpers.commands import PLUGIN, generate_command, hypotheses, run

pytestmark = pytest.mark.slow
SUBSET = ("--gen-subset", "valid", "--max-len-b", 8)


@pytest.fixture(scope="module")
def targets(reversal_text: Path) -> List[str]:
    return (reversal_text / "valid.tgt").read_text().splitlines()


def generate(data: Path, checkpoint: object, *options: object) -> str:
    return run(*generate_command(data, checkpoint, *SUBSET, *options))


def right(output: str, targets: List[str]) -> float:
    found = hypotheses(output)
    assert len(found) == len(targets)
    return sum(found[number] == line for number, line in enumerate(targets)) / len(targets)


def scores(output: str) -> Dict[int, float]:
    lines = [line.split("\t") for line in output.split("\n") if line.startswith("H-")]
    return {int(line[0][2:]): float(line[1]) for line in lines}


@pytest.mark.parametrize(
    "options",
    [
        "--beam 4 --diverse-beam-groups 2 --diverse-beam-strength 0.5",
        "--beam 4 --diversity-rate 0.5",
        "--beam 1 --sampling --sampling-topk 1 --print-alignment soft",
        "--beam 1 --sampling --sampling-topp 0.01 --temperature 0.5",
        "--beam 2 --prefix-size 1",
    ],
)
def test_searches_that_find_the_likeliest(
    options: str, learned: Path, reversal: Path, targets: List[str]
) -> None:
    output = generate(reversal, learned / "checkpoint_last.pt", *options.split())
    assert right(output, targets) > 0.9


def test_words_that_must_stand_in_the_translation(learned: Path, reversal: Path) -> None:
    """Lexical constraints, ordered and not, of one and two words."""
    for mode in ("ordered", "unordered"):
        output = run(
            "fairseq-interactive", reversal, "--source-lang", "src", "--target-lang", "tgt",
            "--user-dir", PLUGIN, "--path", learned / "checkpoint_last.pt", "--beam", 8,
            "--constraints", mode, "--max-len-b", 8, text="a b c\th\nb c\ta\te\na b\n",
        )  # fmt: skip
        found = hypotheses(output)
        assert "h" in found[0].split()
        assert {"a", "e"} <= set(found[1].split())
        assert found[2] == "b a"


def test_scores_of_references_are_those_of_equal_hypotheses(
    learned: Path, reversal: Path, targets: List[str]
) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    searched = generate(reversal, checkpoint, "--beam", 2)
    scored = generate(reversal, checkpoint, "--score-reference")
    assert right(scored, targets) == 1
    wanted, found = scores(searched), scores(scored)
    same = [number for number, line in hypotheses(searched).items() if line == targets[number]]
    assert len(same) > 90
    assert all(abs(wanted[number] - found[number]) < 2e-3 for number in same)
