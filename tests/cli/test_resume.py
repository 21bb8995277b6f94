"""Protects a killed training: it goes on to the losses and weights of an unbroken one."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict

import pytest
import torch
from helpers.commands import environment, run, train_command

from resdual_fairseq.compat import load_whole_checkpoint

pytestmark = pytest.mark.slow
OPTIONS = ("--max-update", 60, "--save-interval-updates", 10, "--keep-interval-updates", 1)


def losses(output: str) -> Dict[int, str]:
    """Training loss of each update, out of the log."""
    found = {}
    for line in output.split("\n"):
        if "| train_inner | " in line:
            entry = json.loads(line.split("| train_inner | ", 1)[1])
            found[int(entry["num_updates"])] = entry["loss"]
    return found


def start_and_kill(command: "list[str]", checkpoint: Path) -> None:
    """Start a training and end it by SIGKILL once it has written a checkpoint or two."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while not checkpoint.exists():
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint after five minutes"
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_sigkill_and_resume_equal_an_unbroken_run(reversal: Path, tmp_path: Path) -> None:
    unbroken = losses(run(*train_command(reversal, tmp_path / "unbroken", *OPTIONS)))
    command = train_command(reversal, tmp_path / "broken", *OPTIONS)
    start_and_kill(command, tmp_path / "broken" / "checkpoint_last.pt")
    output = run(*command)
    resumed = losses(output)
    assert "Loaded checkpoint" in output
    assert 60 in resumed
    assert 1 not in resumed
    assert all(unbroken[update] == loss for update, loss in resumed.items())
    weights = [
        load_whole_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"]
        for name in ("unbroken", "broken")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
