"""Every run that failed, and every attempt that was ended from outside."""

from __future__ import annotations

from collections import Counter
from typing import List, Sequence

from ..analysis.table import Run
from .analysis import Analysis
from .formats import level, plain
from .page import Block, Paragraph, Table
from .places import unit_name, values_name
from .texts import Texts

OUTCOMES = (
    "completed",
    "diverged",
    "overflow",
    "out of memory",
    "out of time",
    "crashed",
    "killed",
)


MANY = 20
"""Rows from which on a table opens on a click."""


def outcome_name(outcome: str, say: Texts) -> str:
    return say.known("outcome_" + outcome.replace(" ", "_"), outcome)


def counted(runs: Sequence[Run], say: Texts) -> str:
    """How these runs ended, with how many of each."""
    counts = Counter(str(run.outcome) for run in runs)
    return say.listed([f"{outcome_name(name, say)} {count}" for name, count in counts.items()])


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """The section on failures."""
    ended_badly = [r for r in analysis.findings.runs if r.outcome not in (None, "completed")]
    found: List[Block] = [outcomes_table(analysis, say)]
    if ended_badly:
        found.append(failures_table(analysis, say, ended_badly))
    else:
        found.append(Paragraph(say("no_failures")))
    retried = [run for run in analysis.findings.runs if run.failures]
    found.append(retried_table(analysis, say, retried) if retried else Paragraph(say("no_retries")))
    return found


def outcomes_table(analysis: Analysis, say: Texts) -> Table:
    """How many runs of each arm and depth ended how."""
    rows = []
    present = {run.outcome for run in analysis.findings.runs}
    columns = [name for name in OUTCOMES if name in present or name == "completed"]
    for depth in analysis.depths:
        for arm in analysis.arms:
            for role in ("tuning", "judging"):
                own = [
                    run
                    for run in analysis.findings.runs
                    if (run.role, run.cell.arm, run.cell.depth) == (role, arm, depth)
                ]
                counts = Counter(run.outcome for run in own)
                numbers = [counts[name] for name in columns]  # type: ignore[index]
                cells = [str(n or "") for n in (*numbers, counts[None])]
                rows.append([depth, arm, say("role_" + role), str(len(own)), *cells])
    names = [say("head_" + name) for name in ("depth", "arm", "role", "runs")]
    names += [*(outcome_name(name, say) for name in columns), say("outcome_open")]
    return Table(say("table_outcomes"), names, rows, "lll" + "r" * (len(names) - 3))


def failures_table(analysis: Analysis, say: Texts, runs: Sequence[Run]) -> Table:
    rows = [
        [
            *identity(analysis, run, say),
            outcome_name(str(run.outcome), say),
            say.translated(run.detail),
        ]
        for run in runs
    ]
    head = [*identity_head(analysis, say), say("head_outcome"), say("head_detail")]
    align = identity_align(analysis) + "ll"
    return Table(say("table_failures"), head, rows, align, folded=len(rows) > MANY)


def retried_table(analysis: Analysis, say: Texts, runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        attempts = [f"{outcome_name(name, say)} {n}" for name, n in run.failures.items()]
        rows.append([*identity(analysis, run, say), say.listed(attempts), end_of(run, say)])
    head = [*identity_head(analysis, say), say("head_attempts"), say("head_outcome")]
    return Table(say("table_retried"), head, rows, identity_align(analysis) + "ll")


def end_of(run: Run, say: Texts) -> str:
    return say("outcome_open") if run.outcome is None else outcome_name(run.outcome, say)


def identity(analysis: Analysis, run: Run, say: Texts) -> List[str]:
    """Which run it is; width and data where they vary, updates where the budget is not they."""
    cell = run.cell
    found = [cell.arm, cell.depth]
    found += [str(cell.width)] if len(analysis.widths) > 1 else []
    found += [level(cell.fraction)] if len(analysis.fractions) > 1 else []
    return [
        *found,
        say("role_" + run.role),
        values_name(run.values),
        str(run.seed),
        plain(run.budget),
        *([f"{run.updates:,}"] if has_updates(analysis) else []),
    ]


def has_updates(analysis: Analysis) -> bool:
    """Whether a run's updates are worth telling: they may differ between arms at one budget."""
    return analysis.spec.budgets.unit != "updates"


def identity_head(analysis: Analysis, say: Texts) -> List[str]:
    names = ["arm", "depth"]
    names += ["width"] if len(analysis.widths) > 1 else []
    names += ["fraction"] if len(analysis.fractions) > 1 else []
    return [say("head_" + name) for name in (*names, "role", "values", "seed")] + [
        budget_head(analysis, say),
        *([say("head_updates")] if has_updates(analysis) else []),
    ]


def identity_align(analysis: Analysis) -> str:
    further = (len(analysis.widths) > 1) + (len(analysis.fractions) > 1)
    return "ll" + "r" * further + "llrr" + "r" * has_updates(analysis)


def budget_head(analysis: Analysis, say: Texts) -> str:
    unit = unit_name(analysis, say)
    return say("head_budget", unit=unit)
