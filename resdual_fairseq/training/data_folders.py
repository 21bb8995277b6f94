"""What can be seen to be wrong with a data-bin before fairseq opens it.

What fairseq reads at once is looked at: of folders in shards (``one:two``) dictionaries and what to
validate on lie in the first alone, and the others may still be made.
"""

import struct
from argparse import Namespace
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from fairseq.data.data_utils import infer_language_pair
from fairseq.utils import split_paths

from ..errors import ResDualError

INDEX_HEAD = struct.Struct("<9sQBQ")
"""fairseq's ``MMapIndexedDataset.Index``: mark, version, dtype, number of sentences."""
INDEX_MARK = b"MMIDIDX\x00\x00"
INDEX_BYTES_PER_SENTENCE = 4 + 8

DICTIONARIES = {"translation": "dict.*.txt", "language_modeling": "dict.txt"}
"""The tasks whose data folders are checked, and what they call a dictionary."""


def check_data_folders(args: Namespace) -> None:
    """Raise where a data folder, its dictionaries or a split to train on is not there.

    Args:
        args: fairseq's namespace of a whole command line.

    Raises:
        ResDualError: naming the folder or file, and the remedy.
    """
    data, dictionary = getattr(args, "data", None), DICTIONARIES.get(getattr(args, "task", ""))
    if dictionary is None or not isinstance(data, str) or "://" in data:
        return
    folders = [Path(folder) for folder in split_paths(data)]
    first = folders[0]
    if not first.is_dir():
        raise ResDualError(
            f"data folder {first} does not exist; make it with fairseq-preprocess --destdir {first}"
        )
    if not any(first.glob(dictionary)):
        raise ResDualError(without_dictionary(first, dictionary))
    for split in splits_to_load(args):
        check_split(folders, split, args, "name another split (--train-subset, --valid-subset)")


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
            combined = getattr(args, "combine_valid_subsets", None)
            yield from ["valid"] if combined else args.valid_subset.split(",")


def check_split(folders: Sequence[Path], split: str, args: Namespace, or_else: str) -> None:
    """Raise where no folder has a split, or where the first has one whose index is cut short.

    Args:
        folders: of one data-bin.
        split: its name, such as ``train``.
        args: options of its task.
        or_else: what the command can be told in place of preparing the split.
    """
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    if not any(name == split or name.startswith(f"{split}.") for name in names):
        raise ResDualError(
            f"data folder {folders[0]} holds no {split} data ({split}.*); prepare it with "
            f"fairseq-preprocess (--trainpref, --validpref, --testpref), or {or_else}"
        )
    if getattr(args, "dataset_impl", None) != "raw":
        check_indices(files_of_split(folders[0], split, args))


def files_of_split(folder: Path, split: str, args: Namespace) -> List[Path]:
    """The files that fairseq reads of a split, without their endings; raw text has none."""
    if args.task == "language_modeling":
        return [folder / split]
    languages = [getattr(args, "source_lang", None), getattr(args, "target_lang", None)]
    if None in languages:
        languages = list(infer_language_pair(str(folder)))
    pairs = ["-".join(map(str, languages)), "-".join(map(str, reversed(languages)))]
    return [folder / f"{split}.{pair}.{language}" for pair in pairs for language in languages]


def check_indices(files: Sequence[Path]) -> None:
    """Raise where the index of one of these files is cut short."""
    for file in files:
        index = file.with_name(f"{file.name}.idx")
        fault = fault_of_index(index) if index.is_file() and not file.exists() else None
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
