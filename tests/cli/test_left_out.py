"""Protects the warning where fairseq's batches leave sentences out: once, and with the number."""

import re
from pathlib import Path
from typing import Any, List

import pytest
from helpers.commands import PLUGIN, generate_command, hypotheses, preprocess, run, train_command

pytestmark = pytest.mark.slow
EIGHT = ("--required-batch-size-multiple", 8)  # fairseq's default
SMALL = ("--batch-size", 50, *EIGHT)


def warnings(output: str) -> List[str]:
    """Of what, as `4 of 300 test`."""
    found = re.findall(r"WARNING.*?(\d+ of \d+) samples \(.*?\) of (\w+) are left out", output)
    assert output.count("are left out") == len(found)
    return [" ".join(each) for each in found]


@pytest.fixture(scope="module")
def data(reversal: Path, reversal_text: Path, tmp_path_factory: Any) -> Path:
    """A test set of 300 lines, 100 to validate on, and 600 to train on."""
    folder = tmp_path_factory.mktemp("left-out")
    for language in ("src", "tgt"):
        lines = (reversal_text / f"train.{language}").read_text().splitlines(keepends=True)
        for split, part in (("train", lines[:600]), ("valid", lines[:100]), ("test", lines[:300])):
            (folder / f"{split}.{language}").write_text("".join(part))
    return preprocess(folder / "data-bin", folder, "--srcdict", reversal / "dict.src.txt")


def test_generate(data: Path, learned: Path) -> None:
    command = generate_command(data, learned / "checkpoint_last.pt", *SMALL)
    output = run(*command)
    assert len(hypotheses(output)) == 296
    assert warnings(output) == ["4 of 300 test"]
    assert "--required-batch-size-multiple; give 1 to keep them" in output
    output = run(*command, "--required-batch-size-multiple", 1)
    assert len(hypotheses(output)) == 300
    assert warnings(output) == []


def test_validate(data: Path, learned: Path) -> None:
    command = (
        "fairseq-validate", data, "--user-dir", PLUGIN, "--task", "translation",
        "--path", learned / "checkpoint_last.pt", "--valid-subset", "valid,test,train", *SMALL,
    )  # fmt: skip
    assert warnings(run(*command)) == ["4 of 100 valid", "4 of 300 test"]


def test_train_for_two_epochs(data: Path, tmp_path: Path) -> None:
    """Of batches that are made anew in each epoch, too."""
    command = train_command(
        data, tmp_path, "--train-subset", "test", "--max-epoch", 2, "--update-epoch-batch-itr", True
    )
    assert warnings(run(*command, *SMALL)) == ["4 of 300 test", "4 of 100 valid"]
    assert warnings(run(*command, "--max-epoch", 3)) == []


def test_a_task_that_makes_its_batches_itself(data: Path, tmp_path: Path) -> None:
    for path in data.glob("test.*"):
        for split in ("train", "valid"):
            name = path.name.replace("test.", f"{split}.")
            (tmp_path / name).symlink_to(path)
    for language in ("src", "tgt"):
        (tmp_path / f"dict.{language}.txt").symlink_to(data / "dict.src.txt")
    command = train_command(
        tmp_path, tmp_path / "model", "--task", "translation_multi_simple_epoch",
        "--langs", "src,tgt", "--lang-pairs", "src-tgt", "--max-epoch", 2, *SMALL,
    )  # fmt: skip
    for option in ("--source-lang", "--target-lang"):
        place = command.index(option)
        del command[place : place + 2]
    assert warnings(run(*command)) == ["4 of 300 train", "4 of 300 valid"]


def test_language_model(reversal_text: Path, tmp_path: Path) -> None:
    """fairseq-eval-lm leaves nothing out, fairseq-train does."""
    text = tmp_path / "text"
    text.write_text("".join((reversal_text / "test.src").read_text().splitlines(True)[:100]))
    run(
        "fairseq-preprocess", "--only-source", "--trainpref", text, "--validpref", text,
        "--testpref", text, "--destdir", tmp_path / "data",
    )  # fmt: skip
    options = ("--user-dir", PLUGIN, "--sample-break-mode", "eos", "--tokens-per-sample", 32)
    output = run(
        "fairseq-train", tmp_path / "data", "--task", "language_modeling", *options, "--arch",
        "resdual_transformer_lm_gpt2_tiny", "--optimizer", "adam", "--batch-size", 50,
        "--max-update", 1, "--num-workers", 0, "--save-dir", tmp_path / "model",
    )  # fmt: skip
    assert warnings(output) == ["4 of 100 train", "4 of 100 valid"]
    output = run(
        "fairseq-eval-lm", tmp_path / "data", *options, "--path",
        tmp_path / "model" / "checkpoint_last.pt", "--batch-size", 50,
    )  # fmt: skip
    assert "test 100 examples" in output and warnings(output) == []
