"""Starts workers: several on this machine, or as jobs of Slurm, through submitit."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import submitit

from ..errors import ResDualError
from .engine.remedies import sentence
from .engine.tasks import StudyFolder
from .spec.keys import Spec
from .worker import Worker

FOREVER = 60 * 24 * 365
"""Minutes; submitit's own limit is five."""
POLL = 2.0
ENDING = (signal.SIGTERM, signal.SIGHUP)


def work_on(spec: Spec, gpu: Optional[str] = None) -> str:
    """What each job runs: one worker, until nothing is left; returns what a user has to mend."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        Worker(
            spec, StudyFolder(Path(str(spec.folder))), lambda text: print(text, flush=True)
        ).work()
    except (ResDualError, OSError) as error:
        told = sentence(error)
        print(f"error: {told}", flush=True)  # nobody reads the result of a job of Slurm's
        return told
    return ""


def start_here(spec: Spec, study: StudyFolder, workers: int) -> List[Any]:
    """Start workers on this machine; each takes one of its GPUs, where there are any."""
    import torch

    executor = submitit.LocalExecutor(folder=study.path / "workers")
    count = torch.cuda.device_count()
    named = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as `&` in a script leaves it to all
        signal.signal(signal.SIGINT, signal.default_int_handler)  # by which submitit ends workers
    gpus = named[:count] or [str(number) for number in range(count)]
    executor.update_parameters(timeout_min=FOREVER, gpus_per_node=count)
    with errors_in(study.path / "workers" / "controllers.log"):
        return [
            executor.submit(work_on, spec, gpus[worker % count] if gpus else None)
            for worker in range(workers)
        ]


@contextmanager
def errors_in(log: Path) -> Iterator[None]:
    """Give processes that start here a file for their errors: Ctrl-C meets submitit's, too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    try:
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def start_on_slurm(spec: Spec, study: StudyFolder, workers: int) -> List[Any]:
    """Submit workers to Slurm as one array, with the spec's keys of sbatch.

    Raises:
        ResDualError: there is no Slurm, or it does not take the job.
    """
    try:
        executor = submitit.SlurmExecutor(folder=study.path / "workers")
        executor.update_parameters(**slurm_parameters(spec))
        with executor.batch():
            jobs = [executor.submit(work_on, spec) for _ in range(workers)]
    except (
        RuntimeError,
        ValueError,
        TypeError,
        OSError,
        submitit.core.utils.FailedJobError,
    ) as error:
        raise ResDualError(
            f"Slurm did not take the workers: {' '.join(str(error).split())[:400]}; check the "
            "key slurm of the spec, and that sbatch works here"
        ) from error
    return jobs


def slurm_parameters(spec: Spec) -> Dict[str, Any]:
    """The spec's, with the partition's own limit of time where it gives none."""
    return {"time": None, "cpus_per_task": spec.threads, **spec.slurm}


def end_as_by_ctrl_c() -> None:
    """Let what ends this process, and a terminal that closes, do what Ctrl-C does."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)


def watch(jobs: List[Any], study: StudyFolder, say: Callable[[str], None]) -> None:
    """Tell of every result that comes in, until all workers have ended.

    Ctrl-C ends them.

    Raises:
        ResDualError: a worker met something that a user has to mend.
    """
    known = set(study.records())
    ended = False
    try:
        while not ended:
            ended = all(job.done() for job in jobs)
            for name, record in study.records().items():
                if name not in known:
                    known.add(name)
                    say(f"{name} {record['task']['label']}: {record['outcome']}")
            if not ended:
                time.sleep(POLL)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, *ENDING):  # a second one would meet submitit's destructors
            signal.signal(number, signal.SIG_IGN)
        for job in jobs:
            job.cancel()
        raise
    for job in jobs:
        try:
            told = job.result()
        except submitit.core.utils.UncompletedJobError:
            say(f"a worker was killed; what it said last stands in {job.paths.stdout}")
            continue
        if told:
            raise ResDualError(told)
