"""A study's data: its own preparation of text, nested shares of a data-bin, checksums."""

from __future__ import annotations

import functools
import hashlib
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from fairseq.data import FairseqDataset, indexed_dataset
from fairseq.data.dictionary import Dictionary

from ...errors import ResDualError
from ...files import remove, replacing
from ...preparation.prepare_text import prepare_text
from ..engine.attempt import Attempt
from ..engine.outcomes import Ending
from ..spec.keys import Spec

ORDER = 1
"""Seed of the order in which training pairs enter the shares."""
SPLITS = ("train", "valid", "test")


def data_files(data_bin: Path) -> Iterator[Path]:
    return (path for path in data_bin.iterdir() if path.suffix in (".bin", ".idx", ".txt"))


@functools.cache
def checksum_of(paths: Tuple[Tuple[Path, int, int], ...]) -> str:
    """One checksum of files, given with their sizes and times so that a changed one counts."""
    return checksums(path for path, _, _ in paths)


class Inputs(NamedTuple):
    """Checksums of what a study reads: for training, and for the test."""

    training: str
    test: str


def input_checksums(spec: Spec) -> Inputs:
    """Of the data-bin or of the text.

    Raises:
        ResDualError: they are not there, or not whole.
    """
    data = spec.data
    if data.text is not None:
        found = checksum(data.text) + order(data.text)
        return Inputs(found, found)
    data_bin = Path(str(data.data_bin))
    if not data_bin.is_dir():
        raise ResDualError(
            f"data.data_bin: there is no folder {data_bin}; make it, or name another"
        )
    check_splits(spec, data_bin)
    check_test_texts(spec, data_bin)
    check_subwords(spec, data_bin)
    files = sorted(data_files(data_bin))
    test = [path for path in files if path.name.startswith("test.")]
    training = [path for path in files if path not in test]
    own = [path for path in (data.reference, data.source if spec.comet else None) if path]
    return Inputs(checksum(training), checksum([*test, *own]) + order(own))


def order(paths: Sequence[Path]) -> str:
    """What tells files given in another order apart, of which the checksum is the same."""
    return "" if list(paths) == sorted(paths) else "-turned"


def checksum(paths: Sequence[Path]) -> str:
    for path in paths:
        if not path.is_file():
            raise ResDualError(f"data: there is no file {path}; name one that is there")
    return checksum_of(
        tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    )


def check_splits(spec: Spec, data_bin: Path) -> None:
    """Raise ResDualError where a split is missing that the study needs."""
    for split in SPLITS:
        for name in names_of(spec, split):
            if not (data_bin / f"{name}.idx").is_file():
                raise ResDualError(
                    f"data.data_bin: {data_bin} has no {name}.idx; a study needs train, valid and "
                    "test in its own direction, as fairseq-preprocess makes them of --trainpref, "
                    "--validpref, --testpref"
                )


def check_whole(spec: Spec) -> None:
    """Raise ResDualError where fairseq could not read a file of the data-bin to its end."""
    data_bin = Path(str(spec.data.data_bin))
    if spec.data.data_bin is None or not data_bin.is_dir():
        return
    check_splits(spec, data_bin)
    for name in (name for split in SPLITS for name in names_of(spec, split)):
        lines = sentences(data_bin / name)
        with named(f"{data_bin / name}.bin"):
            lines[len(lines) - 1]
    for dictionary in data_bin.glob("dict.*txt"):
        with named(str(dictionary)):
            Dictionary.load(str(dictionary))


@contextmanager
def named(file: str) -> Iterator[None]:
    """Name the file that fairseq or numpy cannot read: each has many errors for that."""
    try:
        yield
    except Exception as error:
        raise ResDualError(
            f"{file} is damaged or missing; make the data-bin anew with fairseq-preprocess, as mmap"
        ) from error


def check_test_texts(spec: Spec, data_bin: Path) -> None:
    """Raise ResDualError where a text cannot be the one that the test set was made from."""
    for key in ("reference", "source"):
        path: Optional[Path] = getattr(spec.data, key)
        if path is None or not path.is_file():
            continue
        lines = pairs_of(spec, data_bin, "test")
        if lines != lines_of(path):
            raise ResDualError(
                f"data.{key}: {path} has {lines_of(path):,} lines and the test set of {data_bin} "
                f"{lines:,} sentences; name the text that it was made from"
            )


def check_subwords(spec: Spec, data_bin: Path) -> None:
    """Raise ResDualError where pieces of words would be scored in place of words."""
    dictionary = data_bin / f"dict.{spec.data.target_lang}.txt"
    options = " ".join(spec.decoding.options or [])
    joined = any(name in options for name in ("--post-process", "--remove-bpe", "--bpe"))
    kind = "" if spec.task != "translation" or joined else subwords_of(dictionary)
    if kind:
        raise ResDualError(
            f"data.data_bin: {dictionary} has subwords, and decoding.options do not join them, so "
            f"that pieces of words would be scored; add --post-process {kind}"
        )


def subwords_of(dictionary: Path) -> str:
    """What fairseq calls the subwords of a dictionary; empty where there are none."""
    if not dictionary.is_file():
        return ""
    words = [line.rsplit(" ", 1)[0] for line in dictionary.read_text("utf-8").splitlines()]
    if any(word.endswith("@@") for word in words):
        return "subword_nmt"
    return "sentencepiece" if any(word.startswith("\u2581") for word in words) else ""


def names_of(spec: Spec, split: str) -> Tuple[str, ...]:
    """The files of a split, without their endings."""
    if spec.task == "language_modeling":
        return (split,)
    pair = f"{spec.data.source_lang}-{spec.data.target_lang}"
    return tuple(f"{split}.{pair}.{x}" for x in (spec.data.source_lang, spec.data.target_lang))


KEYS = {
    "--test-lines": "data.test_lines",
    "--valid-lines": "data.valid_lines",
    "--text": "data.text",
    "--languages": "data.source_lang and target_lang",
    "--vocabulary": "data.vocabulary",
    ", with --force": "",
}
"""Options of the quickstart's preparation, by what the spec calls them."""


def prepare(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """From two files of text to a data-bin, by the quickstart's preparation."""
    data = attempt.spec.data
    assert data.text is not None
    languages = (str(data.source_lang), str(data.target_lang))
    try:
        prepare_text(
            attempt.run / "data", languages, data.text, vocabulary=data.vocabulary,
            test_lines=data.test_lines, valid_lines=data.valid_lines, seed=ORDER,
        )  # fmt: skip
    except ResDualError as error:
        sentence = str(error)
        for option, key in KEYS.items():
            sentence = sentence.replace(option, key)
        raise ResDualError(sentence) from error
    return Ending("completed"), {}


def training_pairs(spec: Spec) -> Optional[int]:
    """How many sentences there are to train on, at most; None where the data cannot be read."""
    if spec.data.text is not None:
        with suppress(OSError):
            return lines_of(spec.data.text[0])
        return None
    data_bin = Path(str(spec.data.data_bin))
    is_there = (data_bin / f"{names_of(spec, 'train')[0]}.idx").is_file()
    return pairs_of(spec, data_bin, "train") if is_there else None


def lines_of(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def lines_of_text(path: Path) -> List[str]:
    """A text's lines as fairseq-preprocess counts them: at line feeds alone."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        return [line.rstrip("\r\n") for line in stream]


def pairs_of(spec: Spec, data_bin: Path, split: str) -> int:
    """How many sentences a split has.

    Raises:
        ResDualError: its index is damaged.
    """
    return len(sentences(data_bin / names_of(spec, split)[0]))


def sentences(name: Path) -> FairseqDataset:
    """A file of a split.

    Raises:
        ResDualError: its index is damaged.
    """
    with named(f"{name}.idx"):
        return indexed_dataset.make_dataset(str(name), impl="mmap")


def subset(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """A data-bin with a share of the training pairs; smaller shares are parts of larger ones."""
    whole, spec = attempt.data(), attempt.spec
    share = float(attempt.task.inputs["fraction"])
    remove(attempt.run / "data")  # of an attempt that was killed at its end
    with replacing(attempt.run / "data") as folder:
        folder.mkdir()
        for path in data_files(whole):
            if not path.name.startswith("train."):
                shutil.copyfile(path, folder / path.name)
        for name in names_of(spec, "train"):
            language = "" if spec.task == "language_modeling" else "." + name.rsplit(".", 1)[1]
            dictionary = Dictionary.load(str(whole / f"dict{language}.txt"))
            lines = sentences(whole / name)
            builder = indexed_dataset.make_builder(
                str(folder / f"{name}.bin"), impl="mmap", vocab_size=len(dictionary)
            )
            for index in shares(len(lines), share):
                builder.add_item(lines[index])
            builder.finalize(str(folder / f"{name}.idx"))
    return Ending("completed"), {"lines": len(shares(len(lines), share))}


def shares(lines: int, share: float) -> np.ndarray:
    """Which lines a share holds, in the order of the text."""
    order = np.random.RandomState(ORDER).permutation(lines)
    return np.sort(order[: max(1, round(share * lines))])


def user_dirs(spec: Spec) -> Dict[str, str]:
    """The checksum of the --user-dir of every arm that has its own.

    Raises:
        ResDualError: one is not there.
    """
    own = {name: arm.user_dir for name, arm in spec.arms.items() if arm.user_dir is not None}
    for name, folder in own.items():
        if not folder.is_dir():
            raise ResDualError(f"arms.{name}.user_dir: there is no folder {folder}; name another")
    return {name: checksums(folder.rglob("*.py")) for name, folder in own.items()}


def checksums(paths: Iterator[Path]) -> str:
    """One checksum of files, of their names and contents."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                found.update(block)
    return found.hexdigest()[:16]
