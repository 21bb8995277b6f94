"""Protects training on raw text, over several batches an update, of limited length, with BLEU."""

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


def test_mixture_of_experts(reversal: Path, tmp_path: Path) -> None:
    """fairseq's example task of several experts in one model."""
    experts = ("--task", "translation_moe", "--method", "hMoElp", "--mean-pool-gating-network",
               "--num-experts", 3)  # fmt: skip
    plugins = moe_and_this(tmp_path)
    run(*train_command(
        reversal, tmp_path, *experts, "--user-dir", plugins, "--max-update", 2,
        "--mean-pool-gating-network-encoder-dim", 64,
    ))  # fmt: skip
    output = run(*generate_command(
        reversal, tmp_path / "checkpoint_last.pt", *experts, "--user-dir", plugins,
        "--gen-expert", 1, "--gen-subset", "valid", "--max-len-b", 4,
    ))  # fmt: skip
    assert len(hypotheses(output)) == 100


def moe_and_this(folder: Path) -> Path:
    """A --user-dir with the example's task and this package's model."""
    plugin = folder / "moe_and_this"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(
        "import resdual_fairseq\nfrom fairseq.examples.translation_moe import translation_moe_src\n"
    )
    return plugin
