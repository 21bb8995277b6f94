"""Protects the page of text: what it says of a claim follows from the numbers."""

from typing import Any, Dict, Set

import pytest
from helpers.tables import rows

from resdual_fairseq.diagnostics.verdicts import page, verdicts

CASES = [
    ("post", "gradient", {"rate": 0.4}, "held"),
    ("post", "gradient", {"rate": 0.1}, "partly"),
    ("post", "gradient", {"rate": 0.0}, "not held"),
    ("post", "gradient", {"rate": -0.4}, "not held"),
    ("pre", "gradient", {"rate": -0.1}, "held"),
    ("pre", "gradient", {"rate": 0.5}, "not held"),
    ("pre", "gradient", {"rate": 0.1}, "partly"),
    ("resdual", "gradient", {"rate": 0.0}, "held"),
    ("resdual", "gradient", {"rate": 0.05}, "partly"),
    ("resdual", "gradient", {"rate": 0.5}, "not held"),
    ("pre", "input_change", {"power": -0.5}, "held"),
    ("pre", "input_change", {"power": -0.7}, "held"),
    ("pre", "input_change", {"power": -0.25}, "partly"),
    ("pre", "input_change", {"power": -0.5, "wobble": 0.5}, "partly"),
    ("pre", "input_change", {"power": 0.0}, "not held"),
    ("pre", "input_change", {"power": -0.2, "wobble": 3.0}, "undecided"),
    ("post", "input_change", {"power": 0.0}, "held"),
    ("resdual", "input_change", {"power": 0.0}, "held"),
    ("resdual", "input_change", {"power": -0.5}, "not held"),
    ("resdual", "input_change", {"power": 0.5}, "not held"),
    ("post", "input_change", {"power": 0.3, "wobble": 3.0}, "undecided"),
]


@pytest.mark.parametrize(("kind", "quantity", "shape", "outcome"), CASES)
def test_outcomes(kind: str, quantity: str, shape: Dict[str, Any], outcome: str) -> None:
    found = verdicts(rows(kind, quantity, **shape))
    assert {verdict.curve.stack for verdict in found} == {"encoder", "decoder"}
    assert {verdict.outcome for verdict in found} == {outcome}


def test_seeds_of_a_kind_and_depth_are_one_curve_and_give_the_interval() -> None:
    table = [
        row
        for seed in (1, 2, 3)
        for depth in (6, 12)
        for row in rows("post", "gradient", depth, seed, rate=0.2)
    ]
    found = verdicts(table)
    assert len(found) == 4
    assert all(" *" not in verdict.numbers for verdict in found)
    single = verdicts(rows("post", "gradient", rate=0.2))
    assert all(" *" in verdict.numbers for verdict in single)


def test_checkpoints_are_judged_each_by_itself() -> None:
    table = [
        *rows("pre", "gradient", model="a/last.pt"),
        *rows("pre", "gradient", model="b/last.pt", rate=0.5),
    ]
    outcomes: Dict[str, Set[str]] = {}
    for verdict in verdicts(table):
        outcomes.setdefault(verdict.curve.name, set()).add(verdict.outcome)
    assert outcomes == {"a/last.pt": {"held"}, "b/last.pt": {"not held"}}


def test_what_cannot_be_fitted_is_said() -> None:
    broken = [row._replace(value=0.0) for row in rows("post", "gradient")]
    assert {(v.outcome, v.numbers) for v in verdicts(broken)} == {
        ("not measured", "values that are 0 or no number")
    }
    shallow = verdicts(rows("post", "gradient", depth=1))
    assert {verdict.outcome for verdict in shallow} == {"not measured"}


def test_the_page_states_rate_ends_and_magnitudes() -> None:
    table = [
        *rows("post", "gradient", rate=0.2, wobble=0.0),
        *rows("post", "largest", wobble=0.0),
        *rows("resdual", "dual_size", power=0.5, wobble=0.0),
        *rows("resdual", "largest", wobble=0.0),
    ]
    text = page(table, "resdual-diagnose init data-bin")
    assert text.startswith("resdual-diagnose init data-bin\n")
    assert "factor 0.8187 (0.8187 to 0.8187 *) a block towards the first" in text
    assert "first / last 0.135" in text  # 10 blocks apart in the encoder
    assert "largest magnitude         2, 3.1e-05 of fp16's 65504" in text
    assert "mean |d| grows by" in text
    assert "grows" not in page([*rows("b2t", "dual_size"), *rows("b2t", "largest")], "")


def test_the_page_states_what_no_input_can_exceed() -> None:
    outputs = rows("resdual", "output_bound", power=1.0, wobble=0.0)
    streams = [
        row._replace(quantity="stream_bound", block=0, value=500.0 if row.stack == "encoder" else 1)
        for row in outputs
        if row.block == 1
    ]
    text = page([*rows("resdual", "largest"), *outputs, *streams], "resdual-diagnose checkpoint")
    assert "encoder  for any input |d| <= 500 and |f_k| <= 24, 0.0076 of fp16's 65504" in text
    assert "decoder  for any input |d| <= 1 and |f_k| <= 54, 0.00082 of fp16's 65504" in text
