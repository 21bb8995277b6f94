"""The task that judges a trained model: translate the test set and score it, or its perplexity."""

from __future__ import annotations

import base64
import os
import re
import zlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER

from ...errors import ResDualError
from ...files import replacing
from ...preparation.hypotheses import detokenized
from ..engine import commands, outcomes
from ..engine.attempt import Attempt, LostLease
from ..engine.outcomes import Ending
from ..engine.processes import run_child
from ..engine.tasks import digest
from .data import lines_of_text, pairs_of

HYPOTHESES = "hypotheses.txt"
LEFT_OUT = ("Evaluated 0 tokens", "invalid sizes and will be skipped")
"""What fairseq-eval-lm says where samples are longer than the model can take."""


def evaluate(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """The scores of the parent's model on the test set."""
    translates = attempt.spec.task == "translation"
    words = [str(attempt.data()), "--path", str(attempt.weights()), *attempt.task.arguments]
    words += ["--user-dir", str(attempt.user_dir()), "--log-format", "none"]
    if translates:
        words += ["--results-path", str(attempt.run)]
    command = "fairseq-generate" if translates else "fairseq-eval-lm"
    end = attempt.child(commands.child(command, words))
    ending = outcomes.ending(end, attempt.log, attempt.limits())
    if ending.outcome != "completed":
        return ending, {}
    if not translates:
        text = outcomes.tail(attempt.log)
        if any(sign in text for sign in LEFT_OUT):
            told = "fairseq-eval-lm left out text of the test set; shorten samples or lines"
            return Ending("crashed", f"{told}: {text[-400:]}"), {}
        return ending, {"scores": {"perplexity": perplexity(text)}}
    return ending, {**scores_of_translations(attempt), "seconds": attempt.seconds()}


def perplexity(log: str) -> float:
    """What fairseq-eval-lm says last."""
    return float(re.findall(r"Perplexity: ([\d.]+|inf|nan)", log)[-1])


def scores_of_translations(attempt: Attempt) -> Dict[str, Any]:
    """sacreBLEU's scores and, where an environment is named, COMET."""
    path = attempt.run / "generate-test.txt"
    printed = path.read_text(encoding="utf-8")
    by_number = detokenized(printed)
    hypotheses = [by_number[number] for number in sorted(by_number)]
    references = references_of(attempt, printed)
    sentences = pairs_of(attempt.spec, attempt.data(), "test")
    if len(hypotheses) != sentences:
        raise ResDualError(
            f"{path} has {len(hypotheses)} translations, and the test set {sentences} sentences; "
            "all are scored, so shorten those that are too long for the model, or take them out"
        )
    if len(hypotheses) != len(references):
        raise ResDualError(
            f"{path} has {len(hypotheses)} translations and the reference {len(references)} lines; "
            "name the text that the data-bin's test set was made from in data.reference"
        )
    with replacing(attempt.run / HYPOTHESES) as unfinished:
        unfinished.write_text("".join(line + "\n" for line in hypotheses), encoding="utf-8")
    path.unlink()
    found = scored(hypotheses, references, str(attempt.spec.data.target_lang))
    found["hypotheses"] = hash_of_lines(hypotheses)
    if attempt.spec.comet is not None:
        found["scores"]["comet"] = comet(attempt, references)
        found["signatures"]["comet"] = attempt.spec.comet.model
    return found


def hash_of_lines(lines: List[str]) -> str:
    """What a record says of translations, in place of them."""
    return digest(lines)[:16]


def are_those_scored(path: Path, judged: Mapping[str, Any]) -> bool:
    """Whether a file holds the translations that a record tells the scores of."""
    if "hypotheses" not in judged or not path.is_file():
        return False
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]
    return hash_of_lines(lines) == judged["hypotheses"]


def targets(printed: str) -> List[str]:
    """The targets in fairseq-generate's output, by the number of their sentence."""
    found: Dict[int, str] = {}
    for line in printed.split("\n"):
        if line.startswith("T-"):
            name, _, text = line.partition("\t")
            found[int(name[2:])] = text
    return [found[number] for number in sorted(found)]


def test_text(attempt: Attempt, side: str) -> Path | None:
    """The plain text of one side of the test set, where there is one."""
    data = attempt.spec.data
    if data.text is None:
        return data.source if side == "source" else data.reference
    language = data.source_lang if side == "source" else data.target_lang
    return attempt.data().parent / "text" / f"test.{language}"


def references_of(attempt: Attempt, printed: str) -> List[str]:
    path = test_text(attempt, "target")
    if path is None:
        return targets(printed)
    return lines_of_text(path)


def scored(hypotheses: List[str], references: List[str], language: str) -> Dict[str, Any]:
    """BLEU, chrF and TER with their signatures, and BLEU's statistics of each sentence."""
    found: Dict[str, Any] = {"scores": {}, "signatures": {}}
    language = main_language(language)
    for name, metric in (("bleu", BLEU(trg_lang=language)), ("chrf", CHRF()), ("ter", TER())):
        found["scores"][name] = metric.corpus_score(hypotheses, [references]).score
        found["signatures"][name] = str(metric.get_signature())
    single = BLEU(trg_lang=language, effective_order=True)
    rows = []
    for hypothesis, reference in zip(hypotheses, references):
        one = single.sentence_score(hypothesis, [reference])
        rows.append([one.sys_len, one.ref_len, *one.counts, *one.totals])
    return {**found, "sentences": packed(np.array(rows))}


def main_language(code: str) -> str:
    """Without region or script, with which sacreBLEU does not know how to split words: zh_CN."""
    return re.split("[-_]", code)[0]


def packed(rows: np.ndarray) -> str:
    """S x 10 whole numbers as text of a few kB; by columns, which compress best."""
    return base64.b85encode(zlib.compress(rows.T.astype("<u2").tobytes(), 9)).decode()


def unpacked(text: str) -> np.ndarray:
    """The S x 10 numbers of :func:`packed`."""
    return (
        np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2").reshape(10, -1).T.astype(int)
    )


def comet(attempt: Attempt, references: List[str]) -> float:
    """The system score that comet-score of another environment prints.

    Raises:
        ResDualError: it failed, or there is no plain source text.
        LostLease: it was killed, or another worker has the task.
    """
    settings, source = attempt.spec.comet, test_text(attempt, "source")
    assert settings is not None
    if source is None:
        raise ResDualError(
            "comet needs the test set's source as plain text: name it in data.source"
        )
    reference = attempt.run / "reference.txt"
    reference.write_text("".join(line + "\n" for line in references), encoding="utf-8")
    words = [str(settings.command), "-s", str(source), "-t", str(attempt.run / HYPOTHESES)]
    words += ["-r", str(reference), "--model", settings.model, "--only_system"]
    # Outside of the limits, which are of an arm's own model.
    end = run_child(words, attempt.log, dict(os.environ), is_lost=attempt.is_lost, cwd=attempt.run)
    told = outcomes.ending(end, attempt.log)
    if told.outcome == "killed":
        raise LostLease(told.detail)
    printed = outcomes.tail(attempt.log, end.log_start)
    found = re.findall(r"score: (-?[\d.]+)", printed, flags=re.IGNORECASE)
    if told.outcome != "completed" or not found:
        why = told.detail or "it printed none"
        raise ResDualError(f"comet.command: {settings.command} gave no score: {why}")
    return float(found[-1])
