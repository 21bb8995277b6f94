"""Protects the way from text to translations: train, generate, interactive, average."""

from pathlib import Path

import pytest
from helpers.commands import PLUGIN, generate_command, hypotheses, run

pytestmark = pytest.mark.slow


def lines(path: Path) -> "list[str]":
    return path.read_text().splitlines()


def exact(found: "dict[int, str]", wanted: "list[str]") -> float:
    assert len(found) == len(wanted)
    return sum(found[number] == line for number, line in enumerate(wanted)) / len(wanted)


def test_it_learns_to_reverse(learned: Path, reversal: Path, reversal_text: Path) -> None:
    output = run(*generate_command(reversal, learned / "checkpoint_last.pt", "--beam", 4))
    assert exact(hypotheses(output), lines(reversal_text / "test.tgt")) > 0.95


def test_interactive_says_what_generate_says(
    learned: Path, reversal: Path, reversal_text: Path
) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    generated = hypotheses(run(*generate_command(reversal, checkpoint, "--beam", 4)))
    typed = run(
        "fairseq-interactive", reversal, "--source-lang", "src", "--target-lang", "tgt",
        "--user-dir", PLUGIN, "--path", checkpoint, "--beam", 4,
        text=(reversal_text / "test.src").read_text(),
    )  # fmt: skip
    assert hypotheses(typed) == generated


def test_interactive_takes_empty_and_very_long_lines(learned: Path, reversal: Path) -> None:
    longest = " ".join("abcdefgh"[number % 7] for number in range(1023))  # and EOS
    typed = run(
        "fairseq-interactive", reversal, "--source-lang", "src", "--target-lang", "tgt",
        "--user-dir", PLUGIN, "--path", learned / "checkpoint_last.pt", "--beam", 4,
        "--buffer-size", 6, "--batch-size", 6, "--max-len-b", 8,
        text=f"a b c\n\n   \n{longest}\nunheard\nd e\n",
    )  # fmt: skip
    found = hypotheses(typed)
    assert len(found) == 6
    assert (found[0], found[5]) == ("c b a", "e d")
    assert found[1] == found[2]
    assert "nan" not in typed


def test_average_and_ensemble_translate(
    learned: Path, reversal: Path, reversal_text: Path, tmp_path: Path
) -> None:
    average = tmp_path / "average.pt"
    run(
        "resdual-average-checkpoints", "--inputs", learned, "--num-update-checkpoints", 2,
        "--output", average,
    )  # fmt: skip
    wanted = lines(reversal_text / "test.tgt")
    assert exact(hypotheses(run(*generate_command(reversal, average))), wanted) > 0.9
    both = f"{average}:{learned / 'checkpoint_last.pt'}"
    assert exact(hypotheses(run(*generate_command(reversal, both))), wanted) > 0.9
