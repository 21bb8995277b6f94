"""Prints a plan: the runs, what they take, and how many seeds the margin needs."""

from __future__ import annotations

import os
import shutil

from rich.console import Console
from rich.table import Table

from ..engine.tasks import StudyFolder
from ..spec.keys import Spec
from ..spec.parts import depth_name, values_name
from .estimates import disk, estimates, power_table
from .findings import collect
from .so_far import plan_so_far
from .todo import make_plan, records_of

GIB = 1 << 30


SPEEDS = (
    " The budgets' updates come from the speeds of these short runs: where they differ more than "
    "the models do, other work disturbed them; plan again in an empty folder on an idle machine."
)
"""Of budgets in hours or money, in which what was measured decides how long an arm trains."""


def show_plan(spec: Spec, study: StudyFolder) -> None:
    """Print it; the calibration runs have to be done."""
    console = Console(width=max(100, shutil.get_terminal_size().columns))
    records = records_of(spec, study)
    plan = make_plan(spec, records)
    found = estimates(spec, plan, records)
    console.print(models_table(found))
    console.print(runs_table(spec, study))
    hours = sum(one.hours for one in found)
    console.print(
        f"\nIn all {hours:.1f} hours of one worker ({spec.threads} thread(s); this machine has "
        f"{os.cpu_count()} cores), before any grid grows (too many, if other work slowed the short "
        f"runs). {done_so_far(spec, study)}{money(spec, hours)}"
        f"Memory: {max((one.memory for one in found), default=0) / GIB:.1f} GiB a worker. "
        f"Disk: {disk(spec, found, 1) / GIB:.2f} GiB with one worker. "
        + ("Costs are measured at the end; nothing else should run then." if spec.measure else "")
        + (SPEEDS if spec.budgets.is_timed else ""),
        highlight=False,
    )
    for one in found:
        if one.failure:
            console.print(f"{one.arm} {one.depth} cannot run: {one.failure}", style="red")
    console.print(seeds_table(spec, study))
    console.print(
        "Power 0.8 is that of detecting a true gain of the margin by the verdict's test of pairs. "
        "The verdict also asks for an estimate of at least the margin, so it adopts an arm whose "
        "true gain is just the margin in about half of all studies.",
        highlight=False,
    )


def done_so_far(spec: Spec, study: StudyFolder) -> str:
    runs = collect(spec, study).runs
    done = sum(run.outcome is not None for run in runs)
    return f"Of the {len(runs)} runs known, {done} are done. " if done else ""


def money(spec: Spec, hours: float) -> str:
    if not spec.prices.hour:
        return ""
    return f"Money: {hours * spec.prices.hour:.2f} {spec.prices.currency}. "


def unit_name(spec: Spec) -> str:
    """The unit of budgets; of money its currency."""
    return spec.prices.currency if spec.budgets.unit == "money" else spec.budgets.unit


def models_table(found: list) -> Table:
    table = Table(title="models (from a short run of each)")
    for name in ("arm", "depth", "width", "parameters", "GiB", "runs", "updates", "hours"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for one in found:
        table.add_row(
            one.arm, one.depth, str(one.width), f"{one.parameters:,}", f"{one.memory / GIB:.2f}",
            str(one.runs), f"{one.updates:,}", f"{one.hours:.1f}",
        )  # fmt: skip
    return table


def runs_table(spec: Spec, study: StudyFolder) -> Table:
    """The runs that are known; what tuning decides is not, until it is done."""
    table = Table(title="runs")
    names = ("arm", "depth", "width", "data", "for", "values", "seeds", unit_name(spec), "updates")
    for name in names:
        table.add_column(name)
    plan = plan_so_far(spec, records_of(spec, study))
    groups: dict = {}
    for run in plan.runs:
        key = (run.cell, run.role, values_name(run.values), run.budget, run.updates)
        groups.setdefault(key, []).append(run.seed)
    for (cell, role, values, budget, updates), seeds in groups.items():
        depth = depth_name(cell.depth, spec.task)
        row = [cell.arm, depth, str(cell.width), f"{cell.fraction:g}", role, values]
        table.add_row(*row, " ".join(map(str, seeds)), f"{budget:g}", f"{updates:,}")
    if plan.open:
        table.caption = (
            f"judging runs (seeds {' '.join(map(str, spec.seeds))}; "
            f"{', '.join(f'{one:g}' for one in spec.budgets.values)} {unit_name(spec)}) "
            f"{'may follow' if plan.waits_for_stage else 'follow'} once {plan.open} is done"
        )
    return table


def seeds_table(spec: Spec, study: StudyFolder) -> Table:
    findings = collect(spec, study)
    margin = f"{spec.criteria.margin:g} {spec.criteria.metric}"
    table = Table(title=f"seeds an arm that detect a gain of {margin} with power 0.8")
    for name in ("sd over seeds", "as the only comparison", "as the first of all depths (Holm)"):
        table.add_column(name, justify="right")
    for sd, alone, first in power_table(spec, findings):
        table.add_row(f"{sd:.2g}", str(alone), str(first))
    table.caption = f"the spec has {len(spec.seeds)} seeds"
    return table
