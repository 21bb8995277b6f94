"""Protects what a plan foretells and measures: time, money, seeds, speeds, costs."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import optuna
import pytest
from helpers import studies
from helpers.findings import BASELINE, CANDIDATE, made_findings
from helpers.studies import done, planned

from resdual_fairseq.files import write_json
from resdual_fairseq.study.analysis.table import Note, Spent
from resdual_fairseq.study.engine.tasks import sealed
from resdual_fairseq.study.optuna_export import export_to_optuna
from resdual_fairseq.study.planning import estimates, printing
from resdual_fairseq.study.planning.findings import collect


def test_no_learning_rate_has_a_part_in_a_calibration(tmp_path: Path) -> None:
    """Neither a huge one fails there for all others, nor does an edited grid change budgets."""
    calibrations = []
    for rates in ([1000.0, 0.01], [0.003, 0.01]):
        search = {"values": {"lr": rates, "dropout": [0.1, 0.2]}}
        tasks = planned(studies.write_spec(tmp_path, search=search))[2].tasks.values()
        calibrations.append([task for task in tasks if task.kind == "calibrate"])
    assert [task.name for task in calibrations[0]] == [task.name for task in calibrations[1]]
    for task in calibrations[0]:
        rate = task.arguments[task.arguments.index("--lr") + 1]
        assert float(rate) < 1e-5 and "--dropout" in task.arguments


@pytest.mark.parametrize(("unit", "load", "told"), [
    ("hours", 0.8, True), ("money", 0.8, True), ("hours", 0.01, False), ("epochs", 0.8, False),
])  # fmt: skip
def test_speeds_beside_other_work_are_told_where_budgets_hang_on_them(
    tmp_path: Path, unit: str, load: float, told: bool
) -> None:
    budgets = {"unit": unit, "values": [1]}
    path = studies.write_spec(tmp_path, budgets=budgets, prices={"hour": 1.0})
    spec, study, _ = planned(path, {"other_load": load})
    notes = [note for note in collect(spec, study).notes if note.key == "speed_busy"]
    assert notes == ([Note("speed_busy", {"cores": "0.8"})] if told else [])


def test_speeds_of_two_machines_leave_quality_open(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, budgets={"unit": "hours", "values": [1]})
    spec, study, plan = planned(path)
    name = next(iter(plan.calibrations.values()))
    record = {**study.records()[name], "host": {"processor": "another"}}
    write_json(study.folder(name) / "result.json", sealed(record))
    findings = collect(spec, study)
    assert Note("speed_hosts") in findings.notes and findings.has_disturbed_budgets


@pytest.mark.parametrize(("margin", "metric"), [(0.5, "bleu"), (0.02, "valid_loss")])
def test_the_table_of_seeds_goes_by_the_margin(tmp_path: Path, margin: float, metric: str) -> None:
    criteria = {**studies.SPEC["criteria"], "metric": metric, "margin": margin}
    spec, study, _ = planned(studies.write_spec(tmp_path, criteria=criteria))
    rows = estimates.power_table(spec, collect(spec, study))
    assert [sd / margin for sd, _, _ in rows] == pytest.approx([0.2, 0.5, 1.0, 2.0])
    assert [alone for _, alone, _ in rows] == [3, 7, 18, 65]


def test_other_threads_are_measured_anew(tmp_path: Path) -> None:
    """And trained models are the same, on which speed has no influence."""
    names = []
    for threads in (1, 4):
        plan = planned(studies.write_spec(tmp_path, threads=threads, measure=True))[2]
        kinds = ("calibrate", "train", "measure")
        names.append({kind: set(studies.named(plan.tasks.values(), kind)) for kind in kinds})
    assert names[0]["train"] == names[1]["train"]
    for kind in ("calibrate", "measure"):
        assert names[0][kind] and not names[0][kind] & names[1][kind]


def test_costs_with_intervals_of_another_level_are_measured_anew(tmp_path: Path) -> None:
    plans = [
        planned(
            studies.write_spec(
                tmp_path, criteria={**studies.SPEC["criteria"], **more}, measure=True
            )
        )[2]
        for more in ({}, {"level": 0.95}, {"level": 0.6})
    ]
    first, same, other = (set(studies.named(plan.tasks.values(), "measure")) for plan in plans)
    assert first == same and not first & other
    assert plans[0].calibrations == plans[2].calibrations


def test_a_plan_speaks_of_money_in_its_currency(tmp_path: Path) -> None:
    budgets = {"unit": "money", "values": [0.01]}
    prices = {"hour": 0.1, "currency": "JPY"}
    spec, study, _ = planned(studies.write_spec(tmp_path, budgets=budgets, prices=prices))
    table = printing.runs_table(spec, study)
    assert "0.01 JPY) follow" in str(table.caption)
    assert "JPY" in [column.header for column in table.columns]


@pytest.mark.slow
def test_every_task_is_paid_for_once(tmp_path: Path) -> None:
    """Budgets share a trunk, and a task that failed or was tried again was paid for, too."""
    path = studies.write_spec(tmp_path, **{"depths": [2], "search": {"values": {"lr": [0.001]}}})

    def evaluate(attempt: Any) -> Any:
        if attempt.number == 1:
            return studies.Ending("killed", "from outside"), {}
        return studies.evaluate(attempt)

    studies.work(path, evaluate=evaluate)
    spec, study = studies.study_of(path)
    for name, one in study.records().items():
        (study.folder(name) / "result.json").unlink()
        study.write({**one, "seconds": 10.0 * len(one["attempts"])})
    spent = collect(spec, study).spent
    rows = collect(spec, study).runs
    assert sum(sum(run.failures.values()) for run in rows) == 8  # each test once
    # Tuning: trunk and branch. Judging: two seeds, each two parts of a trunk, two branches, and two
    # tests that were tried twice.
    assert spent == {arm: Spent(20.0, 2 * (20.0 + 20.0 + 40.0)) for arm in ("pre", "resdual")}


@pytest.mark.slow
def test_estimates_count_every_update(tmp_path: Path) -> None:
    """Against the plan of the finished study."""
    path = studies.write_spec(tmp_path)
    spec, study, plan = done(path)
    for one in estimates.estimates(spec, plan, study.records()):
        trained: Dict[str, int] = {}
        for run in plan.runs:
            if (run.cell.arm, f"{run.cell.depth}+{run.cell.depth}") == (one.arm, one.depth):
                ends = [0, *(plan.tasks[name].inputs["updates"] for name in run.train)]
                trained.update({n: b - a for n, a, b in zip(run.train, ends, ends[1:])})
        assert one.updates == sum(trained.values())
        assert one.parameters == 1000


def test_a_run_that_was_killed_from_outside_is_no_trial_for_optuna(tmp_path: Path) -> None:
    findings = made_findings(losses={CANDIDATE: [2.3, 2.1, 2.0], BASELINE: [2.2, 2.0, 1.9]})
    ends = itertools.cycle(("completed", "killed", "diverged"))
    runs = [replace(run, outcome=next(ends)) for run in findings.runs if run.role == "tuning"]
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    kept = [run for run in runs if run.outcome != "killed"]
    assert export_to_optuna(replace(findings, runs=runs), storage) == len(kept) == 4
    told = [
        trial.user_attrs["outcome"]
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]
    assert sorted(told) == ["completed", "completed", "diverged", "diverged"]
