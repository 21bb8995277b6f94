"""Protects the look at a data-bin before training: what is missing or cut short is named."""

from argparse import Namespace
from pathlib import Path

import numpy
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, make_builder

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.training.data_folders import check_data_folders, fault_of_index


@pytest.fixture
def data_bin(tmp_path: Path) -> Path:
    """Two splits in fairseq's format."""
    (tmp_path / "dict.en.txt").write_text("word 1\n")
    for split in ("train", "valid"):
        prefix = tmp_path / f"{split}.de-en.en"
        builder = make_builder(f"{prefix}.bin", impl="mmap", vocab_size=10)
        for length in (3, 1, 4):
            builder.add_item(torch.arange(length))
        builder.finalize(f"{prefix}.idx")
    return tmp_path


def check(folder: Path, **options: object) -> None:
    defaults = {
        "task": "translation",
        "train_subset": "train",
        "valid_subset": "valid",
        "disable_validation": False,
    }
    check_data_folders(Namespace(data=str(folder), **{**defaults, **options}))


def test_whole_data_pass(data_bin: Path) -> None:
    check(data_bin)
    assert fault_of_index(data_bin / "train.de-en.en.idx") is None


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_missing_split(split: str, data_bin: Path) -> None:
    for path in data_bin.glob(f"{split}.*"):
        path.unlink()
    told = rf"holds no {split} data .* fairseq-preprocess .* or name another split"
    with pytest.raises(ResDualError, match=told):
        check(data_bin)
    if split == "valid":
        check(data_bin, disable_validation=True)


@pytest.mark.parametrize("share", [0.0, 0.6, 0.95])
def test_an_index_cut_short(share: float, data_bin: Path) -> None:
    index = data_bin / "train.de-en.en.idx"
    whole = index.read_bytes()
    index.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ResDualError, match=rf"{index} is (empty|cut short); make .* again"):
        check(data_bin)


def test_data_that_are_missing_beside_their_index(data_bin: Path) -> None:
    (data_bin / "train.de-en.en.bin").unlink()
    with pytest.raises(ResDualError, match=r"train\.de-en\.en\.bin is missing"):
        check(data_bin)


def test_an_empty_split(data_bin: Path) -> None:
    prefix = data_bin / "train.de-en.en"
    with MMapIndexedDataset.Index.writer(f"{prefix}.idx", numpy.uint16) as writer:
        writer.write([])
    with pytest.raises(ResDualError, match="holds no sentence"):
        check(data_bin)


def test_other_tasks_have_folders_of_their_own_kind(tmp_path: Path) -> None:
    check(tmp_path, task="translation_multi_simple_epoch")
    with pytest.raises(ResDualError, match="does not exist"):
        check(tmp_path / "none", task="translation_multi_simple_epoch")


def test_a_language_model_is_not_trained_on_a_translation_folder(data_bin: Path) -> None:
    with pytest.raises(ResDualError, match="is one of translation"):
        check(data_bin, task="language_modeling")
    (data_bin / "dict.txt").touch()
    check(data_bin, task="language_modeling")
    with pytest.raises(ResDualError, match="not a finished data-bin"):
        (data_bin / "dict.txt").unlink()
        (data_bin / "dict.en.txt").unlink()
        check(data_bin, task="language_modeling")
