"""Protects every search of fairseq's commands: what each option promises holds for this model."""

import re
from pathlib import Path
from typing import Dict, List

import pytest
from helpers.commands import PLUGIN, generate_command, hypotheses, run, train_command

pytestmark = pytest.mark.slow
SUBSET = ("--gen-subset", "valid", "--max-len-b", 8)


@pytest.fixture(scope="module")
def targets(reversal_text: Path) -> List[str]:
    return (reversal_text / "valid.tgt").read_text().splitlines()


def generate(data: Path, checkpoint: object, *options: object) -> str:
    return run(*generate_command(data, checkpoint, *SUBSET, *options))


def right(output: str, targets: List[str]) -> float:
    found = hypotheses(output)
    assert len(found) == len(targets)
    return sum(found[number] == line for number, line in enumerate(targets)) / len(targets)


def scores(output: str) -> Dict[int, float]:
    lines = [line.split("\t") for line in output.split("\n") if line.startswith("H-")]
    return {int(line[0][2:]): float(line[1]) for line in lines}


@pytest.mark.parametrize(
    "options",
    [
        "--beam 4 --diverse-beam-groups 2 --diverse-beam-strength 0.5",
        "--beam 4 --diversity-rate 0.5",
        "--beam 1 --sampling --sampling-topk 1 --print-alignment soft",
        "--beam 1 --sampling --sampling-topp 0.01 --temperature 0.5",
    ],
)
def test_searches_that_find_the_likeliest(
    options: str, learned: Path, reversal: Path, targets: List[str]
) -> None:
    output = generate(reversal, learned / "checkpoint_last.pt", *options.split())
    assert right(output, targets) > 0.9


def test_sampling_gives_as_many_as_asked_and_depends_on_the_seed(
    learned: Path, reversal: Path
) -> None:
    found = [
        generate(
            reversal, learned / "checkpoint_last.pt", "--sampling", "--temperature", 2,
            "--beam", 2, "--nbest", 2, "--seed", seed,
        )
        for seed in (1, 2)
    ]  # fmt: skip
    assert found[0].count("\nH-") == 200
    assert hypotheses(found[0]) != hypotheses(found[1])


def test_translations_as_long_as_the_source(
    learned: Path, reversal: Path, targets: List[str]
) -> None:
    """fairseq counts the source's EOS and not the translation's."""
    output = generate(reversal, learned / "checkpoint_last.pt", "--beam", 2, "--match-source-len")
    found = hypotheses(output)
    assert [len(found[i].split()) - 1 for i in range(100)] == [len(t.split()) for t in targets]


def test_searches_that_exclude_each_other(learned: Path, reversal: Path) -> None:
    command = generate_command(reversal, learned / "checkpoint_last.pt", *SUBSET)
    output = run(*command, "--diverse-beam-groups", 4, "--match-source-len", fails=True)
    assert "mutually exclusive" in output


def test_words_that_must_stand_in_the_translation(learned: Path, reversal: Path) -> None:
    """Lexical constraints, ordered and not, of one and two words."""
    for mode in ("ordered", "unordered"):
        output = run(
            "fairseq-interactive", reversal, "--source-lang", "src", "--target-lang", "tgt",
            "--user-dir", PLUGIN, "--path", learned / "checkpoint_last.pt", "--beam", 8,
            "--constraints", mode, "--max-len-b", 8, text="a b c\th\nb c\ta\te\na b\n",
        )  # fmt: skip
        found = hypotheses(output)
        assert "h" in found[0].split()
        assert {"a", "e"} <= set(found[1].split())
        assert found[2] == "b a"


def test_a_prefix_is_kept(learned: Path, reversal: Path, targets: List[str]) -> None:
    output = generate(reversal, learned / "checkpoint_last.pt", "--prefix-size", 1)
    found = hypotheses(output)
    assert all(found[number][0] == line[0] for number, line in enumerate(targets))
    assert right(output, targets) > 0.9


def test_dropout_that_is_retained(learned: Path, reversal: Path, targets: List[str]) -> None:
    """It was trained without; with much of it the translations are spoilt."""
    output = generate(
        reversal, learned / "checkpoint_last.pt", "--beam", 2, "--retain-dropout",
        "--model-overrides", "{'dropout': 0.5}",
    )  # fmt: skip
    assert right(output, targets) < 0.9


def test_scores_of_references_are_those_of_equal_hypotheses(
    learned: Path, reversal: Path, targets: List[str]
) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    searched = generate(reversal, checkpoint, "--beam", 2)
    scored = generate(reversal, checkpoint, "--score-reference")
    assert right(scored, targets) == 1
    wanted, found = scores(searched), scores(scored)
    same = [number for number, line in hypotheses(searched).items() if line == targets[number]]
    assert len(same) > 90
    assert all(abs(wanted[number] - found[number]) < 2e-3 for number in same)


def test_ensemble_of_residual_kinds(learned: Path, reversal: Path, tmp_path: Path) -> None:
    """Its order does not matter, and each has a say."""
    paths = [str(learned / "checkpoint_last.pt"), str(tmp_path / "checkpoint_last.pt")]
    run(*train_command(reversal, tmp_path, "--residual", "pre", "--max-update", 1))
    one, other, alone = (
        hypotheses(generate(reversal, ":".join(order), "--beam", 2))
        for order in (paths, paths[::-1], paths[:1])
    )
    assert one == other != alone


def test_fewer_layers_than_were_trained(learned: Path, reversal: Path, targets: List[str]) -> None:
    keep = "{'encoder_layers_to_keep': '1', 'decoder_layers_to_keep': '0'}"
    pruned = generate(reversal, learned / "checkpoint_last.pt", "--model-overrides", keep)
    assert right(pruned, targets) < 0.9


def test_scores_of_a_corpus(learned: Path, reversal: Path, tmp_path: Path) -> None:
    """generate's own BLEU is that of fairseq-score on what it printed."""
    output = generate(reversal, learned / "checkpoint_last.pt", "--beam", 2)
    lines = sorted(
        (int(line.split("\t")[0][2:]), line[0], line.rsplit("\t", 1)[1])
        for line in output.split("\n") if line.startswith(("H-", "T-"))
    )  # fmt: skip
    for letter in "HT":
        text = "".join(f"{text}\n" for _, kind, text in lines if kind == letter)
        (tmp_path / letter).write_text(text)
    scored = run("fairseq-score", "--sys", tmp_path / "H", "--ref", tmp_path / "T")
    bleu = re.findall(r"BLEU4 = ([0-9.]+)", output + scored)
    assert len(bleu) == 2
    assert bleu[0] == bleu[1]
    assert float(bleu[0]) > 80
