"""A warning where fairseq's batches leave sentences out.

fairseq drops the last batch, without a word, where its size is no multiple of
``--required-batch-size-multiple``.
"""

import functools
import logging
from typing import Any, Callable, List, Set
from weakref import WeakKeyDictionary

from fairseq.data import FairseqDataset
from fairseq.distributed.utils import get_global_rank
from fairseq.tasks import FairseqTask

logger = logging.getLogger(__name__)

subsets: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()
"""What tasks call the data sets that they were asked for."""
warned: Set[str] = set()
"""The subsets of this process that a warning has named."""


def warn_of_sentences_left_out() -> None:
    """Look at all batches that fairseq makes from now on; nothing of them is changed."""
    if not hasattr(FairseqDataset.batch_by_size, "__wrapped__"):
        FairseqTask.dataset = noting_its_name(FairseqTask.dataset)
        FairseqDataset.batch_by_size = counting(FairseqDataset.batch_by_size)


def noting_its_name(dataset: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method with which a task hands out a subset."""

    @functools.wraps(dataset)
    def noted(task: FairseqTask, split: str) -> Any:
        found = part = dataset(task, split)
        while isinstance(part, FairseqDataset):  # a wrapper lets what it wraps make the batches
            subsets[part] = split
            part = getattr(part, "dataset", None)
        return found

    return noted


def counting(batch_by_size: Callable[..., List[Any]]) -> Callable[..., List[Any]]:
    """Wrap the method that makes a data set's batches of indices."""

    @functools.wraps(batch_by_size)
    def counted(
        dataset: FairseqDataset, indices: Any, *args: object, **options: object
    ) -> List[Any]:
        batches = batch_by_size(dataset, indices, *args, **options)
        left_out = len(indices) - sum(len(batch) for batch in batches)
        name = subsets.get(dataset, "a data set")
        if left_out and name not in warned and get_global_rank() == 0:
            warned.add(name)
            logger.warning(
                f"{left_out} of {len(indices)} samples (sentences, or blocks of text) of {name} "
                "are left out: fairseq drops a last batch whose size is no multiple of "
                "--required-batch-size-multiple; give 1 to keep them (with hydra "
                "dataset.required_batch_size_multiple=1)"
            )
        return batches

    return counted
