"""Protects `--log-block-gradients` in fairseq's trainings: resumed, distributed, half precision."""

import csv
import socket
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest
from helpers.commands import PLUGIN, environment, run, train_command

pytestmark = pytest.mark.slow
FILE = "block_gradients.csv"
OPTIONS = ("--max-update", 6, "--log-block-gradients", 2, "--disable-validation")


def rows(folder: Path) -> List[Dict[str, str]]:
    with (folder / FILE).open(newline="") as stream:
        return list(csv.DictReader(stream))


def norms(folder: Path) -> List[float]:
    return [float(row["gradient_norm"]) for row in rows(folder)]


@pytest.fixture(scope="module")
def plain(reversal: Path, tmp_path_factory: Any) -> Path:
    """The folder of a training in float32, with a checkpoint at update 3."""
    folder = tmp_path_factory.mktemp("plain")
    run(*train_command(reversal, folder, *OPTIONS, "--save-interval-updates", 3))
    return folder


def test_every_block_at_update_1_and_every_nth(plain: Path) -> None:
    found = rows(plain)
    assert [int(row["update"]) for row in found[::10]] == [1, 2, 4, 6]
    assert len(found) == 4 * (2 * 2 + 2 * 3)
    assert all(norm > 0 for norm in norms(plain))


def test_a_resumed_run_has_the_rows_of_an_unbroken_one(
    plain: Path, reversal: Path, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text((plain / FILE).read_text())
    (checkpoint,) = plain.glob("checkpoint_*_3.pt")
    run(*train_command(reversal, tmp_path, *OPTIONS, "--restore-file", checkpoint))
    assert rows(tmp_path) == rows(plain)


@pytest.mark.parametrize(
    "precision",
    [
        ("--memory-efficient-fp16", "--fp16-init-scale", 4),
        ("--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", 4),
        ("--amp",),
    ],
)
def test_half_precision_has_the_norms_of_float32(
    precision: Any, plain: Path, reversal: Path, tmp_path: Path
) -> None:
    """At update 1: later ones follow other roundings."""
    run(*train_command(reversal, tmp_path, *OPTIONS, *precision))
    assert norms(tmp_path)[:10] == pytest.approx(norms(plain)[:10], rel=0.03)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_two_processes_write_the_mean_gradient_once(reversal: Path, tmp_path: Path) -> None:
    """Two processes of one batch each take the steps of one process of two batches."""
    run(*train_command(reversal, tmp_path / "one", *OPTIONS, "--update-freq", 2, "--dropout", 0))
    command = train_command(
        reversal, tmp_path / "two", *OPTIONS, "--dropout", 0, "--cpu",
        "--ddp-backend", "legacy_ddp", "--distributed-backend", "gloo",
        "--distributed-world-size", 2, "--distributed-no-spawn",
        "--distributed-init-method", f"tcp://127.0.0.1:{free_port()}",
    )  # fmt: skip
    processes = [
        subprocess.Popen(
            [*command, "--distributed-rank", str(rank)], env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    assert norms(tmp_path / "two") == pytest.approx(norms(tmp_path / "one"), rel=1e-3)


def test_tensorboard_has_the_same_numbers(reversal: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    run(*train_command(reversal, tmp_path, *OPTIONS, "--tensorboard-logdir", board))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(board / "block_gradients"))
    events.Reload()
    found = events.Scalars("block_gradients/decoder/002_cross_attn")
    expected = [
        (int(row["update"]), float(row["gradient_norm"]))
        for row in rows(tmp_path)
        if (row["stack"], row["block"]) == ("decoder", "2")
    ]
    assert [event.step for event in found] == [update for update, _ in expected]
    assert [e.value for e in found] == pytest.approx([norm for _, norm in expected], rel=1e-4)


def test_hydra_logs_where_the_run_writes(reversal: Path, tmp_path: Path) -> None:
    command = [
        "fairseq-hydra-train", "--config-dir", PLUGIN / "config",
        "--config-name", "resdual_transformer_tiny", f"common.user_dir='{PLUGIN}'",
        f"task.data='{reversal}'", "optimization.max_update=1",
        f"checkpoint.save_dir='{tmp_path / 'run'}'", "model.log_block_gradients=1",
        "dataset.disable_validation=true", "dataset.data_buffer_size=0",
        f"hydra.run.dir='{tmp_path / 'hydra'}'",
    ]  # fmt: skip
    output = run(*command, "~model.save_dir", fails=True)
    assert "model.log_block_gradients does not know where to write" in output
    run(*command, f"common.tensorboard_logdir='{tmp_path / 'board'}'")
    assert len(rows(tmp_path / "run")) == 10
    assert list((tmp_path / "board" / "block_gradients").iterdir())
