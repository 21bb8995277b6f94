"""The findings as tidy CSV: a row a run, a comparison, a measurement; numbers in full."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Dict, List, Optional, Sequence

from ..analysis.comparisons import Comparison
from ..analysis.table import Interval, Run
from .analysis import Analysis, pair_mean
from .cost_tables import unit

Row = Dict[str, Any]


def csv_files(analysis: Analysis) -> Dict[str, str]:
    """Their texts by their names; the same in every language."""
    return {
        "runs.csv": text_of([run_row(run, analysis) for run in analysis.findings.runs]),
        "comparisons.csv": text_of(comparison_rows(analysis), COMPARISON_COLUMNS),
        "costs.csv": text_of(cost_rows(analysis), COST_COLUMNS),
    }


COMPARISON_COLUMNS = (
    "metric", "arm", "baseline", "depth", "width", "fraction", "budget", "unit", "reading",
    "pairs", "arm_mean", "baseline_mean", "gain", "gain_low", "gain_high",
    "by_seeds", "by_seeds_low", "by_seeds_high",
    "by_bootstrap", "by_bootstrap_low", "by_bootstrap_high",
    "p", "p_holm", "seed_sd", "sentence_sd",
)  # fmt: skip
COST_COLUMNS = (
    "arm", "depth", "width", "name", "unit", "value", "low", "high",
    "ratio", "ratio_low", "ratio_high", "energy_is_measured", "is_disturbed",
)  # fmt: skip


def text_of(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    """Columns as given, or all of the rows' in the order in which they come."""
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def run_row(run: Run, analysis: Analysis) -> Row:
    values = {f"option_{name}": value for name, value in run.values.items()}
    scored = [metric for metric in analysis.metrics if metric != "valid_loss"]
    return {
        "task": run.task,
        "role": run.role,
        **run.cell._asdict(),
        **values,
        "seed": run.seed,
        "budget": run.budget,
        "unit": analysis.spec.budgets.unit,
        "updates": run.updates,
        "outcome": run.outcome or "",
        "detail": run.detail,
        "valid_loss": run.valid_loss,
        **{metric: run.scores.get(metric) for metric in scored},
        **{f"signature_{metric}": text for metric, text in run.signatures.items()},
        "seconds": run.seconds,
        "earlier_attempts": json.dumps(run.failures, sort_keys=True) if run.failures else "",
    }


def comparison_rows(analysis: Analysis) -> List[Row]:
    """Every arm against the baseline, in every metric, wherever both were judged."""
    return [
        comparison_row(one, arm, metric, analysis)
        for metric in analysis.metrics
        for arm in analysis.rivals
        for one in analysis.comparisons(arm, metric)
    ]


def comparison_row(one: Comparison, arm: str, metric: str, analysis: Analysis) -> Row:
    return {
        "metric": metric,
        "arm": arm,
        "baseline": analysis.baseline,
        **one.place._asdict(),
        "unit": analysis.spec.budgets.unit,
        "reading": "primary" if one.primary else "exploratory",
        "pairs": len(one.pairs),
        "arm_mean": pair_mean(one, 0, metric),
        "baseline_mean": pair_mean(one, 1, metric),
        **bounds("gain", one.gain),
        **bounds("by_seeds", one.by_seeds),
        **bounds("by_bootstrap", one.by_bootstrap),
        "p": one.p,
        "p_holm": one.p_holm,
        "seed_sd": one.seed_sd,
        "sentence_sd": one.sentence_sd,
    }


def bounds(name: str, value: Optional[Interval]) -> Row:
    estimate, low, high = value or (None, None, None)
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def cost_rows(analysis: Analysis) -> List[Row]:
    return [
        {
            "arm": cost.arm,
            "depth": cost.depth,
            "width": cost.width,
            "name": name,
            "unit": unit(name),
            "value": value.estimate,
            "low": value.low,
            "high": value.high,
            **bounds("ratio", cost.ratios.get(name)),
            "energy_is_measured": cost.energy_is_measured,
            "is_disturbed": cost.is_disturbed,
        }
        for cost in analysis.findings.costs
        for name, value in cost.values.items()
    ]
