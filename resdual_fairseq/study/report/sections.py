"""The detail behind the first page, section by section."""

from __future__ import annotations

from typing import Dict, List, Tuple

from ..analysis.table import Note
from ..planning.repeating import settings
from . import cost_tables, failures, limits, options, quality_tables, spending, translations, tuned
from .analysis import Analysis
from .formats import gain, level
from .page import Block, Commands, Items, Paragraph, Picture, Section, Table
from .places import budget_name, values_name
from .texts import Texts


def sections(analysis: Analysis, say: Texts, pictures: Dict[str, Picture]) -> List[Section]:
    parts: Dict[str, List[Block]] = {
        "depth": [
            quality_tables.depth_table(analysis, say),
            *(pictures[name] for name in ("gain", "arm_gains") if name in pictures),
        ],
        "budget": [
            *([pictures["budgets"]] if "budgets" in pictures else []),
            *gains_over_time(analysis, say),
        ],
        "data": [pictures["data"]] if len(analysis.fractions) > 1 else [],
        "comparisons": [
            Paragraph(say("comparisons_how", baseline=analysis.baseline)),
            *quality_tables.two_intervals(analysis, say),
            *quality_tables.comparison_tables(analysis, say),
            *quality_tables.sentence_tests(analysis, say),
        ],
        "metrics": [
            quality_tables.second_metrics(analysis, say),
            *quality_tables.signatures(analysis, say),
        ],
        "tuning": tuned.blocks(analysis, say, pictures),
        "curves": [pictures["curves"]],
        "failures": failures.blocks(analysis, say),
        "costs": [
            *cost_tables.blocks(analysis, say),
            *spending.target_blocks(analysis, say),
            *spending.spending_blocks(analysis, say),
        ],
        "options": options.blocks(analysis, say),
        "translations": translations.blocks(analysis, say),
        "limits": [Items(limits.sentences(analysis, say))],
        "runs": [
            quality_tables.runs_table(analysis, say),
            quality_tables.tuning_table(analysis, say),
        ],
        "environment": environment(analysis, say),
        "commands": commands(analysis, say),
    }
    return [Section(name, say("section_" + name), found) for name, found in parts.items() if found]


def gains_over_time(analysis: Analysis, say: Texts) -> List[Block]:
    """The candidate's gain from the smallest budget to the largest, a sentence a depth."""
    found = []
    for depth in analysis.depths:
        gains = gains_at(analysis, say, depth)
        if len(gains) > 1:
            found.append(say("gains_over_time", depth=depth, gains=say.listed(gains)))
    if not found:
        return []
    metric = say("metric_" + analysis.metric)
    words = {"candidate": analysis.candidate, "baseline": analysis.baseline, "metric": metric}
    return [Paragraph(say("gains_over_time_how", **words)), Items(found)]


def gains_at(analysis: Analysis, say: Texts, depth: str) -> List[str]:
    gains = []
    for budget in analysis.budgets:
        found = analysis.comparison(analysis.candidate, analysis.at(depth, budget=budget))
        if found is not None and found.gain is not None:
            at = budget_name(analysis, say, budget)
            gains.append(say("gain_at", gain=gain(found.gain, analysis.metric), budget=at))
    return gains


def environment(analysis: Analysis, say: Texts) -> List[Block]:
    rows = [[name, value] for name, value in analysis.findings.environment.items()]
    head = [say("head_what"), say("head_its_value")]
    found: List[Block] = [Table(say("table_environment"), head, rows, "ll")] if rows else []
    if analysis.findings.notes:
        found += [
            Paragraph(say("notes")),
            Items([note_sentence(one, say) for one in analysis.findings.notes]),
        ]
    return found


def note_sentence(note: Note, say: Texts) -> str:
    """With what goes on, or the stage that ended the study, in the report's language."""
    named = {
        key: say.known("open_" + value.replace(" ", "_"), value)
        if key in ("what", "stage")
        else value
        for key, value in note.values.items()
    }
    return say("note_" + note.key, **named)


def commands(analysis: Analysis, say: Texts) -> List[Block]:
    """What repeats each run, folded by arm and depth."""
    groups: Dict[Tuple[str, ...], List[Tuple[str, Tuple[str, ...]]]] = {}
    for run in analysis.findings.runs:
        if run.commands:
            key = (run.cell.arm, run.cell.depth, say("role_" + run.role))
            cell = run.cell
            size = [f"{say('head_width')} {cell.width}"] if len(analysis.widths) > 1 else []
            size += [level(cell.fraction)] if len(analysis.fractions) > 1 else []
            title = say(
                "run_title",
                values=say.listed([*size, values_name(run.values)]),
                seed=run.seed,
                budget=budget_name(analysis, say, run.budget),
                task=run.task,
            )
            groups.setdefault(key, []).append((title, run.commands))
    if not groups:
        return [Paragraph(say("no_commands"))]
    first = Commands(say("commands_first"), [("", settings(analysis.spec))])
    found: List[Block] = [Paragraph(say("commands_how")), first]
    for (arm, depth, role), parts in groups.items():
        title = say("commands_title", arm=arm, depth=depth, role=role, n=len(parts))
        found.append(Commands(title, parts))
    return found
