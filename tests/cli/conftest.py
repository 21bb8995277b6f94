"""Data and trained models that several tests of the commands share."""

from pathlib import Path

import pytest
from helpers.commands import preprocess, run, train_command, write_reversals


@pytest.fixture(scope="session")
def reversal_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_reversals(folder)
    return folder


@pytest.fixture(scope="session")
def reversal(tmp_path_factory: pytest.TempPathFactory, reversal_text: Path) -> Path:
    """A data-bin whose task is to reverse short sequences of letters."""
    return preprocess(tmp_path_factory.mktemp("data") / "data-bin", reversal_text)


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, reversal: Path) -> Path:
    """The folder of a model that has learned the task."""
    folder = tmp_path_factory.mktemp("learned")
    run(*train_command(
        reversal, folder, "--dropout", 0, "--lr-scheduler", "polynomial_decay",
        "--total-num-update", 1000, "--warmup-updates", 100, "--max-update", 1000,
        "--save-interval-updates", 200, "--keep-interval-updates", 3,
    ))  # fmt: skip
    return folder
