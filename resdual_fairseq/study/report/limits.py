"""What the study cannot say, as far as its spec tells."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from ...transformer import MODEL as OWN_MODEL
from ..analysis.comparisons import has_failed
from ..analysis.verdict import MENDS
from .analysis import Analysis
from .formats import level
from .places import budget_name, unit_name
from .texts import Texts


def sentences(analysis: Analysis, say: Texts) -> List[str]:
    spec = analysis.spec
    one_sided = round((1 - spec.criteria.level) / 2, 6)
    return [
        *data(analysis, say),
        say("limit_size", widths=say.listed(analysis.widths), depths=say.listed(analysis.depths)),
        *training_time(analysis, say),
        *tuning(analysis, say),
        *decoding(analysis, say),
        *meaning(analysis, say),
        say(
            "limit_level",
            level=level(spec.criteria.level),
            error=level(one_sided),
        ),
        say("limit_exploratory"),
        say("limit_power"),
        say("limit_second_look"),
        say("limit_costs"),
        *([] if has_energy(analysis) else [say("limit_energy", extra="study-energy")]),
    ]


def data(analysis: Analysis, say: Texts) -> List[str]:
    spec = analysis.spec
    if spec.task == "translation":
        languages = {"source": spec.data.source_lang, "target": spec.data.target_lang}
        found = [say("limit_language_pair", **languages)]
    else:
        found = [say("limit_one_text")]
    return found if len(analysis.fractions) > 1 else [*found, say("limit_one_size")]


def training_time(analysis: Analysis, say: Texts) -> List[str]:
    longest = budget_name(analysis, say, analysis.budgets[-1])
    key = "limit_one_budget" if len(analysis.budgets) == 1 else "limit_budgets"
    unit = unit_name(analysis, say)
    return [say(key, budget=longest), say("limit_unit", unit=unit)]


def tuning(analysis: Analysis, say: Texts) -> List[str]:
    search = analysis.spec.search
    found = [say("limit_searched", options=say.listed([*search.values, *search.ranges]))]
    lost = [f"{arm} {depth}" for arm, depth in untrained_places(analysis)]
    if lost:
        told = [say("limit_never_trained", cells=say.listed(lost))]
        grows = [say("limit_grid_grows")] if search.can_grow else []
        found.append(say.sentences([*told, *grows]))
    longest = analysis.budgets[-1]
    if (search.budget or longest) != longest:
        found.append(
            say("limit_tuned_short", budget=budget_name(analysis, say, search.budget or longest))
        )
    elif len(analysis.budgets) > 1:
        found.append(say("limit_tuned_long", budget=budget_name(analysis, say, longest)))
    return found


def untrained_places(analysis: Analysis) -> Iterator[Tuple[str, str]]:
    """Arms and depths of which every tuning run failed, some of them for their values."""
    for arm in analysis.arms:
        for depth in analysis.depths:
            cell = analysis.cell(arm, depth)
            runs = [run for run in analysis.tuning if run.cell == cell and run.outcome is not None]
            if all(map(has_failed, runs)) and any(run.outcome in MENDS["rates"] for run in runs):
                yield arm, depth


def decoding(analysis: Analysis, say: Texts) -> List[str]:
    if analysis.spec.task != "translation":
        return []
    tokens = analysis.spec.data.data_bin is not None and analysis.spec.data.reference is None
    own = {OWN_MODEL in " ".join(arm.options) for arm in analysis.spec.arms.values()}
    return [
        say("limit_decoding"),
        *([say("limit_tokens")] if tokens else []),
        *([say("limit_programs")] if len(own) > 1 else []),
    ]


def meaning(analysis: Analysis, say: Texts) -> List[str]:
    """What the metric itself leaves open."""
    found = [say("limit_valid_loss")] if analysis.metric == "valid_loss" else []
    if analysis.spec.task != "translation":
        return [*found, say("limit_loss")]
    found.append(say("limit_metrics"))
    return [*found, say("limit_bleu")] if analysis.metric == "bleu" else found


def has_energy(analysis: Analysis) -> bool:
    return any("energy_joules" in cost.values for cost in analysis.findings.costs)
