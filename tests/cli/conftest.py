"""Data and trained models that several tests of the commands share, made once for all workers."""

import fcntl
import shutil
from pathlib import Path
from typing import Callable

import pytest
from helpers.commands import preprocess, run, train_command, write_reversals

Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Shared:
    """Gives the folder of a name, made by the first worker that asks for it."""
    base = tmp_path_factory.getbasetemp()
    place = base if worker_id == "master" else base.parent

    def give(name: str, make: Callable[[Path], object]) -> Path:
        done, folder = place / f"{name}.done", place / name
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return give


@pytest.fixture(scope="session")
def reversal_text(shared: Shared) -> Path:
    return shared("reversal-text", write_reversals)


@pytest.fixture(scope="session")
def reversal(shared: Shared, reversal_text: Path) -> Path:
    """A data-bin whose task is to reverse short sequences of letters."""
    made = shared("reversal", lambda folder: preprocess(folder / "data-bin", reversal_text))
    return made / "data-bin"


@pytest.fixture(scope="session")
def learned(shared: Shared, reversal: Path) -> Path:
    """The folder of a model that has learned the task."""
    return shared("learned", lambda folder: run(*train_command(
        reversal, folder, "--dropout", 0, "--lr", "4e-3", "--lr-scheduler", "polynomial_decay",
        "--max-tokens", 500,
        "--total-num-update", 500, "--warmup-updates", 60, "--max-update", 500,
        "--save-interval", 99, "--validate-interval", 99, "--log-interval", 100,
        "--save-interval-updates", 100, "--keep-interval-updates", 3,
    )))  # fmt: skip
