"""Protects scores: sacreBLEU's own, with what a record keeps of each sentence, and COMET's."""

import random
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import sacrebleu
from helpers import studies

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.analysis.statistics import corpus_bleu
from resdual_fairseq.study.engine.commands import cut_options
from resdual_fairseq.study.engine.tasks import Task
from resdual_fairseq.study.work import data, evaluating
from resdual_fairseq.study.work.data import names_of

WORDS = ["a", "man", "rides", "the", "red", "bike", "past", "two", "old", "dogs"]


def sentences(seed: int, count: int = 300) -> List[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 15))) + "." for _ in range(count)]


def changed(lines: List[str]) -> List[str]:
    draw = random.Random(7)
    return [" ".join(w for w in line.split() if draw.random() > 0.2) for line in lines]


def attempt_in(folder: Path, sentences: int, **spec: Any) -> studies.Attempt:
    """Where a test set of so many sentences was translated."""
    run = folder / "run"
    run.mkdir()
    read, study = studies.study_of(studies.write_spec(folder, **spec))
    studies.write_split(folder / "data-bin" / names_of(read, "test")[0], sentences)
    study.folder(Task("evaluate").name).mkdir(parents=True)
    return studies.Attempt(Task("evaluate"), read, study, run, lambda: False)


def generated(hypotheses: List[str], references: List[str]) -> str:
    order = list(range(len(hypotheses)))
    random.Random(1).shuffle(order)
    lines = [f"T-{n}\t{references[n]}\nD-{n}\t-0.5\t{hypotheses[n]}\n" for n in order]
    return "".join(lines)


def test_scores_and_signatures_are_sacrebleus() -> None:
    references = sentences(1)
    found = evaluating.scored(changed(references), references, "de")
    args = (changed(references), [references])
    assert found["scores"]["bleu"] == sacrebleu.corpus_bleu(*args).score
    assert found["scores"]["chrf"] == sacrebleu.corpus_chrf(*args).score
    assert found["scores"]["ter"] == sacrebleu.corpus_ter(*args).score
    assert found["signatures"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    assert set(found["signatures"]) == set(found["scores"])


def test_a_record_keeps_what_bleu_needs_of_every_sentence_in_a_few_kilobytes() -> None:
    references = sentences(2, 1000)
    found = evaluating.scored(changed(references), references, "de")
    rows = evaluating.unpacked(found["sentences"])
    assert rows.shape == (1000, 10)
    assert corpus_bleu(rows.sum(axis=0)) == pytest.approx(found["scores"]["bleu"], abs=1e-9)
    assert len(found["sentences"]) < 8000
    assert np.array_equal(evaluating.unpacked(evaluating.packed(rows)), rows)


def test_translations_are_put_in_the_order_of_the_text(tmp_path: Path) -> None:
    references = sentences(3, 30)
    attempt = attempt_in(tmp_path, 30)
    (attempt.run / "generate-test.txt").write_text(generated(changed(references), references))
    found = evaluating.scores_of_translations(attempt)
    assert found["scores"]["bleu"] == sacrebleu.corpus_bleu(changed(references), [references]).score
    kept = (attempt.run / evaluating.HYPOTHESES).read_text().splitlines()
    assert kept == changed(references)


def test_translations_that_were_not_scored_are_not_shown(tmp_path: Path) -> None:
    references = [*sentences(3, 29), "one\rline"]
    attempt = attempt_in(tmp_path, 30)
    (attempt.run / "generate-test.txt").write_text(generated(references, references), newline="")
    found = evaluating.scores_of_translations(attempt)
    path = attempt.run / evaluating.HYPOTHESES
    assert evaluating.are_those_scored(path, found)
    assert not evaluating.are_those_scored(path, {}) and not evaluating.are_those_scored(
        tmp_path / "none", found
    )
    path.write_text(path.read_text().replace("one", "two"))
    assert not evaluating.are_those_scored(path, found)


def test_a_reference_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("one line\n")
    attempt = attempt_in(tmp_path, 2, data={**studies.SPEC["data"], "reference": "other.txt"})
    (attempt.run / "generate-test.txt").write_text(generated(["a", "b"], ["a", "b"]))
    with pytest.raises(ResDualError, match="2 translations and the reference 1 lines"):
        evaluating.scores_of_translations(attempt)


def test_a_part_of_the_test_set_is_not_scored(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path, 4)
    (attempt.run / "generate-test.txt").write_text(generated(["a", "b"], ["a", "b"]))
    with pytest.raises(ResDualError, match="2 translations, and the test set 4 sentences"):
        evaluating.scores_of_translations(attempt)


def test_lines_of_a_reference_end_where_fairseqs_do(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a\rb\r\nc\u2028d\n\ne".encode())
    assert data.lines_of_text(path) == ["a\rb", "c\u2028d", "", "e"]
    assert data.lines_of(path) == 4


@pytest.mark.parametrize("code", ["zh", "zh_CN", "zh-Hant-TW"])
def test_words_of_a_language_are_split_whatever_its_region(code: str) -> None:
    found = evaluating.scored(["\u6211\u4eec"], ["\u6211\u4eec"], code)
    assert "|tok:zh|" in found["signatures"]["bleu"]


@pytest.mark.parametrize("works", [True, False])
def test_comet_of_another_environment(tmp_path: Path, works: bool) -> None:
    command = tmp_path / "comet-score"
    body = 'echo "hypotheses.txt\tscore: 0.8125"' if works else 'echo "no such model" >&2; exit 3'
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    lines = sentences(4, 5)
    for name in ("source", "reference"):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    texts = {**studies.SPEC["data"], "source": "source", "reference": "reference"}
    attempt = attempt_in(tmp_path, 5, comet={"command": "comet-score", "model": "m"}, data=texts)
    (attempt.run / "generate-test.txt").write_text(generated(lines, lines))
    if works:
        found = evaluating.scores_of_translations(attempt)
        assert found["scores"]["comet"] == 0.8125 and found["signatures"]["comet"] == "m"
    else:
        with pytest.raises(ResDualError, match="gave no score: no such model"):
            evaluating.scores_of_translations(attempt)


def test_perplexity_is_what_fairseq_says() -> None:
    log = "... | Loss (base 2): 6.9658, Perplexity: 125.00\n"
    assert evaluating.perplexity(log) == 125.0


def test_a_language_models_test_is_cut_as_its_training() -> None:
    words = [
        "--dropout",
        "0",
        "--tokens-per-sample",
        "32",
        "--sample-break-mode=eos",
        "--max-tokens",
        "400",
    ]
    assert cut_options(words) == ["--tokens-per-sample", "32", "--sample-break-mode=eos"]
    assert cut_options(["--dropout", "0"]) == []
    for words in (["--add-bos-token", "--dropout", "0"], ["--dropout", "0", "--add-bos-token"]):
        assert cut_options(words) == ["--add-bos-token"]
