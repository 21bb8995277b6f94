"""Test sentences on which candidate and baseline differ most, with what each made of them."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..analysis.statistics import corpus_bleu
from ..analysis.table import Run
from .analysis import Analysis
from .page import Block, Example, Paragraph
from .texts import Texts

EACH = 3
"""Sentences for either side."""


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """The section; a sentence where translations or references are not at hand."""
    if analysis.spec.task != "translation":
        return [Paragraph(say("no_translations_lm"))]
    shown = pair_with_texts(analysis)
    if shown is None:
        return [Paragraph(say("no_translations"))]
    pair, lines = shown
    difference, seed = sentence_differences(pair), pair[0].seed
    if difference is None or len(lines[0]) != len(difference):
        return [Paragraph(say("no_translations"))]
    order = np.argsort(-difference, kind="stable")
    found: List[Block] = [Paragraph(say("translations_how", n=EACH, seed=seed))]
    best = [i for i in order[:EACH] if difference[i] > 0]
    worst = [i for i in order[::-1][:EACH] if difference[i] < 0]
    for index in (*best, *worst):
        found.append(example(analysis, say, int(index), float(difference[index]), lines))
    return found


def example(
    analysis: Analysis, say: Texts, index: int, difference: float, lines: Sequence[Sequence[str]]
) -> Example:
    findings = analysis.findings
    texts: List[Tuple[str, str]] = []
    for key, given in (("source", findings.sources), ("reference", findings.references)):
        if index < len(given):
            texts.append((say(key), given[index]))
    texts += [(arm, one[index]) for arm, one in zip((analysis.candidate, analysis.baseline), lines)]
    return Example(say("example_title", number=index + 1, difference=f"{difference:+.1f}"), texts)


def sentence_differences(pair: Tuple[Run, Run]) -> Optional[np.ndarray]:
    """Sentence BLEU of the candidate minus the baseline's. *Shape:* (S,)."""
    ours, theirs = (run.sentences for run in pair)
    if ours is None or theirs is None:
        return None
    return corpus_bleu(ours.astype(float)) - corpus_bleu(theirs.astype(float))


def pair_with_texts(analysis: Analysis) -> Optional[Tuple[Tuple[Run, Run], List[List[str]]]]:
    """The first pair whose translations are on this disk, and the lines of both."""
    for pair in analysis.verdict.primary.pairs:
        lines = [lines_of(run) for run in pair]
        if all(lines) and len(lines[0]) == len(lines[1]):
            return pair, lines
    return None


def lines_of(run: Run) -> List[str]:
    if run.hypotheses is None or not run.hypotheses.is_file():
        return []
    return run.hypotheses.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
