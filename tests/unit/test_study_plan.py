"""Protects the plan: equal trials for all arms, names of tasks, budgets, shares of the data."""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np
import pytest
from fairseq.data import indexed_dataset
from helpers import studies
from helpers.commands import preprocess, write_reversals

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study import records
from resdual_fairseq.study.analysis.table import Cell, Note, Spent
from resdual_fairseq.study.analysis.verdict import judge
from resdual_fairseq.study.engine.tasks import StudyFolder, Task, sealed, write_json
from resdual_fairseq.study.measuring import costs
from resdual_fairseq.study.planning import estimates, printing, repeating, search
from resdual_fairseq.study.planning.findings import NOT_STARTED, collect
from resdual_fairseq.study.planning.planned import Plan
from resdual_fairseq.study.planning.todo import make_plan
from resdual_fairseq.study.spec import search_space
from resdual_fairseq.study.spec.keys import Spec
from resdual_fairseq.study.spec.search_space import Range, Search
from resdual_fairseq.study.work import data

CELLS = [Cell(arm, "6", 32, 1.0) for arm in ("pre", "resdual")]


def planned(path: Path, found: Optional[Dict[str, Any]] = None) -> Tuple[Spec, StudyFolder, Plan]:
    """The plan of a study whose calibrations are done."""
    spec, study = studies.study_of(path)
    for task in make_plan(spec, {}).tasks.values():
        if task.kind == "calibrate":
            values = {**studies.calibrate(None)[1], **(found or {})}  # type: ignore[arg-type]
            study.write(studies.record(task, values))
    return spec, study, make_plan(spec, study.records())


def done(path: Path) -> Tuple[Spec, StudyFolder, Plan]:
    studies.work(path)
    spec, study = studies.study_of(path)
    return spec, study, make_plan(spec, study.records())


@pytest.mark.slow
def test_every_arm_gets_the_same_trials_seeds_and_data(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    rows: Dict[str, List[Any]] = {"pre": [], "resdual": []}
    for run in plan.runs:
        tuned = run.values if run.role == "tuning" else None
        rows[run.cell.arm].append((run.cell[1:], run.role, tuned, run.seed, run.budget))
    assert rows["pre"] == rows["resdual"]
    assert len(rows["pre"]) == 2 * (3 + 2 * 2)
    judged = [run for run in plan.runs if run.role == "judging"]
    assert {run.seed for run in judged} == {101, 102}
    assert all(run.evaluate for run in judged)
    assert not any(run.evaluate for run in plan.runs if run.role == "tuning")


@pytest.mark.slow
def test_judged_runs_have_the_values_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    assert {run.values["lr"] for run in plan.runs if run.role == "judging"} == {0.001}


@pytest.mark.slow
def test_budgets_are_branches_of_one_trunk(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    short, long = (
        next(r for r in plan.runs if r.role == "judging" and r.budget == budget)
        for budget in (20, 40)
    )
    assert long.train[0] == short.train[0]
    assert [plan.tasks[name].inputs["updates"] for name in short.train] == [16, 20]
    assert [plan.tasks[name].inputs["updates"] for name in long.train] == [16, 32, 40]
    branch = plan.tasks[long.train[-1]].arguments
    assert branch[branch.index("--lr-scheduler") + 1] == "polynomial_decay"
    assert branch[-6:] == (
        "--warmup-updates", "32", "--total-num-update", "40", "--max-update", "40",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "value", "updates"),
    [
        ("updates", 40, 40), ("epochs", 4, 40), ("tokens", 20000, 40), ("flops", 4e10, 40),
        ("hours", 1 / 180, 40), ("money", 0.1 / 180, 40),
    ],
)  # fmt: skip
def test_budgets_in_every_unit(tmp_path: Path, unit: str, value: float, updates: int) -> None:
    budgets = {"unit": unit, "values": [value]}
    path = studies.write_spec(tmp_path, budgets=budgets, prices={"hour": 0.1})
    _, _, plan = planned(path)
    assert {run.updates for run in plan.runs} == {updates}


def test_a_name_changes_with_all_that_decides_and_with_nothing_else() -> None:
    base = Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "p"}, "label", "arm")
    names = {
        base.name,
        Task("evaluate", ("--lr", "1"), {"data": "a"}, {"parent": "p"}).name,
        Task("train", ("--lr", "2"), {"data": "a"}, {"parent": "p"}).name,
        Task("train", ("--lr", "1"), {"data": "b"}, {"parent": "p"}).name,
        Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "q"}).name,
        Task("train", ("--lr", "1"), {"data": "a"}, {"data": "p"}).name,
    }
    assert len(names) == 6
    assert base.name == Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "p"}, "other").name


def test_equal_numbers_are_one_run_however_they_are_written(tmp_path: Path) -> None:
    names = []
    for lr in ("1e-3", 0.001, "0.0010"):
        path = studies.write_spec(tmp_path, search={"values": {"lr": [lr]}})
        names.append(set(planned(path)[2].tasks))
    assert names[0] == names[1] == names[2]


@pytest.mark.slow
def test_results_are_used_after_the_spec_was_edited_where_their_name_holds(tmp_path: Path) -> None:
    studies.work(studies.write_spec(tmp_path))
    before = studies.results(tmp_path / "study.yaml")
    more = studies.write_spec(tmp_path, seeds=[101, 102, 103])
    spec, study = studies.study_of(more)
    plan = make_plan(spec, study.records())
    old = [run for run in plan.runs if run.seed != 103]
    assert all(run.last in before for run in old) and len(old) < len(plan.runs)
    other = studies.write_spec(tmp_path, training=studies.SPEC["training"] + " --dropout 0.3")
    spec, study = studies.study_of(other)
    assert not set(make_plan(spec, study.records()).tasks) & set(before)


def test_changed_data_change_every_name(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    before = set(make_plan(*with_records(path)).tasks)
    (tmp_path / "data-bin" / "test.src-tgt.src.idx").write_text("another test set")
    assert set(make_plan(*with_records(path)).tasks) == before
    (tmp_path / "data-bin" / "train.src-tgt.src.idx").write_text("other text")
    assert not set(make_plan(*with_records(path)).tasks) & before


def with_records(path: Path) -> Tuple[Spec, Dict[str, Any]]:
    spec, study = studies.study_of(path)
    return spec, study.records()


def test_an_edge_extends_the_grid_for_every_arm() -> None:
    asked = []

    def loss(cell: Cell, values: search_space.Values) -> float:
        asked.append((cell.arm, values["lr"]))
        best = 0.0005 if cell.arm == "pre" else 0.002
        return abs(math.log(float(values["lr"]) / best))

    grid = Search(values={"lr": [0.001, 0.002, 0.004]}, extend=2)
    assert search.best(grid, CELLS, loss) == {"pre": {"lr": 0.0005}, "resdual": {"lr": 0.002}}
    for arm in ("pre", "resdual"):
        assert {lr for one, lr in asked if one == arm} == {0.00025, 0.0005, 0.001, 0.002, 0.004}


@pytest.mark.parametrize("rates", [[0.001, 0.002, 0.004], [0.004, 0.002, 0.001]])
def test_an_arm_that_never_trains_makes_no_grid_grow(rates: List[Any]) -> None:
    grid = Search(values={"lr": rates}, extend=2)

    def loss(cell: Cell, values: Dict[str, Any]) -> float:
        tried.add(values["lr"])
        return 10.0 if cell.arm == "pre" else abs(math.log(values["lr"] / 0.002))

    tried: Set[float] = set()
    assert search.best(grid, CELLS, loss, untrained=10.0)["resdual"] == {"lr": 0.002}
    assert tried == set(rates)


def test_a_grid_does_not_grow_for_ever_nor_before_it_is_done() -> None:
    def falling(cell: Cell, values: search_space.Values) -> float:
        return -float(values["lr"])

    found = search.best(Search(values={"lr": [1, 2, 4]}, extend=1), CELLS, falling)
    assert found["pre"] == {"lr": 8}

    def unknown(cell: Cell, values: search_space.Values) -> Optional[float]:
        return None if values["lr"] == 2 and cell.arm == "pre" else -float(values["lr"])

    assert search.best(Search(values={"lr": [1, 2, 4]}), CELLS, unknown) == {}


@pytest.mark.parametrize(
    ("name", "numbers", "best", "grown"),
    [
        ("dropout", [0.1, 0.3], 0.3, [0.1, 0.3, 0.5]),
        ("dropout", [0.3, 0.5, 0.9], 0.9, [0.3, 0.5, 0.9]),
        ("dropout", [0.0, 0.1], 0.1, [0.0, 0.1, 0.2]),
        ("dropout", [0.0, 0.1], 0.0, [0.0, 0.1]),
        ("weight-decay", [0.0, 0.01], 0.01, [0.0, 0.01, 0.02]),
        ("warmup-updates", [5, 10], 5, [2, 5, 10]),
        ("warmup-updates", [5, 10], 10, [5, 10]),
    ],
)
def test_a_grid_grows_to_values_that_can_be_trained_with(
    name: str, numbers: List[Any], best: Any, grown: List[Any]
) -> None:
    def fits(values: search_space.Values) -> bool:
        return float(values.get("warmup-updates", 0)) <= 16

    asked = []

    def loss(cell: Cell, values: search_space.Values) -> float:
        asked.append(values[name])
        return abs(float(values[name]) - best)

    search.best(Search(values={name: numbers}, extend=1), CELLS, loss, fits)
    assert sorted(set(asked)) == grown


@pytest.mark.slow
def test_a_warm_up_does_not_grow_out_of_the_smallest_budget(tmp_path: Path) -> None:
    values = {"lr": [0.001], "warmup-updates": [5, 10]}
    training = "--optimizer adam --max-tokens 1000"
    path = studies.write_spec(tmp_path, search={"values": values, "extend": 2}, training=training)
    plan = done(path)[2]
    assert not plan.open
    tried = {run.values["warmup-updates"] for run in plan.runs if run.role == "tuning"}
    assert max(tried) == 10


def test_a_range_of_warm_up_has_to_fit_before_anything_is_tuned(tmp_path: Path) -> None:
    ranges = {"lr": {"low": 0.001, "high": 0.01}, "warmup-updates": {"low": 3, "high": 400}}
    keys = {"search": {"method": "tpe", "ranges": ranges}, "training": "--optimizer adam"}
    path = studies.write_spec(tmp_path, **keys)
    with pytest.raises(ResDualError, match="a warm-up of 400 updates does not fit"):
        planned(path)


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


@pytest.mark.parametrize("method", ["sobol", "tpe"])
def test_whole_numbers_are_drawn_for_options_of_whole_numbers(method: str) -> None:
    ranges = {"warmup-updates": Range(low=2, high=8), "lr": Range(low=0.001, high=1)}
    settings = Search(method=method, ranges=ranges, trials=4)  # type: ignore[arg-type]
    asked: List[search_space.Values] = []

    def loss(cell: Cell, values: search_space.Values) -> float:
        asked.append(values)
        return float(values["lr"])

    search.best(settings, CELLS, loss)
    drawn = [values["warmup-updates"] for values in asked]
    assert all(isinstance(one, int) and 2 <= one <= 8 for one in drawn) and len(set(drawn)) > 1
    assert isinstance(search_space.first(settings)["warmup-updates"], int)
    assert not any(isinstance(values["lr"], int) for values in asked)


@pytest.mark.parametrize("method", ["sobol", "tpe"])
def test_drawn_points_are_alike_in_every_process_and_for_every_arm(method: str) -> None:
    settings = Search(
        method=method,  # type: ignore[arg-type]
        ranges={"lr": Range(low=1e-4, high=1e-2), "dropout": Range(low=0.1, high=0.3, log=False)},
        trials=4, generations=2,
    )  # fmt: skip
    runs = []
    for _ in range(2):
        asked: List[Tuple[str, search_space.Values]] = []

        def loss(cell: Cell, values: search_space.Values) -> float:
            asked.append((cell.arm, values))  # noqa: B023
            return float(values["lr"])

        best = search.best(settings, CELLS, loss)
        runs.append((best, asked))
    assert runs[0] == runs[1]
    each = [[values for arm, values in runs[0][1] if arm == one.arm] for one in CELLS]
    assert each[0] == each[1] and len(each[0]) == (4 if method == "sobol" else 8)
    assert all(1e-4 <= float(values["lr"]) <= 1e-2 for values in each[0])


@pytest.mark.slow
def test_a_diverged_trial_counts_with_the_untrained_loss(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, depths=[2])

    def train(attempt: Any) -> Any:
        if "0.001" in attempt.task.arguments:
            return studies.Ending("diverged", "validation loss 99.00 bits at update 32"), {}
        return studies.train(attempt)

    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    plan = make_plan(spec, study.records())
    assert {run.values["lr"] for run in plan.runs if run.role == "judging"} == {0.002}
    rows = collect(spec, study).runs
    failed = [run for run in rows if run.outcome == "diverged"]
    assert {run.values["lr"] for run in failed} == {0.001} and len(failed) == 2
    assert failed[0].detail.startswith("validation loss 99")


@pytest.mark.slow
def test_a_slow_trial_is_chosen_before_one_that_failed(tmp_path: Path) -> None:
    """Equal chances are 10 bits, where a slow one has not arrived yet."""
    path = studies.write_spec(tmp_path, depths=[2])

    def train(attempt: Any) -> Any:
        if "0.002" in attempt.task.arguments:
            found = studies.train(attempt)[1]
            return studies.Ending("completed"), {**found, "valid_loss": 12.0}
        return studies.Ending("diverged", "validation loss 99.00 bits at update 32"), {}

    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    plan = make_plan(spec, study.records())
    assert {run.values["lr"] for run in plan.runs if run.role == "judging"} == {0.002}


@pytest.mark.slow
def test_commands_read_the_share_of_the_data_that_a_run_had(tmp_path: Path) -> None:
    data = {**studies.SPEC["data"], "fractions": [0.5, 1.0]}
    path = studies.write_spec(tmp_path, depths=[2], data=data)

    def subset(attempt: Any) -> Any:
        (attempt.run / "data").mkdir()
        return studies.Ending("completed"), {}

    studies.work(path, subset=subset)
    spec, study = studies.study_of(path)
    (share,) = studies.named(make_plan(spec, study.records()).tasks.values(), "subset")
    assert "STUDY=FOLDER_OF_THIS_STUDY" in repeating.settings(spec)
    for run in collect(spec, study).runs:
        (*_, train, test) = [line for line in run.commands if "fairseq-" in line]
        read = f'"$STUDY"/tasks/{share}/run/data' if run.cell.fraction < 1 else '"$DATA"'
        assert train.startswith(f"fairseq-train {read} ") or run.role == "tuning"
        assert test.startswith('fairseq-generate "$DATA" ') or run.role == "tuning"


@pytest.mark.slow
def test_of_a_run_that_failed_all_parts_are_lost(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **{"depths": [2], "search": {"values": {"lr": [0.001]}}})

    def train(attempt: Any) -> Any:
        if "--total-num-update" in attempt.task.arguments and attempt.task.arm == "pre":
            return studies.Ending("out of time", "stopped at the limit of 1 hours"), {}
        return studies.train(attempt)

    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    for name, one in study.records().items():
        (study.folder(name) / "result.json").unlink()
        study.write({**one, "seconds": 10.0})
    findings = collect(spec, study)
    # Tuning: trunk and branch. Judging: two seeds, each two parts of a trunk and two branches.
    assert findings.spent["pre"] == Spent(20.0, 80.0, 100.0)
    assert findings.spent["resdual"].failed == 0
    seconds = [run.seconds for run in findings.runs if run.cell.arm == "pre"]
    assert sorted(seconds) == [20.0, 20.0, 20.0, 30.0, 30.0]


@pytest.mark.slow
def test_a_model_that_cannot_run_is_a_row_of_the_report(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)

    def calibrate(attempt: Any) -> Any:
        if "--residual" in attempt.task.arguments and "2" in attempt.task.arguments[4:]:
            return studies.Ending("out of memory", "stopped at the limit of 1 GiB"), {}
        return studies.calibrate(attempt)

    studies.work(path, calibrate=calibrate)
    rows = collect(*studies.study_of(path)).runs
    failed = [run for run in rows if run.outcome == "out of memory"]
    assert {run.cell.arm for run in failed} == {"pre"}
    assert {(run.updates, run.seconds, run.detail) for run in failed} == {
        (0, 0.0, f"{NOT_STARTED}stopped at the limit of 1 GiB")
    }


@pytest.mark.parametrize("spelt", ["--warmup-updates 17", "--warmup-updates=17"])
def test_a_warm_up_has_to_fit_into_the_smallest_budget(tmp_path: Path, spelt: str) -> None:
    training = studies.SPEC["training"].replace("--warmup-updates 4", spelt)
    with pytest.raises(ResDualError, match="a warm-up of 17 updates does not fit"):
        planned(studies.write_spec(tmp_path, training=training))


def test_a_warm_up_is_a_whole_number(tmp_path: Path) -> None:
    ranges = {"warmup-updates": {"low": 2, "high": 12.5}}
    training = studies.SPEC["training"].replace("--warmup-updates 4", "")
    search = {"method": "sobol", "ranges": ranges}
    path = studies.write_spec(tmp_path, training=training, search=search)
    with pytest.raises(ResDualError, match="is no whole number of --warmup-updates"):
        planned(path)


def test_pieces_of_words_are_not_scored(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    (tmp_path / "data-bin" / "dict.tgt.txt").write_text("hou@@ 3\nse 3\n")
    with pytest.raises(ResDualError, match="add --post-process subword_nmt"):
        make_plan(*with_records(path))
    path = studies.write_spec(tmp_path, decoding={"options": "--post-process subword_nmt"})
    assert make_plan(*with_records(path)).tasks


@pytest.mark.slow
def test_a_stage_stops_the_study_by_its_criterion(tmp_path: Path) -> None:
    stages = {"depth": {"seeds": 1, "stop_below": 1.0}}
    spec, study, plan = done(studies.write_spec(tmp_path, stages=stages))
    assert plan.stopped == "depth" and not plan.open
    assert {run.seed for run in plan.runs if run.role == "judging"} == {101}
    assert {run.budget for run in plan.runs if run.role == "judging"} == {40}
    findings = collect(spec, study)
    assert findings.notes == (Note("stopped", {"stage": "depth"}),)
    verdict = judge(findings)
    assert verdict.decision == "do not adopt" and not verdict.is_interim
    assert [one.name for one in verdict.criteria if one.state is False] == ["stage"]
    stages = {"depth": {"seeds": 1, "stop_below": -1.0}}
    assert not done(studies.write_spec(tmp_path, stages=stages))[2].stopped


@pytest.mark.slow
def test_the_second_stage_looks_at_every_point_of_its_curves(tmp_path: Path) -> None:
    def evaluate(attempt: Any) -> Any:
        """The candidate is ahead at the smallest budget."""
        ending, found = studies.evaluate(attempt)
        ahead = attempt.task.arm == "resdual" and attempt.task.label.endswith("update 20")
        return ending, {**found, "scores": {"bleu": found["scores"]["bleu"] + 5 * ahead}}

    stages = {"depth": {"seeds": 1}, "curves": {"stop_below": 1.0}}
    assert done(studies.write_spec(tmp_path / ".", stages=stages))[2].stopped == "curves"
    (other := tmp_path / "other").mkdir()
    path = studies.write_spec(other, stages=stages)
    studies.work(path, evaluate=evaluate)
    assert not make_plan(*with_records(path)).stopped


@pytest.mark.slow
def test_shares_of_the_data_are_nested_and_equal_for_all_arms(tmp_path: Path) -> None:
    parts = [set(data.shares(1000, share)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(one) for one in parts] == [100, 250, 500, 1000]
    assert all(a < b for a, b in zip(parts, parts[1:]))
    path = studies.write_spec(tmp_path, data={**studies.SPEC["data"], "fractions": [0.5, 1.0]})
    plan = make_plan(*with_records(path))
    assert [task.kind for task in plan.tasks.values()].count("subset") == 0
    studies.work(path, subset=lambda attempt: made_subset(attempt))
    plan = make_plan(*with_records(path))
    (subset,) = [name for name, task in plan.tasks.items() if task.kind == "subset"]
    users = [run for run in plan.runs if run.cell.fraction == 0.5]
    assert {run.cell.arm for run in users} == {"pre", "resdual"}
    assert all(plan.tasks[name].needs["data"] == subset for run in users for name in run.train)


def made_subset(attempt: Any) -> Any:
    (attempt.run / "data").mkdir()
    return studies.Ending("completed"), {}


@pytest.mark.slow
def test_a_share_of_a_real_data_bin(tmp_path: Path) -> None:
    write_reversals(tmp_path)
    preprocess(tmp_path / "data-bin", tmp_path)
    path = studies.write_spec(tmp_path / ".", data={**studies.SPEC["data"], "fractions": [0.2, 1]})
    spec, study = studies.study_of(path)
    task = Task("subset", inputs={"fraction": 0.2})
    attempt = studies.Attempt(task, spec, study, tmp_path / "run", lambda: False)
    attempt.run.mkdir()
    data.subset(attempt)
    sides = []
    for language in ("src", "tgt"):
        name = f"train.src-tgt.{language}"
        whole, part = (
            indexed_dataset.make_dataset(str(folder / name), impl="mmap")
            for folder in (tmp_path / "data-bin", attempt.run / "data")
        )
        chosen = data.shares(len(whole), 0.2)
        assert len(part) == len(chosen)
        assert all(np.array_equal(part[i], whole[int(j)]) for i, j in enumerate(chosen))
        sides.append(part)
    assert [line.tolist()[:-1] for line in sides[0]] == [line.tolist()[-2::-1] for line in sides[1]]


@pytest.mark.slow
def test_records_travel_between_machines(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    studies.work(studies.write_spec(here))
    study = studies.study_of(here / "study.yaml")[1]
    count = records.export_records(study, tmp_path / "records")
    path = studies.write_spec(there)
    other = studies.study_of(path)[1]
    assert records.import_records(other, tmp_path / "records", False) == count
    assert records.import_records(other, tmp_path / "records", False) == 0
    begun: List[str] = []
    studies.work(path, train=lambda attempt: begun.append(attempt.task.name))
    assert begun == [] and studies.results(path) == studies.results(here / "study.yaml")
    assert (
        collect(*studies.study_of(path)).runs
        == collect(*studies.study_of(here / "study.yaml")).runs
    )


def test_costs_beside_other_work_are_measured_again_on_demand(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    study = studies.study_of(path)[1]
    for name, busy in (("a", True), ("b", False)):
        task = Task("measure", (name,))
        study.write(studies.record(task, {"busy": busy}))
    costs.forget_disturbed(study)
    assert [one["found"]["busy"] for one in study.records().values()] == [False]


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
def test_records_that_cannot_be_used_are_named_and_none_is_taken(tmp_path: Path) -> None:
    studies.work(studies.write_spec(tmp_path, depths=[2]))
    study = studies.study_of(tmp_path / "study.yaml")[1]
    folder = tmp_path / "records"
    with pytest.raises(ResDualError, match="no folder"):
        records.import_records(study, folder, False)
    folder.mkdir()
    with pytest.raises(ResDualError, match="holds no records"):
        records.import_records(study, folder, False)
    records.export_records(study, folder)
    (folder / "notes.json").write_text("no record")
    damaged = sorted(folder.glob("[0-9a-f]*.json"))[-1]
    damaged.write_text(json.dumps({**json.loads(damaged.read_text()), "outcome": "diverged"}))
    fresh = StudyFolder(tmp_path / "fresh")
    with pytest.raises(ResDualError, match=str(damaged)):
        records.import_records(fresh, folder, False)
    assert fresh.records() == {}


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
