"""Protects the way errors are shown: one sentence for what a user can mend, all else untouched."""

import os
import struct
import sys
from pathlib import Path
from typing import Any, List

import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, make_builder

from resdual_fairseq.errors import ResDualError, sentence_of, show_errors_as_sentences


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """What reaches the hook that was there before."""
    seen: List[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *exception: seen.append(exception))
    show_errors_as_sentences()
    return seen


def test_what_a_user_can_mend_is_one_line(
    earlier: List[Any], capsys: pytest.CaptureFixture
) -> None:
    sys.excepthook(ResDualError, ResDualError("--this is wrong; give --that"), None)
    assert capsys.readouterr().err == "resdual_fairseq: error: --this is wrong; give --that\n"
    assert earlier == []


def test_a_switch_shows_the_traceback_too(
    earlier: List[Any], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESDUAL_TRACE", "1")
    error = ResDualError("--this is wrong; give --that")
    sys.excepthook(ResDualError, error, None)
    assert earlier == [(ResDualError, error, None)]
    assert capsys.readouterr().err == "resdual_fairseq: error: --this is wrong; give --that\n"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), RuntimeError("y")])
def test_all_other_errors_go_the_way_they_went(
    error: BaseException, earlier: List[Any], capsys: pytest.CaptureFixture
) -> None:
    sys.excepthook(type(error), error, None)
    assert earlier == [(type(error), error, None)]
    assert capsys.readouterr().err == ""


def test_what_fairseq_wrapped_in_an_error_of_its_own_is_found(
    earlier: List[Any], capsys: pytest.CaptureFixture
) -> None:
    wrapper = Exception("please ensure that the architectures match")
    wrapper.__context__ = ResDualError("--this is wrong; give --that")
    sys.excepthook(Exception, wrapper, None)
    assert capsys.readouterr().err == "resdual_fairseq: error: --this is wrong; give --that\n"
    assert earlier == []


def error_and_trace(module: str, error: BaseException) -> Any:
    """An error that a function of this module raised."""
    function = {"__name__": module, "error": error}
    exec("def fail():\n    raise error", function)
    try:
        function["fail"]()
    except type(error) as raised:
        return type(raised), raised, raised.__traceback__


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file", "/dict.en.txt"), "/ is no finished data-bin"),
        (FileNotFoundError(2, "No such file", "bin/dict.en.txt"), "error: bin does not exist in"),
        (FileNotFoundError(2, "No such file", "my.codes"), "my.codes does not exist in"),
        (FileNotFoundError("Dataset not found: test (x)"), "Dataset not found: test (x); prepare"),
        (Exception("Could not infer language pair, please provide it explicitly"), "--source-lang"),
        (AttributeError("'GradScaler' object has no attribute '_backoff_factor'"), "lower --lr"),
        (Exception("Size of sample #7 is invalid, skip it with --skip"), "#7 is invalid, skip it"),
        (FileNotFoundError(2, "No such file", "@@ "), "--replace-unk names no file; give one"),
        (ValueError("--finetune-from-model x does not exist"), "x does not exist; give a check"),
        (ValueError("--finetune-from-model and another: {'_name': None}"), "and another\n"),
        (OSError("Model file not found: x.pt"), "checkpoint x.pt does not exist; give the .pt"),
        (
            AssertionError("embed_dim must be divisible by num_heads"),
            "give a multiple of the heads",
        ),
        (
            ValueError("--share-all-embeddings requires a joined dictionary"),
            "a joined dictionary\n",
        ),
        (AssertionError("Torch not compiled with CUDA enabled"), "give --bf16"),
    ],
)
def test_what_a_command_raises_that_a_user_can_mend(
    error: BaseException, told: str, earlier: List[Any], capsys: pytest.CaptureFixture
) -> None:
    sys.excepthook(*error_and_trace("fairseq_cli.generate", error))
    assert told in capsys.readouterr().err
    assert earlier == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_an_index_cut_short(share: float, tmp_path: Path) -> None:
    prefix = str(tmp_path / "train.de-en.en")
    builder = make_builder(f"{prefix}.bin", impl="mmap", vocab_size=10)
    for length in (3, 1, 4):
        builder.add_item(torch.arange(length))
    builder.finalize(f"{prefix}.idx")
    index = tmp_path / "train.de-en.en.idx"
    os.truncate(index, int(share * index.stat().st_size))
    module = {"__name__": "fairseq_cli.train", "load": MMapIndexedDataset, "prefix": prefix}
    exec("def main():\n    load(prefix)", module)
    with pytest.raises((AssertionError, ValueError, struct.error)) as caught:
        module["main"]()  # type: ignore[operator]
    told = sentence_of(caught.value, caught.tb)
    assert told is not None and told.startswith(f"{index} was cut short, or")
    assert sentence_of(KeyboardInterrupt(), caught.tb) is None


def test_a_users_own_program_keeps_its_traceback(earlier: List[Any]) -> None:
    raised = error_and_trace("my_program", FileNotFoundError(2, "No such file", "my.codes"))
    sys.excepthook(*raised)
    assert earlier == [raised]


def test_a_language_model_beside_translations_dictionaries(
    tmp_path: Path, earlier: List[Any], capsys: pytest.CaptureFixture
) -> None:
    """The folder is finished: it is not to be made again."""
    (tmp_path / "dict.en.txt").touch()
    error = FileNotFoundError(2, "No such file", str(tmp_path / "dict.txt"))
    sys.excepthook(*error_and_trace("fairseq_cli.generate", error))
    told = capsys.readouterr().err
    assert (
        "copy the dictionary of its language there" in told and "no finished data-bin" not in told
    )
