"""Protects what the report says of costs: their names, and how they were measured."""
# ruff: noqa: RUF001

from dataclasses import replace
from pathlib import Path

from helpers.findings import made_findings
from helpers.pages import LIMITS, RATIOS, page, rows, words_of

from resdual_fairseq.study.analysis.table import Note
from resdual_fairseq.study.measuring.costs import NAMES
from resdual_fairseq.study.report.texts import LANGUAGES, entries


def test_costs_that_are_not_measured_are_no_gap(tmp_path: Path) -> None:
    told = words_of(page(made_findings(gain=1.5), tmp_path))
    assert told.count("Costs are not measured.") == 2
    assert rows(tmp_path / "costs.csv") == []


def test_costs_beside_other_work_are_open_and_never_said_to_be_of_an_idle_machine(
    tmp_path: Path,
) -> None:
    findings = made_findings(gain=1.5, seed_sd=0.1, ratios=RATIOS, criteria=LIMITS)
    idle = words_of(page(findings, tmp_path))
    assert "measured updates come from an idle machine" in idle and "beside other" not in idle
    values = {"cores": "2.0", "sizes": "6+6 x 32", "command": "resdual-study run --costs"}
    disturbed = [replace(cost, is_disturbed=True) for cost in findings.costs]
    findings = replace(findings, notes=(Note("busy", values),), costs=disturbed)
    told = words_of(page(findings, tmp_path))
    assert "? open training time +2.0 % [+1.0, +3.0], measured beside other work" in told
    assert "come from an idle machine" not in told and "had other work as well" in told
    assert "Measure the costs on an idle machine, for: training time, latency" in told
    assert "(resdual-study run --costs)" in told
    assert "（並行するほかの処理あり）" in words_of(page(findings, tmp_path, "ja"))


def test_every_cost_has_a_name_in_every_language() -> None:
    for name in NAMES:
        assert set(entries()["cost_" + name]) == set(LANGUAGES), name


def test_the_machine_of_the_costs_is_named(tmp_path: Path) -> None:
    findings = replace(made_findings(ratios=RATIOS), cost_processors=("Made-up 9000",))
    assert words_of(page(findings, tmp_path)).count("Measured on: Made-up 9000.") == 2
    assert "Made-up 9000" in words_of(page(findings, tmp_path, "ja"))


def test_costs_of_other_sizes_alone_are_not_called_unmeasured(tmp_path: Path) -> None:
    findings = made_findings(ratios=RATIOS)
    other = [replace(cost, width=128) for cost in findings.costs]
    told = words_of(page(replace(findings, costs=other), tmp_path))
    assert "Costs are not measured at this size." in told and "not measured. " not in told


def test_one_layer_is_singular(tmp_path: Path) -> None:
    criteria = {"metric": "perplexity", "margin": 0.1}
    findings = made_findings(
        task="language_modeling", depths=("1",), criteria=criteria, ratios=RATIOS
    )
    told = words_of(page(findings, tmp_path))
    assert "1 layer, 1,000 updates" in told and "in turn: 1 layer" in told
