"""What a study is doing: a table of its runs, which follows the work."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path
from typing import Dict, List, Tuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .engine import outcomes
from .engine.attempts import attempts, is_dead
from .engine.tasks import StudyFolder
from .planning.planned import Plan, Records, outcome
from .planning.so_far import plan_so_far
from .planning.todo import in_turn, make_plan, records_of, wanted
from .spec.keys import Spec
from .spec.parts import depth_name, values_name
from .worker import LEASE

EVERY = 5.0
"""Seconds between looks."""


def show(spec: Spec, study: StudyFolder, follow: bool, console: Console) -> None:
    """Print the table once, or until the study is done or Ctrl-C."""
    if not follow:
        console.print(view(spec, study)[0])
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            shown, left = view(spec, study)
            live.update(shown, refresh=True)
            if not left:
                return
            time.sleep(EVERY)


def view(spec: Spec, study: StudyFolder) -> Tuple[Group, int]:
    """The table with what is at work, and how many tasks workers will take."""
    records = records_of(spec, study)
    plan = make_plan(spec, records)
    left = wanted(plan, study, records)
    lines: List[Text | Table] = [runs_table(spec, plan_so_far(spec, records), records)]
    lines += [Text(line) for line in at_work(plan, study)]
    more = f", and more once {plan.open} is done" if plan.open else ""
    lines.append(Text(f"{len(left)} tasks left{more}" if left or more else "all runs are done"))
    lost = sum(one in records and records[one]["outcome"] == "killed" for one in plan.tasks)
    if lost:
        lines.append(
            Text(f"{lost} of them were killed from outside until limits.retries was used up")
        )
    if plan.stopped:
        lines.append(Text(f"the criterion of stage {plan.stopped} ended the study"))
    return Group(*lines), len(in_turn(left, plan))


def runs_table(spec: Spec, plan: Plan, records: Records) -> Table:
    """One line an arm, depth and width: how many runs ended how."""
    table = Table(title=spec.name)
    for name in ("arm", "depth", "width", "tuning", "judging", "best", "failures"):
        table.add_column(name, justify="left" if name in ("arm", "failures") else "right")
    groups: Dict[Tuple[str, str, int], List[int]] = {}
    for number, run in enumerate(plan.runs):
        groups.setdefault((run.cell.arm, run.cell.depth, run.cell.width), []).append(number)
    for (arm, depth, width), numbers in groups.items():
        runs = [plan.runs[number] for number in numbers]
        ended = [(run, outcome(run, records)) for run in runs]
        cells = []
        for role in ("tuning", "judging"):
            own = [record for run, record in ended if run.role == role]
            cells.append(f"{sum(one is not None for one in own)} of {len(own)}")
        losses = [
            (record["found"]["valid_loss"], run.values) for run, record in ended
            if run.role == "tuning" and record and record["outcome"] == "completed"
        ]  # fmt: skip
        best = min(losses, key=lambda one: one[0], default=None)
        tuned = f"{best[0]:.3f} bits ({values_name(best[1])})" if best else ""
        failures = Counter(
            one["outcome"] for _, one in ended if one and one["outcome"] != "completed"
        )
        failed = ", ".join(f"{count} {name}" for name, count in failures.items())
        table.add_row(arm, depth_name(depth, spec.task), str(width), *cells, tuned, failed)
    return table


def is_held(lease: Path) -> bool:
    """Whether its holder gave a sign lately; one that was killed leaves the file behind."""
    try:
        return time.time() - lease.stat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def at_work(plan: Plan, study: StudyFolder) -> List[str]:
    """A line for each task that somebody holds, with how far it has come."""
    found = []
    for task in plan.tasks.values():
        folder = study.folder(task.name)
        tried = attempts(folder)
        if not is_held(folder / "lease") or not tried or "ended" in tried[-1]:
            continue
        if is_dead(tried[-1], socket.gethostname()):
            continue
        losses = outcomes.losses(folder / "log") if task.kind == "train" else None
        progress = ""
        if losses and losses.train:
            updates, loss = losses.train[-1]
            progress = f": update {updates} of {task.inputs['updates']}, loss {loss:.2f}"
        found.append(f"at work: {task.label}{progress} ({tried[-1]['host']})")
    return found
