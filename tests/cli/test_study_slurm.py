"""Protects `resdual-study run --slurm`: an array of workers on a real Slurm of one machine."""

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
import yaml
from helpers import studies
from helpers.commands import environment, run

from resdual_fairseq.study.planning import todo

pytestmark = pytest.mark.slow
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue")
CONFIGURATION = """
ClusterName=study
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=1
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=60 State=UP
"""


def program(name: str) -> Optional[str]:
    return shutil.which(name, path=os.environ["PATH"] + os.pathsep + "/usr/sbin")


def free_ports(number: int) -> List[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(there: Callable[[], object], seconds: float, what: str, folder: Path) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        logs = {path.name: path.read_text()[-2000:] for path in folder.glob("*log*")}
        assert time.monotonic() < deadline, f"{what} after {seconds} seconds; {logs}"
        time.sleep(0.2)


@contextmanager
def daemon(*words: object) -> Iterator[Any]:
    """A program that runs in the foreground for as long as the block, and is then ended."""
    command = [str(word) for word in words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def asked(*words: str, configuration: Path) -> str:
    """What one of Slurm's programs answers; nothing while its daemons are not up."""
    done = subprocess.run(
        words, env=environment(SLURM_CONF=str(configuration)), capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a Slurm that is up, with munge's key and socket of its own."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]}; install slurm-wlm and munge (Debian, Ubuntu)")
    if os.geteuid():
        pytest.skip("Slurm's and munge's daemons (slurm-wlm, munge) are started by root only")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    configuration = folder / "slurm.conf"
    values = {"host": host, "folder": folder, "ports": free_ports(2)}
    configuration.write_text(CONFIGURATION.format(**values))
    (folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\nIgnoreSystemd=yes\n")
    with ExitStack() as stack:
        files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munged.pid"}
        files.update({"log-file": "munged.log", "seed-file": "munged.seed"})
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        stack.enter_context(daemon(program("munged"), "--foreground", "--force", *options))
        wait_for((folder / "munge.socket").exists, 600, "munge is not up", folder)
        for name in ("slurmctld", "slurmd"):
            stack.enter_context(daemon(program(name), "-D", "-f", configuration))

        def is_idle() -> bool:
            words = ("sinfo", "--noheader", "--format=%T")
            return asked(*words, configuration=configuration).strip() == "idle"

        wait_for(is_idle, 600, "Slurm's node is not up", folder)
        yield configuration
        asked("scancel", "--user", "root", configuration=configuration)
        wait_for(is_idle, 600, "jobs do not end", folder)


def write_study(place: Path, data_bin: Path) -> Path:
    """A study of two arms that are tuned already, with results that are made up."""
    data = {"data_bin": str(data_bin), "source_lang": "src", "target_lang": "tgt"}
    changes: Dict[str, Any] = {
        "depths": [1],
        "training": "--share-all-embeddings --dropout 0 --optimizer adam --max-tokens 1000",
        "budgets": {"unit": "updates", "values": [5], "cooldown": 0.9},
        "search": {"values": {"lr": [0.002]}},
        "seeds": [101],
        "criteria": {"candidate": "resdual", "baseline": "pre", "depth": 1},
        "slurm": {"partition": "tests", "time": 30},
    }
    path = place / "study.yaml"
    path.write_text(yaml.safe_dump({**studies.SPEC, "data": data, **changes}))
    spec, folder = studies.study_of(path)
    facts = {"updates_per_epoch": 10, "seconds_per_update": 0.1, "symbols": 1 << 20}
    for kind, found in (("calibrate", facts), ("train", {"valid_loss": 3.0, "valid": []})):
        for task in todo.make_plan(spec, folder.records()).tasks.values():
            if task.kind == kind:
                folder.write(studies.record(task, found))
    return path


def test_an_array_of_workers_finishes_a_study(slurm: Path, reversal: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path, reversal)
    spec, folder = studies.study_of(path)
    made_up = folder.records().keys()
    output = run("resdual-study", "run", path, "--slurm", 2, SLURM_CONF=str(slurm))
    jobs = re.search(r"submitted: (\d+)_0 \1_1; squeue shows them", output)
    assert jobs is not None, output
    shown = asked("scontrol", "show", "job", jobs[1], configuration=slurm)
    assert f"ArrayJobId={jobs[1]}" in shown and "Partition=tests" in shown

    def is_done() -> bool:
        return not asked("squeue", "--noheader", configuration=slurm).strip()

    wait_for(is_done, 600, f"{output}: not done", tmp_path / "study" / "workers")
    new = {name: one for name, one in folder.records().items() if name not in made_up}
    assert sorted((one["task"]["kind"], one["outcome"]) for one in new.values()) == [
        ("evaluate", "completed"), ("evaluate", "completed"),
        ("train", "completed"), ("train", "completed"),
    ]  # fmt: skip
    assert not todo.wanted(todo.make_plan(spec, folder.records()), folder, folder.records())
    logs = sorted((tmp_path / "study" / "workers").glob(f"{jobs[1]}_[01]_0_log.out"))
    assert len(logs) == 2
    assert all("Job completed successfully" in log.read_text() for log in logs)


def test_a_job_that_slurm_refuses_is_told(slurm: Path, reversal: Path, tmp_path: Path) -> None:
    path = write_study(tmp_path, reversal)
    path.write_text(path.read_text().replace("partition: tests", "partition: nowhere"))
    words = ("resdual-study", "run", path, "--slurm", 2)
    sentence = run(*words, SLURM_CONF=str(slurm), fails=True).strip().splitlines()[-1]
    assert "Slurm did not take the workers" in sentence and "check the key slurm" in sentence
