"""Protects classification: every way in which a run can end is provoked and named."""

import itertools
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

import psutil
import pytest
from fairseq.trainer import Trainer

from resdual_fairseq.study.engine import commands, outcomes, processes
from resdual_fairseq.study.engine.processes import Exit, run_child

TRAIN = '2026-01-01 00:00:00 | INFO | train_inner | {{"nll_loss": "{}", "num_updates": "{}"}}\n'
VALID = (
    '2026-01-01 00:00:00 | INFO | valid | {{"valid_nll_loss": "{}", "valid_num_updates": "{}"}}\n'
)


def run(log: Path, program: str, **limits: Any) -> Exit:
    return run_child([sys.executable, "-c", program], log, dict(os.environ), **limits)


def test_a_child_that_ends_by_itself(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "print('done')")
    assert (end.status, end.stopped) == (0, None)
    assert (tmp_path / "log").read_text() == "done\n"
    assert outcomes.ending(end, tmp_path / "log").outcome == "completed"


def test_out_of_time(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "import time; time.sleep(3600)", seconds=0.5)
    told = outcomes.ending(end, tmp_path / "log", {"time": "0.5 seconds"})
    assert told == ("out of time", "stopped at the limit of 0.5 seconds")


def test_out_of_memory_by_the_limit(tmp_path: Path) -> None:
    program = "import time; x = bytearray(300 << 20); time.sleep(3600)"
    end = run(tmp_path / "log", program, memory=200 << 20)
    assert end.peak > 200 << 20
    assert outcomes.ending(end, tmp_path / "log", {"memory": "0.2 GiB"}).outcome == "out of memory"


def test_out_of_memory_by_torchs_own_word(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "import torch; torch.empty(1 << 50)")
    assert outcomes.ending(end, tmp_path / "log").outcome == "out of memory"


def test_killed_from_outside(tmp_path: Path) -> None:
    def kill() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for child in psutil.Process().children():
                with suppress(psutil.Error):  # another that ends just now
                    if "sleep(3601)" in " ".join(child.cmdline()):
                        child.send_signal(signal.SIGKILL)
                        return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    end = run(tmp_path / "log", "import time; time.sleep(3601)")
    thread.join()
    told = outcomes.ending(end, tmp_path / "log")
    assert told == ("killed", "ended by signal 9 from outside")


def test_fairseqs_trainer_raises_what_it_would_leave_out_however_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With --amp it calls itself, with a second word in its place."""
    seen: List[bool] = []
    monkeypatch.setattr(
        Trainer, "train_step", lambda self, samples, raise_oom=False: seen.append(raise_oom)
    )
    exec(commands.NO_BATCH_LEFT_OUT, {})
    step: Any = Trainer.train_step
    step(None, [])
    step(None, [], False)
    assert seen == [True, True]


def test_a_program_that_fails_by_a_signal_of_its_own_has_crashed(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "import os; print('last', flush=True); os.abort()")
    told = outcomes.ending(end, tmp_path / "log")
    assert told == ("crashed", "ended by SIGABRT | last")


def test_a_lost_lease_ends_the_child(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "import time; time.sleep(3600)", is_lost=lambda: True)
    assert outcomes.ending(end, tmp_path / "log").outcome == "killed"


def test_a_crash_ends_in_its_error(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "print('before'); raise RuntimeError('the reason')")
    told = outcomes.ending(end, tmp_path / "log")
    assert told == ("crashed", "RuntimeError: the reason")


def test_a_crash_without_an_error_ends_in_the_last_lines_of_its_log(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "import sys; print('one'); print('  two'); sys.exit(3)")
    assert outcomes.ending(end, tmp_path / "log").detail == "one | two"


def test_an_error_of_several_lines_is_told_without_its_traceback(tmp_path: Path) -> None:
    program = "try:\n  1 / 0\nfinally:\n  raise KeyError('x') from ValueError('a')"
    log = tmp_path / "log"
    outcomes.ending(run(log, program), log)
    log.write_text(
        log.read_text() + "Traceback (most recent call last):\n  File x\n    ^^^\n"
        "RuntimeError: wrong:\n\tweight\nlater\n"
    )
    assert outcomes.last_lines(log.read_text()) == "RuntimeError: wrong: weight"


def test_the_log_of_an_earlier_attempt_decides_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("OSError: No space left on device\nCUDA out of memory\n")
    end = run(log, "raise RuntimeError('quite another fault')")
    assert outcomes.ending(end, log) == ("crashed", "RuntimeError: quite another fault")


def test_a_kill_for_want_of_memory_is_of_the_child_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is of the whole control group: other runs go on, and end well."""
    counts = itertools.count()
    monkeypatch.setattr(processes, "oom_kills", lambda: next(counts))
    end = run(tmp_path / "log", "pass")
    assert outcomes.ending(end, tmp_path / "log").outcome == "completed"
    end = run(tmp_path / "log", "import os; os.kill(os.getpid(), 9)")
    assert outcomes.ending(end, tmp_path / "log").outcome == "out of memory"


def test_overflow_names_the_last_good_update(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(TRAIN.format(3.5, 50) + TRAIN.format(3.25, 100))
    end = run(log, "raise FloatingPointError('gradients are Nan/Inf')")
    told = outcomes.ending(end, log)
    assert told.outcome == "overflow"
    assert "after update 100, where it was 3.25" in told.detail


def test_a_full_disk_is_nobodys_failure(tmp_path: Path) -> None:
    end = run(tmp_path / "log", "raise OSError(28, 'No space left on device')")
    assert outcomes.ending(end, tmp_path / "log").outcome == "disk full"


def test_a_full_disk_cuts_the_log_that_would_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    end = run(tmp_path / "log", "import sys; sys.exit('Traceback (most rec')")
    assert outcomes.ending(end, tmp_path / "log").outcome == "disk full"


def test_an_error_of_the_command_line_is_told_without_its_usage(tmp_path: Path) -> None:
    program = "import argparse; argparse.ArgumentParser('train.py').parse_args(['--wrong'])"
    end = run(tmp_path / "log", program)
    told = outcomes.ending(end, tmp_path / "log")
    assert told == ("crashed", "unrecognized arguments: --wrong")


@pytest.mark.parametrize("loss", ["12.5", "nan", "inf"])
def test_a_loss_above_the_untrained_one_is_divergence(tmp_path: Path, loss: str) -> None:
    log = tmp_path / "log"
    log.write_text(VALID.format(3.0, 50) + VALID.format(loss, 100))
    told = outcomes.divergence(outcomes.losses(log), 12.0)
    assert told is not None and told.outcome == "diverged"
    assert "at update 100, above the 12.00" in told.detail
    log.write_text(VALID.format(loss, 50) + VALID.format(3.0, 100))
    assert outcomes.divergence(outcomes.losses(log), 12.0) is None


def test_a_slow_run_has_not_diverged(tmp_path: Path) -> None:
    """Initial weights put a small model well above equal chances."""
    log = tmp_path / "log"
    for before, loss in (([], 5.6), ([8.2], 5.6), ([5.7], 5.8)):
        log.write_text("".join(VALID.format(one, 10) for one in before) + VALID.format(loss, 29))
        assert outcomes.divergence(outcomes.losses(log), 5.0) is None
    for before, loss in (([], 10.1), ([400.0], 300.0), ([4.9], 5.8)):
        told = outcomes.losses(log)._replace(valid=[(29, loss)])
        assert outcomes.divergence(told, 5.0, before).outcome == "diverged"  # type: ignore[union-attr]


def test_a_calibration_of_slow_updates(tmp_path: Path) -> None:
    """fairseq writes an update of 250 seconds as ups=0."""
    line = "epoch 001:     10 / 536 loss=11.7, wps=1040.3, ups=0, wpb=2.6e+05, bsz=51.3\n"
    text = f"num. shared model params: 1,000\n[src] dictionary: 4,000 types\n{line}"
    found = outcomes.calibration(text)
    assert found["seconds_per_update"] == pytest.approx(250, rel=1e-3)
    assert (found["updates_per_epoch"], found["tokens_per_update"]) == (536, 2.6e5)


def test_losses_of_a_run_that_went_on_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = TRAIN.format(5, 50) + TRAIN.format(4, 100) + VALID.format(4.5, 100)
    second = TRAIN.format(3.9, 100) + TRAIN.format(3, 150) + VALID.format(3.5, 150)
    log.write_text(first + "| train_inner | {cut\n" + second)
    found = outcomes.losses(log)
    assert found.train == [(50, 5.0), (100, 3.9), (150, 3.0)]
    assert found.valid == [(100, 4.5), (150, 3.5)]


@pytest.mark.slow
def test_children_die_with_their_worker(tmp_path: Path) -> None:
    """Also the child's own children cannot go on in its folder: they hold no lease."""
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from resdual_fairseq.study.engine.processes import run_child
command = [sys.executable, "-c", "import time; time.sleep(3602)"]
run_child(command, Path({str(tmp_path / "log")!r}), dict(os.environ))
"""
    worker = psutil.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 300
    children: list = []
    while not children and time.monotonic() < deadline:
        children = [one for one in worker.children() if "sleep(3602)" in " ".join(one.cmdline())]
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    _, alive = psutil.wait_procs(children, timeout=300)
    assert children and not alive
