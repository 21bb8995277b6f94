"""Protects a killed training: it goes on to the losses and weights of an unbroken one."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict

import pytest
import torch
from helpers.commands import LETTERS, environment, preprocess, run, train_command

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint

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


def start_and_kill(command: "list[str]", folder: Path, checkpoint: str) -> None:
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


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin of sentences no two of which are equally long."""
    folder = tmp_path_factory.mktemp("lengths")
    generator = random.Random(1)
    for split, count in (("train", 60), ("valid", 2), ("test", 2)):
        lines = [" ".join(generator.choices(LETTERS, k=size)) for size in range(2, count + 2)]
        for language in ("src", "tgt"):
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    return preprocess(folder / "data-bin", folder)


@pytest.mark.parametrize(
    ("data", "checkpoint"),
    [
        ("reversal", "checkpoint_1_20.pt"),
        # fairseq draws anew which of equally long sentences share a batch, where it starts in a
        # later epoch.
        ("lengths", "checkpoint_2_*.pt"),
    ],
)
def test_sigkill_and_resume_equal_an_unbroken_run(
    data: str, checkpoint: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data_bin = request.getfixturevalue(data)
    options = (*OPTIONS, *(("--max-tokens", 100) if data == "lengths" else ()))
    unbroken = losses(run(*train_command(data_bin, tmp_path / "unbroken", *options)))
    command = train_command(data_bin, tmp_path / "broken", *options)
    start_and_kill(command, tmp_path / "broken", checkpoint)
    if data == "reversal":  # killed while fairseq copied
        last = tmp_path / "broken" / "checkpoint_last.pt"
        os.truncate(last, last.stat().st_size // 2)
    output = run(*command)
    resumed = losses(output)
    assert data != "reversal" or "checkpoint_last.pt was cut short: going on from ch" in output
    assert "Loaded checkpoint" in output
    assert 60 in resumed
    assert 1 not in resumed
    assert all(unbroken[update] == loss for update, loss in resumed.items())
    weights = [
        load_whole_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"]
        for name in ("unbroken", "broken")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
