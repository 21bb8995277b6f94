"""From the plan and the records to the rows that statistics, verdict and report read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from .. import lock
from ..analysis.table import Cell, Findings, Note, Run, Spent
from ..engine.attempts import run_folder
from ..engine.tasks import Record, StudyFolder, Task
from ..measuring import costs
from ..spec.keys import Spec
from ..spec.parts import depth_name
from ..work import data, evaluating
from .planned import Plan, PlannedRun, Records, failed, outcome
from .repeating import shell_commands
from .so_far import plan_so_far
from .todo import records_of

TRAINING_AND_TEST = ("train", "evaluate")
"""Kinds of tasks whose time is that of the study; costs are measured apart."""

NOT_STARTED = "not started, since the calibration of this model ended so: "


def collect(spec: Spec, study: StudyFolder) -> Findings:
    """What a study has found so far."""
    records = records_of(spec, study)
    plan = plan_so_far(spec, records)
    used = [records[name] for name in plan.tasks if name in records]
    measures = [one for one in used if one["task"]["kind"] == "measure" and one["found"]]
    measured = [one["found"] for one in measures]
    return Findings(
        spec=spec,
        runs=list(rows(spec, plan, records, study)),
        costs=[cost for one in measured for cost in costs.costs_of(one)],
        untrained_loss=plan.untrained,
        environment=environment(used),
        spent=spent(spec, plan, records),
        unused_seconds=0.0 if plan.open else unused(plan, study.records()),
        changes=lock.history(spec, study),
        sources=lines(test_text(spec, study, plan, "source")),
        references=lines(test_text(spec, study, plan, "target")),
        notes=tuple(notes(spec, plan, records, measured)),
        untuned=tuple(named(cell, spec) for cell in plan.untuned),
        stopped=plan.stopped,
        cost_processors=tuple(
            dict.fromkeys(
                one["host"][part]
                for one in measures
                for part in ("processor", "gpu")
                if part in one["host"]
            )
        ),
    )


def rows(spec: Spec, plan: Plan, records: Records, study: StudyFolder) -> Iterator[Run]:
    """What came of every run; the failures of a task that several share are told of the first."""
    told: Set[str] = set()
    for run in plan.runs:
        own = {*run.train, run.last} - told
        told |= own
        ended = failures([records[name] for name in own if name in records])
        yield replace(row_of(run, spec, plan, records, study), failures=ended)


def row_of(run: PlannedRun, spec: Spec, plan: Plan, records: Records, study: StudyFolder) -> Run:
    record = outcome(run, records)
    train = [records[name] for name in run.train if name in records]
    found: Mapping[str, Any] = train[-1]["found"] if len(train) == len(run.train) else {}
    judged: Mapping[str, Any] = records[run.last]["found"] if run.evaluate in records else {}
    parts = dict.fromkeys([*run.train, run.last])
    hypotheses = run_folder(study.folder(run.last)) / evaluating.HYPOTHESES
    return Run(
        cell=named(run.cell, spec),
        role=run.role,
        values=run.values,
        seed=run.seed,
        budget=run.budget,
        updates=run.updates,
        outcome=record["outcome"] if record else None,
        detail=detail(run, record),
        valid_loss=found.get("valid_loss") if record else None,
        curve=curve(train[: len(run.train) - 1]),
        scores=dict(judged.get("scores", {})),
        signatures=dict(judged.get("signatures", {})),
        sentences=evaluating.unpacked(judged["sentences"]) if "sentences" in judged else None,
        hypotheses=hypotheses if evaluating.are_those_scored(hypotheses, judged) else None,
        seconds=float(found.get("seconds_in_all") or sum(one.get("seconds", 0) for one in train))
        if run.updates
        else 0.0,
        task=run.last,
        commands=tuple(shell_commands(spec, list(parts), plan, study)),
    )


def named(cell: Cell, spec: Spec) -> Cell:
    return cell._replace(depth=depth_name(cell.depth, spec.task))


def detail(run: PlannedRun, record: Optional[Record]) -> str:
    """One sentence on a failure; the cause may be that the model could not be calibrated."""
    if record is None or not failed(record):
        return ""
    return record["detail"] if run.updates else f"{NOT_STARTED}{record['detail']}"


def curve(trunk: List[Record]) -> Tuple[Tuple[int, float], ...]:
    """Updates and validation losses while the rate was constant."""
    return tuple(
        (updates, loss) for record in trunk for updates, loss in record["found"].get("valid", [])
    )


def failures(records: List[Record]) -> Dict[str, int]:
    """Attempts that ended otherwise than the record says."""
    ended = Counter(
        one for record in records for one in record["attempts"] if one != record["outcome"]
    )
    return {one: count for one, count in ended.items() if one not in ("stopped", "disk full")}


def environment(used: List[Record]) -> Dict[str, str]:
    """Machines and versions of the records, with how many come from each where they differ."""
    found: Dict[str, Counter[str]] = {}
    for record in used:
        for name, value in {**record["host"], **record["versions"]}.items():
            found.setdefault(name, Counter())[str(value)] += 1
    return {
        name: next(iter(values)) if len(values) == 1
        else "; ".join(f"{value} ({count} tasks)" for value, count in sorted(values.items()))
        for name, values in found.items()
    }  # fmt: skip


def spent(spec: Spec, plan: Plan, records: Records) -> Dict[str, Spent]:
    """Seconds by arm; of a machine that was killed with its work, what was written down."""
    lost: Set[str] = set()
    kept: Set[str] = set()
    for run in plan.runs:
        (lost if failed(outcome(run, records)) else kept).update((*run.train, run.last))
    found: Dict[str, Spent] = {}
    for name, task in plan.tasks.items():
        if task.kind in TRAINING_AND_TEST and name in records:
            seconds = float(records[name].get("seconds", 0.0))
            before = found.get(task.arm, Spent())
            part = "tuning" if is_of_tuning(spec, task) else "judging"
            after = before._replace(**{part: getattr(before, part) + seconds})
            if name in lost - kept:
                after = after._replace(failed=after.failed + seconds)
            found[task.arm] = after
    return found


def is_of_tuning(spec: Spec, task: Task) -> bool:
    """By its seed, which is never one of judging: a trunk may have no run in the table yet."""
    words = task.arguments
    return task.kind == "train" and int(words[words.index("--seed") + 1]) in spec.search.seeds


def unused(plan: Plan, records: Records) -> float:
    """Seconds of training and test that no run of this spec has a part of."""
    return sum(
        float(record.get("seconds", 0.0))
        for name, record in records.items()
        if name not in plan.tasks and record["task"]["kind"] in TRAINING_AND_TEST
    )


def notes(
    spec: Spec, plan: Plan, records: Records, measured: List[Mapping[str, Any]]
) -> List[Note]:
    found = []
    if plan.stopped:
        found.append(Note("stopped", {"stage": plan.stopped}))
    if plan.open:
        found.append(Note("not_all_known", {"what": plan.open}))
        found += notes_of_untuned(spec, plan, records)
    if spec.budgets.is_timed:
        found += notes_of_speeds([records[n] for n in plan.calibrations.values() if n in records])
    found += notes_of_costs(measured)
    return found


def notes_of_untuned(spec: Spec, plan: Plan, records: Records) -> List[Note]:
    """Where arms are judged while others are still tuned."""
    judged = {
        (run.cell.depth, run.cell.width) for run in plan.runs
        if run.role == "judging" and run.updates > 0 and outcome(run, records) is not None
    }  # fmt: skip
    arms: Dict[str, List[str]] = {}
    for cell in plan.untuned:
        if (cell.depth, cell.width) in judged:
            size = f"{depth_name(cell.depth, spec.task)} x {cell.width}"
            arms.setdefault(size, []).append(cell.arm)
    return [
        Note(
            "untuned" if spec.search.can_grow else "untuned_apart",
            {"size": size, "arms": ", ".join(names)},
        )
        for size, names in arms.items()
    ]


def notes_of_costs(measured: List[Mapping[str, Any]]) -> List[Note]:
    """At which sizes other work was done meanwhile, and what failed."""
    found = []
    disturbed = [one for one in measured if one["busy"]]
    if disturbed:
        cores = max(max(one["idle"]) for one in disturbed)
        rows = [row for one in disturbed for row in (*one["costs"], *one["failed"])]
        sizes = ", ".join(dict.fromkeys(f"{row['depth']} x {row['width']}" for row in rows))
        values = {"cores": f"{cores:.1f}", "sizes": sizes, "command": costs.AGAIN}
        found.append(Note("busy", values))
    for one in measured:
        failed = {(each["arm"], each["depth"]): each["detail"] for each in one["failed"]}
        found += [
            Note("cost_failed", {"arm": arm, "depth": depth, "detail": detail})
            for (arm, depth), detail in failed.items()
        ]
    return found


def notes_of_speeds(calibrations: List[Record]) -> List[Note]:
    """What makes the updates of equal hours or money doubtful."""
    found = []
    load = max((one["found"].get("other_load", 0.0) for one in calibrations), default=0.0)
    if load > costs.BUSY:
        found.append(Note("speed_busy", {"cores": f"{load:.1f}"}))
    if len({tuple(sorted(one["host"].items())) for one in calibrations}) > 1:
        found.append(Note("speed_hosts"))
    return found


def test_text(spec: Spec, study: StudyFolder, plan: Plan, side: str) -> Optional[Path]:
    """The plain text of one side of the test set, where there is one."""
    data = spec.data
    if data.text is None:
        return data.source if side == "source" else data.reference
    name = next((name for name, task in plan.tasks.items() if task.kind == "prepare"), None)
    output = study.output(name, "prepare") if name else None
    language = data.source_lang if side == "source" else data.target_lang
    return output.parent / "text" / f"test.{language}" if output else None


def lines(path: Optional[Path]) -> Tuple[str, ...]:
    if path is None or not path.is_file():
        return ()
    return tuple(data.lines_of_text(path))
