"""Updates of untrained models by fairseq's own trainer: timed, weighed, and counted."""

from __future__ import annotations

import io
import resource
import time
from argparse import ArgumentParser
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
from fairseq import options, tasks, utils
from fairseq.data.iterators import GroupedIterator
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from torch import nn

from ...checkpoints.int8 import Int8StateDictMixin, encoded_state
from .flops import flops_per_update

Answer = Dict[str, Any]
Batch = Dict[str, Any]
SEED = 1
"""Of the weights; the same for all arms."""
COUNTED_UPDATES = 16
"""Updates whose floating-point operations are counted, an epoch's first ones whoever asks: one
differs from the mean by some 4 % (Multi30k), or by more on smaller text."""


def configuration(parser: ArgumentParser, words: Sequence[str]) -> Any:
    """fairseq's configuration of a command line."""
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, list(words)))


def built(words: Sequence[str]) -> Tuple[Any, Any, nn.Module]:
    """Configuration, task and untrained model of a command line of fairseq-train, on one device."""
    words = [*words, "--distributed-world-size", "1"]
    cfg = configuration(options.get_training_parser(), words)
    utils.set_torch_seed(SEED)
    task = tasks.setup_task(cfg.task)
    return cfg, task, task.build_model(cfg.model)


def uses_cuda(cfg: Any) -> bool:
    return torch.cuda.is_available() and not cfg.common.cpu


def clock() -> float:
    """Seconds, read when all that was asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory() -> float:
    """The most memory that this process has held, in GiB: the GPU's where it is used.

    Linux's ``ru_maxrss`` would also count what the process held that started this one.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # macOS counts in bytes


def megabytes(weights: Dict[str, Any]) -> float:
    """The size of a checkpoint of these weights alone, in MB (1e6 bytes)."""
    stream = io.BytesIO()
    torch.save({"model": weights}, stream)
    return len(stream.getvalue()) / 1e6


def counted(model: nn.Module) -> Dict[str, float]:
    """What is counted of a model, by the names in ``costs.NAMES``."""
    weights = model.state_dict()
    found = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "size_mb": megabytes(weights),
    }
    if isinstance(model, Int8StateDictMixin):
        found["int8_size_mb"] = megabytes(encoded_state(weights))
    return found


class Updates:
    """A trainer, and the batches of one update after the other, as fairseq-train has them."""

    def __init__(self, request: Dict[str, Any]) -> None:
        self.cfg, task, self.model = built(request["train"])
        self.trainer = Trainer(self.cfg, task, self.model, task.build_criterion(self.cfg.criterion))
        self.batches = self.endless(self.trainer.get_train_iterator(epoch=1))
        self.trainer.begin_epoch(1)

    def endless(self, epochs: Any) -> Iterator[List[Batch]]:
        """Epoch after epoch; the seed of the command line decides their order."""
        while True:
            batches = epochs.next_epoch_itr(shuffle=True)
            yield from GroupedIterator(batches, self.cfg.optimization.update_freq[0])

    def update(self, count: int) -> Answer:
        """Some updates, whose batches are read before the clock starts."""
        updates = list(islice(self.batches, count))
        began = clock()
        for batches in updates:
            self.trainer.train_step(batches, raise_oom=True)
        seconds = clock() - began
        tokens = sum(batch["ntokens"] for batches in updates for batch in batches)
        return {"seconds": seconds, "updates": count, "tokens": tokens}


class Training(Updates):
    """Timed updates."""

    def __init__(self, request: Dict[str, Any]) -> None:
        super().__init__(request)
        # On a GPU, weights of 8 bits are made floats again.
        fast_int8 = isinstance(self.model, Int8StateDictMixin) and not uses_cuda(self.cfg)
        self.facts = {"counted": counted(self.model), "searches_in_int8": fast_int8}
        self.updates = request["updates"]
        self.update(self.updates)

    def turn(self, number: int) -> Answer:
        return self.update(self.updates)


class Untimed(Updates):
    """The memory that updates take, at once, and then their floating-point operations."""

    def __init__(self, request: Dict[str, Any]) -> None:
        super().__init__(request)
        self.update(request["memory_updates"])
        self.facts = {"memory_gib": peak_memory()}

    def turn(self, number: int) -> Answer:
        updates = islice(self.endless(self.trainer.get_train_iterator(epoch=1)), COUNTED_UPDATES)
        model, criterion = self.trainer.model, self.trainer.criterion
        return {"flops": flops_per_update(model, criterion, updates, uses_cuda(self.cfg))}
