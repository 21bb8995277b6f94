"""Protects a killed training: it goes on to the losses and weights of an unbroken one."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import List

import pytest
import torch
from helpers.commands import environment, losses, preprocess, run, train_command

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint

pytestmark = pytest.mark.slow
UPDATES = 40
OPTIONS = (
    *("--max-update", UPDATES, "--max-tokens", 150, "--update-epoch-batch-itr", "True"),
    *("--save-interval-updates", 4, "--keep-interval-updates", 1, "--disable-validation"),
)


def start_and_kill(command: List[str], folder: Path, checkpoint: str) -> None:
    """Start a training and end it by SIGKILL once a checkpoint of this pattern is there."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while not list(folder.glob(checkpoint)):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint after five minutes"
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def few_sentences(text: Path, folder: Path) -> Path:
    """A data-bin of few lengths: which sentences share a batch is drawn anew in every epoch."""
    for path in text.iterdir():
        (folder / path.name).write_text("".join(path.read_text().splitlines(True)[:300]))
    return preprocess(folder / "data-bin", folder)


def test_sigkill_in_a_later_epoch_and_resume_equal_an_unbroken_run(
    reversal_text: Path, tmp_path: Path
) -> None:
    data = few_sentences(reversal_text, tmp_path)
    whole = losses(run(*train_command(data, tmp_path / "unbroken", *OPTIONS)))
    command = train_command(data, tmp_path / "broken", *OPTIONS)
    start_and_kill(command, tmp_path / "broken", "checkpoint_[3-9]_*.pt")
    last = tmp_path / "broken" / "checkpoint_last.pt"
    os.truncate(last, last.stat().st_size // 2)  # as by a kill while fairseq copied it
    output = run(*command)
    resumed = losses(output)
    assert "checkpoint_last.pt was cut short: going on from ch" in output
    assert "Loaded checkpoint" in output
    assert UPDATES in resumed
    assert 1 not in resumed
    assert all(whole[update] == loss for update, loss in resumed.items())
    weights = [
        load_whole_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"]
        for name in ("unbroken", "broken")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
