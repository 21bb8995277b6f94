"""Protects the demo's bookkeeping: its cool-down fits the time, its report tells what was done."""

import sys
from pathlib import Path
from typing import Tuple

import pytest
import torch

from quickstart import cooldown, report


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As fairseq-train leaves it: 1,000 updates in 100 s, at a rate of 0.002."""
    path = tmp_path / "checkpoint_last.pt"
    state = {
        "optimizer_history": [{"num_updates": 7}, {"num_updates": 1000}],
        "extra_state": {"previous_training_time": 100.0},
        "last_optimizer_state": {"param_groups": [{"lr": 0.002}]},
    }
    torch.save(state, path)
    return path


def test_the_cool_down_fits_into_its_minutes_and_is_never_of_no_update() -> None:
    # At ten updates a second, with some time to spare.
    assert 0.5 * 1200 < cooldown.updates_in(2, done=1000, seconds=100.0) < 1200
    assert cooldown.updates_in(0.001, done=10, seconds=1000.0) >= 1


@pytest.mark.parametrize(
    ("options", "last"),
    [((), 1000 + cooldown.updates_in(2, 1000, 100.0)), (("--until", "1200"), 1200)],
)
def test_the_cool_down_is_written_for_the_shell(
    options: Tuple[str, ...],
    last: int,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "cooldown"
    monkeypatch.setattr(sys, "argv", ["cooldown.py", str(checkpoint), "2", str(out), *options])
    cooldown.main()
    assert out.read_text().split() == ["1000", str(last), "0.002"]


def test_a_missing_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cooldown.py", str(tmp_path / "none.pt"), "2", "out"])
    with pytest.raises(SystemExit, match=r"none\.pt.*train first"):
        cooldown.main()


def test_a_stage_that_was_interrupted_says_which_call_its_seconds_are_of(tmp_path: Path) -> None:
    for name in ("prepare", "train", "cool-down", "translate", "score"):
        (tmp_path / f"{name}.seconds").write_text("12\n")
        (tmp_path / f"{name}.calls").write_text("call\n")
    (tmp_path / "train.calls").write_text("call\ncall\n")
    lines = report.stage_lines(tmp_path, tmp_path)
    assert [line.split()[1] for line in lines] == ["12"] * 5
    assert ["last of 2 calls" in line for line in lines] == [False, True, False, False, False]
