"""A data-bin's translation task, and the batches that every model is measured on."""

from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any, Dict, List, Optional

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import split_paths

from ..errors import ResDualError
from ..training.data_folders import check_data_folders, check_split


def open_task(
    data: str, split: str, source_lang: Optional[str] = None, target_lang: Optional[str] = None
) -> TranslationTask:
    """fairseq's translation task, with one split loaded.

    Args:
        data: a folder made by fairseq-preprocess.
        split: train, valid or test.
        source_lang: None to take the pair that the folder's file names tell, as fairseq does.
        target_lang: the same.

    Raises:
        ResDualError: the folder, its dictionaries or the split are missing, empty or cut short.
    """
    args = Namespace(
        data=data, task="translation", source_lang=source_lang, target_lang=target_lang
    )
    check_data_folders(args)
    check_split([Path(folder) for folder in split_paths(data)], split, args, "name another --split")
    if (source_lang is None) != (target_lang is None):
        raise ResDualError("give both --source-lang and --target-lang, or neither")
    # Outside fairseq's whole configuration, what refers to other parts of it has to be given.
    cfg = TranslationConfig(
        data=data,
        source_lang=source_lang,
        target_lang=target_lang,
        train_subset=split,
        dataset_impl=None,
        required_seq_len_multiple=1,
    )
    try:
        task = TranslationTask.setup_task(cfg)
        task.load_dataset(split)
    except Exception as error:  # fairseq raises bare ones
        raise ResDualError(
            f"data folder {data} cannot be opened ({error}); check --source-lang, --target-lang "
            "and --split"
        ) from error
    if len(task.dataset(split)) == 0:
        raise ResDualError(f"data folder {data} holds no sentence in {split}; name another --split")
    return task


def draw_batches(
    task: TranslationTask, split: str, max_tokens: int, count: int, max_length: int
) -> List[Dict[str, Any]]:
    """The first batches of the shuffled split; the same ones at every call.

    Args:
        task: with the split loaded.
        split: its name.
        max_tokens: of a batch, counted as fairseq's ``--max-tokens``.
        count: how many batches, at most.
        max_length: longer sentences are left out.

    Raises:
        ResDualError: no sentence is short enough.
    """
    batches = task.get_batch_iterator(
        task.dataset(split),
        max_tokens=max_tokens,
        max_positions=(min(max_length, max_tokens),) * 2,
        ignore_invalid_inputs=True,
        required_batch_size_multiple=1,
        seed=1,
    ).next_epoch_itr(shuffle=True)
    drawn = list(islice(batches, count))
    if not drawn:
        raise ResDualError(
            f"no sentence of {split} has {max_tokens} tokens or less; give a larger --max-tokens"
        )
    return drawn


def build_criterion(task: TranslationTask, label_smoothing: float) -> Any:
    """fairseq's label-smoothed cross entropy, summed over tokens."""
    return LabelSmoothedCrossEntropyCriterion(task, False, label_smoothing)
