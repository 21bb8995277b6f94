"""Protects the end of a run that diverges: which block began is the last thing it says."""

from pathlib import Path

import pytest
import torch
from helpers.commands import run, train_command

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint

pytestmark = pytest.mark.slow
STEPS = ("--max-update", 20, "--disable-validation")


def test_an_absurd_learning_rate(reversal: Path, tmp_path: Path) -> None:
    command = train_command(reversal, tmp_path, *STEPS, "--lr", 1e30, "--bf16", "--residual-fp32")
    output = run(*command, fails=True)
    assert "FloatingPointError: gradients are Nan/Inf" in output
    assert "StopIteration" not in output  # of the detector, at an output without tensors
    last = output.strip().split("\n")[-1]
    assert last.startswith("resdual_fairseq: the run diverged: NaN first appeared in ")
    assert "block 1 of 4 of the encoder (self-attention); crash.pt in the --save-dir" in last
    assert (tmp_path / "crash.pt").is_file()


def test_a_checkpoint_with_an_infinite_weight(reversal: Path, tmp_path: Path) -> None:
    options = ("--checkpoint-activations", "--dropout", 0)
    run(*train_command(reversal, tmp_path / "good", "--max-update", 1, *options))
    state = load_whole_checkpoint(tmp_path / "good" / "checkpoint_last.pt")
    state["model"]["decoder.layers.1.encoder_attn.v_proj.weight"][3, 5] = float("inf")
    torch.save(state, tmp_path / "bad.pt")
    command = train_command(
        reversal, tmp_path / "out", *STEPS, *options, "--restore-file", tmp_path / "bad.pt"
    )
    output = run(*command, fails=True)
    place = "block 5 of 6 of the decoder (cross-attention)"
    assert f"[{place}]" in output
    assert f"the run diverged: Inf first appeared in {place};" in output.strip().split("\n")[-1]
