"""What can be seen to be wrong with a data-bin before fairseq opens it."""

import struct
from argparse import Namespace
from itertools import chain
from pathlib import Path
from typing import Iterator, Optional, Sequence

from fairseq.utils import split_paths

from ..errors import ResDualError

INDEX_HEAD = struct.Struct("<9sQBQ")
"""fairseq's ``MMapIndexedDataset.Index``: mark, version, dtype, number of sentences."""
INDEX_MARK = b"MMIDIDX\x00\x00"
INDEX_BYTES_PER_SENTENCE = 4 + 8

DICTIONARIES = {"translation": "dict.*.txt", "language_modeling": "dict.txt"}
"""The tasks whose data folders are checked, and what they call a dictionary."""


def check_data_folders(args: Namespace) -> None:
    """Raise where a folder of ``DATA``, its dictionaries or a split to train on is not there.

    Args:
        args: fairseq's namespace of a whole command line.

    Raises:
        ResDualError: naming the folder or file, and the remedy.
    """
    if not isinstance(getattr(args, "data", None), str):
        return
    folders = [Path(folder) for folder in split_paths(args.data)]
    for folder in folders:
        if not folder.is_dir():
            raise ResDualError(
                f"data folder {folder} does not exist; make it with fairseq-preprocess "
                f"--destdir {folder}"
            )
    dictionary = DICTIONARIES.get(getattr(args, "task", ""))
    if dictionary is not None:
        for folder in folders:
            if not any(folder.glob(dictionary)):
                raise ResDualError(without_dictionary(folder, dictionary))
        for split in splits_to_load(args):
            check_split(folders, split, "name another split (--train-subset, --valid-subset)")


def without_dictionary(folder: Path, dictionary: str) -> str:
    """One sentence for a data-bin that has no dictionary of its task."""
    if any(folder.glob(DICTIONARIES["translation"])):
        return (
            f"data folder {folder} is one of translation, without the {dictionary} of a language "
            "model; make another with fairseq-preprocess --only-source"
        )
    return (
        f"data folder {folder} holds no {dictionary}, so it is not a finished data-bin; make it "
        f"with fairseq-preprocess --destdir {folder}"
    )


def splits_to_load(args: Namespace) -> Iterator[str]:
    """The splits that a training of this command line reads."""
    if hasattr(args, "train_subset"):
        yield args.train_subset
        if not args.disable_validation:
            yield from args.valid_subset.split(",")


def check_split(folders: Sequence[Path], split: str, or_else: str) -> None:
    """Raise where no folder has a split, or where one of its index files is cut short.

    Args:
        folders: of one data-bin.
        split: its name, such as ``train``.
        or_else: what the command can be told in place of preparing the split.
    """
    found = list(chain.from_iterable(folder.glob(f"{split}.*") for folder in folders))
    if not found:
        raise ResDualError(
            f"data folder {folders[0]} holds no {split} data ({split}.*); prepare it with "
            f"fairseq-preprocess (--trainpref, --validpref, --testpref), or {or_else}"
        )
    for index in found:
        if index.suffix == ".idx":
            fault = fault_of_index(index)
            if fault is not None:
                raise ResDualError(
                    f"{fault}; make {index.parent} again with fairseq-preprocess, from the start"
                )


def fault_of_index(index: Path) -> Optional[str]:
    """What is wrong with an index file; None where nothing is, or it is of another format."""
    size = index.stat().st_size
    with index.open("rb") as stream:
        head = stream.read(INDEX_HEAD.size)
    if size == 0:
        return f"{index} is empty"
    if len(head) < INDEX_HEAD.size or not head.startswith(INDEX_MARK):
        return None
    sentences = INDEX_HEAD.unpack(head)[-1]
    if sentences == 0:
        return f"{index} holds no sentence"
    if size < INDEX_HEAD.size + sentences * INDEX_BYTES_PER_SENTENCE:
        return f"{index} is cut short"
    if not index.with_suffix(".bin").exists():
        return f"{index.with_suffix('.bin')} is missing"
    return None
