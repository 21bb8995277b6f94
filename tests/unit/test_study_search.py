"""Protects the search: grids that grow for all arms, ranges drawn alike, chosen values."""

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import pytest
from helpers import studies
from helpers.studies import done, planned

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.analysis.table import Cell
from resdual_fairseq.study.planning import search
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.planning.todo import make_plan
from resdual_fairseq.study.spec import search_space
from resdual_fairseq.study.spec.search_space import Range, Search

CELLS = [Cell(arm, "6", 32, 1.0) for arm in ("pre", "resdual")]


@pytest.mark.slow
def test_judged_runs_have_the_values_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    assert {run.values["lr"] for run in plan.runs if run.role == "judging"} == {0.001}


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
