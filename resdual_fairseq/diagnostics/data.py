"""A data-bin's translation task, and the batches that every model is measured on."""

from itertools import islice
from pathlib import Path
from typing import Any, Dict, List, Optional

from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..errors import ResDualError

LONGEST = 1024
"""fairseq's default of --max-source-positions and --max-target-positions."""


def open_task(
    data: str, split: str, source_lang: Optional[str] = None, target_lang: Optional[str] = None
) -> TranslationTask:
    """fairseq's translation task, with one split loaded.

    Args:
        data: a folder made by fairseq-preprocess.
        split: train, valid or test.
        source_lang: None to take the pair that the folder's file names tell, as fairseq does.
        target_lang: the same.
    """
    if Path(data).is_file():
        raise ResDualError(
            f"{data} is a file; the first name is that of a folder that fairseq-preprocess made"
        )
    # Outside fairseq's whole configuration, what refers to other parts of it has to be given.
    cfg = TranslationConfig(
        data=data,
        source_lang=source_lang,
        target_lang=target_lang,
        train_subset=split,
        dataset_impl=None,
        required_seq_len_multiple=1,
    )
    task = TranslationTask.setup_task(cfg)
    task.load_dataset(split)
    return task


def draw_batches(
    task: TranslationTask, split: str, max_tokens: int, count: int
) -> List[Dict[str, Any]]:
    """The first batches of the shuffled split; the same ones at every call.

    Args:
        task: with the split loaded.
        split: its name.
        max_tokens: of a batch, counted as fairseq's ``--max-tokens``.
        count: how many batches, at most.

    Raises:
        ResDualError: no sentence is short enough.
    """
    batches = task.get_batch_iterator(
        task.dataset(split),
        max_tokens=max_tokens,
        max_positions=(min(LONGEST, max_tokens),) * 2,
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
