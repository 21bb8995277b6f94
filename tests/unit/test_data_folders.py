"""Protects the look at a data-bin before training: what is missing or cut short is named."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

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


def check(folder: Any, **options: object) -> None:
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


def test_a_missing_folder_or_dictionary(data_bin: Path) -> None:
    with pytest.raises(ResDualError, match=r"none does not exist; make it with .*none"):
        check(data_bin / "none")
    (data_bin / "dict.en.txt").unlink()
    with pytest.raises(ResDualError, match=r"holds no dict\.\*\.txt, .* make it with .* --destdir"):
        check(data_bin)


def test_other_tasks_and_places_are_left_to_fairseq(tmp_path: Path) -> None:
    check(tmp_path / "none", task="translation_multi_simple_epoch")
    check_data_folders(Namespace(data="s3://a|s3://b", task="translation"))


def in_shards(folder: Path) -> str:
    """The second holds data to train on alone, the third is still to be made."""
    (folder / "two").mkdir()
    for path in folder.glob("train.*"):
        path.rename(folder / "two" / path.name)
    return f"{folder}:{folder / 'two'}:{folder / 'three'}"


def with_a_broken_index_of_others(folder: Path) -> str:
    for name in ("train.fr-en.en.idx", "train.de-en.fr.idx", "test.de-en.en.idx"):
        (folder / name).touch()
    return str(folder)


def with_raw_text_beside_it(folder: Path) -> str:
    os.truncate(folder / "train.de-en.en.idx", 30)
    (folder / "train.de-en.en").write_text("word\n")
    return str(folder)


@pytest.mark.parametrize(
    "change", [in_shards, with_a_broken_index_of_others, with_raw_text_beside_it]
)
@pytest.mark.parametrize("task", ["translation", "language_modeling"])
def test_what_fairseq_takes_passes(
    change: Callable[[Path], str], task: str, data_bin: Path
) -> None:
    if task == "language_modeling":
        for path in sorted(data_bin.iterdir()):
            path.rename(data_bin / path.name.replace(".de-en.en", "").replace("dict.en", "dict"))
    elif change is with_a_broken_index_of_others:
        check(change(data_bin), source_lang="de", target_lang="en")
    if change is not with_raw_text_beside_it or task == "translation":
        check(change(data_bin), task=task, source_lang="en", target_lang="de")


def test_raw_text_of_a_language_model(tmp_path: Path) -> None:
    """Its files have no ending."""
    for name in ("dict.txt", "train", "valid"):
        (tmp_path / name).write_text("word 1\n")
    check(tmp_path, task="language_modeling", dataset_impl="raw")


def test_combined_sets_to_validate_on(data_bin: Path) -> None:
    check(data_bin, valid_subset="another", combine_valid_subsets=True)


def test_a_language_model_is_not_trained_on_a_translation_folder(data_bin: Path) -> None:
    with pytest.raises(ResDualError, match="is one of translation"):
        check(data_bin, task="language_modeling")
    (data_bin / "dict.txt").touch()
    check(data_bin, task="language_modeling")
    with pytest.raises(ResDualError, match="not a finished data-bin"):
        (data_bin / "dict.txt").unlink()
        (data_bin / "dict.en.txt").unlink()
        check(data_bin, task="language_modeling")
