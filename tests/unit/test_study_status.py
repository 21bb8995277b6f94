"""Protects `resdual-study status`: who is at work, and who no longer is."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import studies
from helpers.studies import planned

from resdual_fairseq.study.engine.attempts import note_attempt
from resdual_fairseq.study.status import at_work


def pid_of_dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return child.pid


@pytest.mark.parametrize(
    ("host", "dead", "shown"),
    [
        (socket.gethostname(), False, True),
        (socket.gethostname(), True, False),
        ("elsewhere", True, True),  # of another machine's processes nothing is known
    ],
)
@pytest.mark.parametrize("kind", ["train", "measure"])
def test_only_who_lives_is_at_work(
    tmp_path: Path, host: str, dead: bool, shown: bool, kind: str
) -> None:
    _, study, plan = planned(studies.write_spec(tmp_path, measure=True))
    _, task = next(iter(studies.named(plan.tasks.values(), kind).items()))
    folder = study.begin(task)
    (folder / "lease").touch()
    pid = pid_of_dead() if dead else os.getpid()
    note_attempt(folder, {"id": "1", "host": host, "pid": pid, "folder": "run"})
    if kind == "measure":  # and it is done again
        found = {"costs": [], "failed": [], "idle": [1.0], "busy": True}
        study.write(studies.record(task, {**found, "energy_is_measured": False}))
    lines = at_work(plan, study)
    assert [task.label in line and host in line for line in lines] == [True] * shown
    note_attempt(folder, {"id": "1", "ended": "completed"})
    assert not at_work(plan, study)
