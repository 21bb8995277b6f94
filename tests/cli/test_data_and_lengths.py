"""Protects training over several batches an update, of limited length, with BLEU."""

import json
import re
from pathlib import Path

import pytest
from helpers.commands import generate_command, hypotheses, run, train_command

pytestmark = pytest.mark.slow


def test_several_batches_an_update_and_bleu_in_validation(reversal: Path, tmp_path: Path) -> None:
    output = run(*train_command(
        reversal, tmp_path, "--update-freq", 3, "--max-update", 2, "--batch-size", 10,
        "--validate-interval-updates", 2, "--eval-bleu", "--eval-bleu-detok", "space",
        "--eval-bleu-args", '{"beam": 2, "max_len_b": 5}', "--best-checkpoint-metric", "bleu",
        "--maximize-best-checkpoint-metric",
    ))  # fmt: skip
    rows = [json.loads(row) for row in re.findall(r"\{\"epoch.*\}", output)]
    assert [float(row["bsz"]) for row in rows if "bsz" in row][:2] == [30, 30]
    assert any("valid_bleu" in row for row in rows)


def test_sentences_longer_than_the_model_has_positions_for(reversal: Path, tmp_path: Path) -> None:
    short = ("--max-target-positions", 4, "--max-update", 1)
    output = run(*train_command(reversal, tmp_path, *short), fails=True)
    assert "--skip-invalid-size-inputs-valid-test" in output
    skip = "--skip-invalid-size-inputs-valid-test"
    run(*train_command(reversal, tmp_path, *short, skip))
    command = generate_command(reversal, tmp_path / "checkpoint_last.pt", "--gen-subset", "valid")
    found = hypotheses(run(*command, skip))
    assert 0 < len(found) < 100
    assert max(len(line.split()) for line in found.values()) <= 4
