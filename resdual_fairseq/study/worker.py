"""A worker: takes tasks that nobody holds, one after the other, until none is left.

Workers know nothing of one another. A task is held by a lease that expires, so that any worker
may be killed at any time; its result appears whole, and the first one stays.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Optional, Set

from ..errors import ResDualError
from .engine.attempt import Attempt, LostLease
from .engine.attempts import attempts, next_run_folder, note_attempt, note_end_of_killed
from .engine.leases import Leases
from .engine.outcomes import Ending
from .engine.provenance import now, record_of
from .engine.remedies import full_disk, remedy
from .engine.tasks import FINISHED, StudyFolder, Task
from .measuring import costs
from .planning.planned import Plan
from .planning.todo import in_turn, is_ready, make_plan, records_of, unneeded, wanted
from .spec.keys import Spec
from .work import data, evaluating, training

LEASE = 60.0
"""Seconds after which a worker on another host that gave no sign is taken for dead."""
ACTIONS: Dict[str, Callable[[Attempt], Any]] = {
    "prepare": data.prepare,
    "subset": data.subset,
    "calibrate": training.calibrate,
    "train": training.train,
    "evaluate": evaluating.evaluate,
    "measure": costs.measure,
}
Say = Callable[[str], None]


class Worker:
    """One process that works on a study, alone or beside others.

    Args:
        kinds: the kinds of tasks to take, if not all.
    """

    def __init__(
        self, spec: Spec, study: StudyFolder, say: Say = print, kinds: Optional[Set[str]] = None,
        lease: float = LEASE,
    ) -> None:  # fmt: skip
        self.spec, self.study, self.say, self.kinds = spec, study, say, kinds
        self.leases = Leases(lease)

    def work(self, poll: float = 2.0) -> Plan:
        """Work until nothing is left; returns the plan at the end.

        Raises:
            ResDualError: something that a user has to put right; what is done stays.
        """
        waiting = False
        while True:
            began = time.process_time()
            records = records_of(self.spec, self.study)
            plan = make_plan(self.spec, records)
            todo = in_turn(wanted(plan, self.study, records), plan, self.kinds)
            if not todo:
                return plan
            try:
                taken = next((task for task in todo if self.try_to_do(task, plan)), None)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise full_disk(self.study.path) from error
                raise
            if taken is None:
                # No lease can be taken over there, and filelock tells it as one that is held.
                disk = shutil.disk_usage(self.study.path)
                if disk.total and not disk.free:
                    raise full_disk(self.study.path)
                if not waiting:
                    self.say(
                        f"waiting for other workers, who hold {len(todo)} tasks or what they need"
                    )
                self.wait(todo[0], poll, 20 * (time.process_time() - began))
            waiting = taken is None

    def wait(self, task: Task, poll: float, seconds: float) -> None:
        """Wait, since a plan may take a while (tpe), and must not disturb what is timed."""
        lease, measures = self.study.folder(task.name) / "lease", task.kind == "measure"
        until = time.monotonic() + (LEASE if measures else min(seconds, LEASE))
        time.sleep(poll)
        while time.monotonic() < until and (lease.exists() or not measures):
            time.sleep(poll)

    def try_to_do(self, task: Task, plan: Plan) -> bool:
        """Do the task, if all that it needs is there and nobody holds it."""
        if not is_ready(task, plan, self.study):
            return False
        folder = self.study.folder(task.name)
        folder.mkdir(parents=True, exist_ok=True)
        lease = self.leases.acquire(folder / "lease")
        if lease is None:
            return False
        try:
            # Since the plan was made another worker may have done it, and cleared its output away.
            records = records_of(self.spec, self.study)
            plan = make_plan(self.spec, records)
            if task.name not in {one.name for one in wanted(plan, self.study, records)}:
                return True
            self.do(task, lambda: lease.compromise is not None)
        finally:
            with suppress(OSError):
                lease.release()
        return True

    def do(self, task: Task, is_lost: Callable[[], bool]) -> None:
        """One attempt at a task; its result is kept unless it failed for reasons from outside."""
        folder = self.study.begin(task)
        run = next_run_folder(folder, socket.gethostname())
        run.mkdir(exist_ok=True)
        note_end_of_killed(folder)
        own = {"id": secrets.token_hex(4)}
        started = {"host": socket.gethostname(), "pid": os.getpid(), "began": now()}
        note_attempt(folder, {**own, **started, "folder": run.name})
        attempt = Attempt(task, self.spec, self.study, run, is_lost)
        again = f" (attempt {attempt.number})" if attempt.number > 1 else ""
        self.say(f"{task.name} {task.label}{again}")
        seconds = time.monotonic()
        ending, found = Ending("stopped"), {}
        try:
            ending, found = ACTIONS[task.kind](attempt)
            if is_lost() or attempts(folder)[-1]["id"] != own["id"]:
                raise LostLease("another worker took the task over")
        except LostLease as error:
            ending, found = Ending("killed", str(error)), {}
        finally:
            taken = round(time.monotonic() - seconds, 1)
            ended = {"ended": now(), "outcome": ending.outcome, "seconds": taken}
            note_attempt(folder, {**own, **ended})
        self.finish(task, ending, found, attempt)

    def finish(self, task: Task, ending: Ending, found: Dict[str, Any], attempt: Attempt) -> None:
        """Keep what came of an attempt, or say why not."""
        folder = self.study.folder(task.name)
        if ending.outcome == "disk full":
            raise full_disk(self.study.path)
        tried = attempts(folder)
        killed = sum(one.get("outcome") in (None, "killed") for one in tried)
        if ending.outcome == "killed" and killed <= self.spec.limits.retries:
            self.say(f"  {ending.detail}; it will be tried again")
            return
        if ending.outcome == "completed":
            (folder / FINISHED).write_text(attempt.run.name, encoding="utf-8")
        else:
            if to_mend := remedy(task, ending, self.study.records().get(task.name), attempt.log):
                raise ResDualError(to_mend)
        record = record_of(task, ending, found, tried, self.spec.limits.model_dump())
        self.study.write(record, tried[-1].get("seconds", 0.0))
        if ending.outcome != "completed":
            self.say(f"  {ending.outcome}: {ending.detail}")
        if self.spec.budgets.is_timed and found.get("other_load", 0.0) > costs.BUSY:
            self.say("  timed beside other work: budgets by such a speed decide nothing")
        self.clear()

    def clear(self) -> None:
        """Remove weights that no task will read."""
        records = records_of(self.spec, self.study)
        for name in unneeded(make_plan(self.spec, records), self.spec, self.study, records):
            self.study.discard_output(name)
