"""Tables of quality: depth by depth, every comparison, second metrics, every run."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from ..analysis.comparisons import Place, has_failed, score
from ..analysis.statistics import approximate_randomization
from ..analysis.table import Run
from .analysis import Analysis, pair_mean
from .failures import budget_head, counted, end_of, identity, identity_align, identity_head
from .formats import NOTHING, deviation, gain, hours, level, mean_and_sd, p_value, quality
from .page import Block, Paragraph, Table
from .places import place_cells, place_columns, place_name, with_width
from .texts import Texts


def depth_table(analysis: Analysis, say: Texts) -> Table:
    """Every arm at every depth at the largest budget; an arm that never trained says so."""
    rows: List[List[str]] = []
    primary = []
    for depth in analysis.depths:
        for arm in analysis.arms:
            if (arm, depth) == (analysis.candidate, analysis.place.depth):
                primary.append(len(rows))
            cells = arm_cells(analysis, say, arm, analysis.at(depth), analysis.metric)
            rows.append([depth, arm, *cells])
    head = [say("head_depth"), say("head_arm"), say("metric_" + analysis.metric)]
    head += gain_heads(analysis, say)
    caption = say("table_depth", metric=say("metric_" + analysis.metric))
    caption = with_width(analysis, say, caption)
    return Table(caption, head, rows, "llrrrr", frozenset(primary))


def gain_heads(analysis: Analysis, say: Texts) -> List[str]:
    words = {"level": level(analysis.spec.criteria.level), "baseline": analysis.baseline}
    return [say("head_gain_over", **words), say("head_p"), say("head_p_holm")]


def arm_cells(analysis: Analysis, say: Texts, arm: str, place: Place, metric: str) -> List[str]:
    """An arm's scores at a place, and its gain over the baseline with both p."""
    shown = arm_cell(analysis.runs(arm, place), metric, say)
    if arm == analysis.baseline:
        return [shown, "", "", ""]
    found = analysis.comparison(arm, place, metric)
    if found is None:
        return [shown, NOTHING, NOTHING, NOTHING]
    return [shown, gain(found.gain, metric), p_value(found.p), p_value(found.p_holm)]


def arm_cell(runs: Sequence[Run], metric: str, say: Texts) -> str:
    """Mean and deviation of what is completed, and how many failed or are to come."""
    scores = [value for run in runs if (value := score(run, metric)) is not None]
    failed = [run for run in runs if has_failed(run)]
    if failed and len(failed) == len(runs):
        return say("never_trained", n=len(runs), how=counted(failed, say))
    parts = [f"{mean_and_sd(scores, metric)} (n={len(scores)})"] if scores else []
    if failed:
        parts.append(
            say("failed_some", failed=len(failed), all=len(runs), how=counted(failed, say))
        )
    missing = len(runs) - len(scores) - len(failed)
    if missing:
        parts.append(say("runs_missing", n=missing))
    return say.listed(parts) or NOTHING


def comparison_tables(analysis: Analysis, say: Texts) -> List[Block]:
    """For every other arm a table of all places where it and the baseline were judged."""
    return [
        comparison_table(analysis, say, arm) for arm in analysis.rivals if analysis.comparisons(arm)
    ]


def comparison_table(analysis: Analysis, say: Texts, arm: str) -> Table:
    found = analysis.comparisons(arm)
    rows = [
        [
            *place_cells(analysis, one.place),
            f"{len(one.pairs)}/{max(len(one.candidate), len(one.baseline))}",
            *(quality(pair_mean(one, side, analysis.metric), analysis.metric) for side in (0, 1)),
            gain(one.gain, analysis.metric),
            p_value(one.p),
            p_value(one.p_holm),
            deviation(one.seed_sd, analysis.metric),
            deviation(one.sentence_sd, analysis.metric),
            say("primary" if one.primary else "exploratory"),
        ]
        for one in found
    ]
    head = [say("head_" + name) for name in place_columns(analysis)[:-1]]
    head += [budget_head(analysis, say), say("head_pairs"), arm, analysis.baseline]
    head += [say("head_gain", level=level(analysis.spec.criteria.level))]
    head += [say("head_" + n) for n in ("p", "p_holm", "seed_sd", "sentence_sd", "reading")]
    words = {"arm": arm, "baseline": analysis.baseline, "metric": say("metric_" + analysis.metric)}
    primary = frozenset(i for i, one in enumerate(found) if one.primary)
    align = "l" + "r" * (len(head) - 2) + "l"
    return Table(say("table_comparisons", **words), head, rows, align, primary)


def two_intervals(analysis: Analysis, say: Texts) -> List[Block]:
    """The primary endpoint's intervals from both sources of chance; the wider one counts."""
    primary = analysis.verdict.primary
    if primary.by_seeds is None:
        return [Paragraph(say("primary_unknown"))]
    rows = [
        [
            say("by_seeds"),
            gain(primary.by_seeds, analysis.metric),
            deviation(primary.seed_sd, analysis.metric),
        ]
    ]
    if primary.by_bootstrap is not None:
        by_both = gain(primary.by_bootstrap, analysis.metric)
        rows.append([say("by_bootstrap"), by_both, deviation(primary.sentence_sd, analysis.metric)])
    head = [
        say("head_source"),
        say("head_gain", level=level(analysis.spec.criteria.level)),
        say("head_sd"),
    ]
    place = place_name(analysis, say, analysis.place)
    return [
        Table(say("table_intervals", place=place), head, rows, "lrr"),
        Paragraph(say("two_intervals")),
    ]


def second_metrics(analysis: Analysis, say: Texts) -> Table:
    """All metrics at the primary endpoint's place."""
    rows = [
        [say("metric_" + metric), arm, *arm_cells(analysis, say, arm, analysis.place, metric)]
        for metric in analysis.metrics
        for arm in analysis.arms
    ]
    head = [say("head_metric"), say("head_arm"), say("head_mean"), *gain_heads(analysis, say)]
    caption = say("table_metrics", place=place_name(analysis, say, analysis.place))
    return Table(caption, head, rows, "llrrrr", frozenset({0}))


def sentence_tests(analysis: Analysis, say: Texts) -> List[Block]:
    """Approximate randomization of each pair of models at the primary endpoint."""
    rows = []
    for ours, theirs in analysis.verdict.primary.pairs:
        if ours.sentences is not None and theirs.sentences is not None:
            p = approximate_randomization(ours.sentences, theirs.sentences)
            both = [quality(score(run, "bleu"), "bleu") for run in (ours, theirs)]
            rows.append([str(ours.seed), *both, p_value(p)])
    if not rows:
        return []
    head = [say("head_seed"), analysis.candidate, analysis.baseline, say("head_p")]
    return [
        Table(say("table_sentence_tests"), head, rows, "lrrr"),
        Paragraph(say("sentence_tests")),
    ]


def runs_table(analysis: Analysis, say: Texts) -> Table:
    """Every run that judges, with all its numbers."""
    scored = [metric for metric in analysis.metrics if metric != "valid_loss"]
    rows = []
    for run in analysis.judging:
        which = identity(analysis, run, say)
        values: Dict[str, Optional[float]] = {m: run.quality(m) for m in ("valid_loss", *scored)}
        numbers = [quality(value, metric) for metric, value in values.items()]
        rows.append([*which, *numbers, hours(run.seconds), end_of(run, say)])
    head = [*identity_head(analysis, say), *(say("metric_" + m) for m in ("valid_loss", *scored))]
    head += [say("head_hours"), say("head_outcome")]
    align = identity_align(analysis) + "r" * (len(scored) + 2) + "l"
    return Table(say("table_runs"), head, rows, align, folded=True)


def tuning_table(analysis: Analysis, say: Texts) -> Table:
    """Every run that tunes."""
    rows = [
        [
            *identity(analysis, run, say),
            quality(run.valid_loss, "valid_loss"),
            hours(run.seconds),
            end_of(run, say),
        ]
        for run in analysis.tuning
    ]
    head = [
        *identity_head(analysis, say),
        say("metric_valid_loss"),
        say("head_hours"),
        say("head_outcome"),
    ]
    return Table(
        say("table_tuning_runs"), head, rows, identity_align(analysis) + "rrl", folded=True
    )


def signatures(analysis: Analysis, say: Texts) -> List[Block]:
    """How the scores were made; runs that differ in it are not comparable, and it shows."""
    found: Dict[str, Dict[str, int]] = {}
    for run in analysis.judging:
        for metric, signature in run.signatures.items():
            counts = found.setdefault(metric, {})
            counts[signature] = counts.get(signature, 0) + 1
    if not found:
        return [Paragraph(say("no_signatures"))]
    rows = [[say("metric_" + metric), signature, str(count)]
            for metric, counts in found.items() for signature, count in counts.items()]  # fmt: skip
    head = [say("head_metric"), say("head_signature"), say("head_runs")]
    blocks: List[Block] = [Table(say("table_signatures"), head, rows, "llr")]
    if any(len(counts) > 1 for counts in found.values()):
        blocks.append(Paragraph(say("signatures_differ")))
    return blocks
