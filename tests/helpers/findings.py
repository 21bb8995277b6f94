"""Made-up findings of a study, of which the truth is known."""

from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from resdual_fairseq.study.analysis.statistics import corpus_bleu
from resdual_fairseq.study.analysis.table import Cell, Cost, Findings, Interval, Outcome, Run, Spent
from resdual_fairseq.study.spec.keys import LOWER_IS_BETTER, Spec

CANDIDATE, BASELINE = "residual", "pre"
PRECISIONS = np.array([0.65, 0.40, 0.27, 0.18])
"""Of 1 to 4 words, as common in translation; scaled to the BLEU that is asked for."""
BASE = {"bleu": 30.0, "chrf": 55.0, "ter": 52.0, "valid_loss": 3.0, "perplexity": 20.0}
UNTRAINED = 12.0


def made_spec(
    seeds: Sequence[int] = (11, 12, 13, 14, 15),
    depths: Sequence[str] = ("6",),
    budgets: Sequence[float] = (1000.0,),
    fractions: Sequence[float] = (1.0,),
    rates: Sequence[float] = (0.0005, 0.001, 0.002, 0.004),
    arms: Sequence[str] = (CANDIDATE, BASELINE),
    task: str = "translation",
    criteria: Optional[Dict[str, Any]] = None,
    **keys: Any,
) -> Spec:
    """A spec of a study; the primary endpoint is at the last depth."""
    languages = {"source_lang": "de", "target_lang": "en"} if task == "translation" else {}
    values: Dict[str, Any] = {
        "task": task,
        "data": {"data_bin": "data-bin", "fractions": list(fractions), **languages},
        "arms": {arm: f"--arch {arm}" for arm in arms},
        "depths": list(depths),
        "widths": [{"width": 64, "ffn": 256, "heads": 4}],
        "training": "--optimizer adam --max-tokens 1000",
        "budgets": {"values": list(budgets)},
        "search": {"values": {"lr": list(rates)}},
        "seeds": list(seeds),
        "criteria": {
            "candidate": CANDIDATE, "baseline": BASELINE, "depth": depths[-1],
            "margin": 0.5, **(criteria or {}),
        },
        **keys,
    }  # fmt: skip
    return Spec.model_validate(values)


def made_sentences(rng: np.random.Generator, factors: np.ndarray, bleu: float) -> np.ndarray:
    """sacreBLEU's statistics of sentences whose corpus has about this BLEU.

    ``factors`` are how much easier than the mean each sentence is. *Shape:* (S,) -> (S, 10).
    """
    lengths = np.resize(np.arange(8, 29), len(factors))
    totals = lengths[:, None] - np.arange(4)
    scale = bleu / (100 * np.exp(np.log(PRECISIONS).mean()))
    chances = np.clip(PRECISIONS * scale * factors[:, None], 0, 1)
    return np.column_stack([lengths, lengths, rng.binomial(totals, chances), totals])


def made_run(cell: Cell, seed: int, budget: float, **parts: Any) -> Run:
    """A judging run that is completed, unless the parts say otherwise."""
    made = Run(
        cell, "judging", {"lr": 0.001}, seed, budget, int(budget), "completed",
        seconds=budget / 2, task=f"{cell.arm}-{cell.depth}-{cell.fraction:g}-{budget:g}-{seed}",
        commands=("fairseq-train data-bin", "fairseq-generate data-bin"),
    )  # fmt: skip
    return replace(made, **parts)


def judging_runs(
    spec: Spec,
    gain: Callable[[Cell, float], float],
    seed_sd: float,
    sentences: int,
    sentence_spread: float,
    rng: np.random.Generator,
) -> List[Run]:
    """A run of every arm, depth, fraction, budget and seed; the baseline's gain is 0."""
    metric = spec.criteria.metric
    sign = -1 if metric in LOWER_IS_BETTER else 1
    shared = rng.lognormal(0, 0.2, sentences)
    runs = []
    for place in places_of(spec):
        for arm in spec.arms:
            cell = Cell(arm, *place[:-1])
            factors = shared * rng.lognormal(0, sentence_spread, sentences)
            true = 0.0 if arm == spec.criteria.baseline else gain(cell, place[-1])
            for seed in spec.seeds:
                more = true + seed_sd * float(rng.standard_normal())
                value = BASE[metric] + sign * more
                loss = BASE["valid_loss"] - (more / 10 if metric != "valid_loss" else more)
                run = made_run(cell, seed, place[-1], valid_loss=loss, scores={metric: value})
                if sentences:
                    statistics = made_sentences(rng, factors, value)
                    bleu = float(corpus_bleu(statistics.sum(axis=0)))
                    run = replace(run, sentences=statistics, scores={"bleu": bleu})
                runs.append(run)
    return runs


def places_of(spec: Spec) -> List[Tuple[str, int, float, float]]:
    """Depth (as cells have it), width, fraction and budget of all judging runs."""
    name = "{0}+{0}" if spec.task == "translation" else "{0}"
    return [
        (name.format(depth), width.width, fraction, budget)
        for depth in spec.depths
        for width in spec.widths
        for fraction in spec.data.fractions
        for budget in spec.budgets.values
    ]


def tuning_runs(spec: Spec, losses: Mapping[str, Sequence[Optional[float]]]) -> List[Run]:
    """Of each arm its losses over the spec's learning rates, at every depth; None diverged."""
    runs = []
    for depth in dict.fromkeys(place[0] for place in places_of(spec)):
        for arm, values in losses.items():
            cell = Cell(arm, depth, spec.widths[0].width, 1.0)
            for rate, loss in zip(spec.search.values["lr"], values):
                run = made_run(
                    cell, spec.search.seeds[0], max(spec.budgets.values), role="tuning",
                    values={"lr": rate}, valid_loss=loss, task=f"tune-{arm}-{depth}-{rate}",
                    outcome="diverged" if loss is None else "completed",
                )  # fmt: skip
                runs.append(run)
    return runs


def made_costs(spec: Spec, ratios: Mapping[str, Interval]) -> List[Cost]:
    """Costs of both arms of the criteria at every depth, the candidate's by these ratios."""
    made = []
    for depth in dict.fromkeys(place[0] for place in places_of(spec)):
        width = spec.widths[0].width
        ones = {name: Interval(1.0, 1.0, 1.0) for name in ratios}
        for arm, shares in ((spec.criteria.candidate, ratios), (spec.criteria.baseline, ones)):
            made.append(Cost(arm, depth, width, dict(shares), dict(shares)))
    return made


def made_findings(
    gain: "float | Callable[[Cell, float], float]" = 1.0,
    seed_sd: float = 0.2,
    sentences: int = 0,
    sentence_spread: float = 0.0,
    ratios: Optional[Mapping[str, Interval]] = None,
    losses: Optional[Mapping[str, Sequence[Optional[float]]]] = None,
    outcomes: Optional[Mapping[Tuple[str, int], Optional[Outcome]]] = None,
    leave_out: Sequence[Tuple[str, int]] = (),
    random_seed: int = 0,
    **spec_parts: Any,
) -> Findings:
    """Findings of a whole study.

    Args:
        gain: of every arm over the baseline in the criteria's metric, positive where better; a
            function of cell and budget, or one number.
        seed_sd: of an arm's scores over seeds.
        sentences: of the test set; BLEU is made from their statistics. 0: scores alone.
        sentence_spread: log standard deviation of an arm's own luck with each sentence.
        ratios: costs of the candidate over the baseline's. None: nothing measured.
        losses: of tuning, by arm, over the spec's learning rates.
        outcomes: of runs that ended otherwise than completed, by arm and seed, at all places.
        leave_out: runs that the table does not know yet, by arm and seed.
    """
    spec = made_spec(**spec_parts)
    rng = np.random.default_rng(random_seed)
    truth = gain if callable(gain) else lambda cell, budget: gain
    runs = []
    for run in judging_runs(spec, truth, seed_sd, sentences, sentence_spread, rng):
        key = (run.cell.arm, run.seed)
        if key in leave_out:
            continue
        if outcomes and key in outcomes:
            run = replace(run, outcome=outcomes[key], valid_loss=None, scores={}, sentences=None)
        runs.append(run)
    return Findings(
        spec,
        [*tuning_runs(spec, losses or {}), *runs],
        made_costs(spec, ratios or {}) if ratios is not None else [],
        UNTRAINED,
        {"machine": "made up"},
        {arm: Spent(7200.0, 3600.0, 0.0) for arm in spec.arms},
    )
