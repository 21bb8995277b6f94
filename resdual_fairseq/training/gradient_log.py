"""`--log-block-gradients N`: gradient norms of a training's blocks, written as it runs.

fairseq tells a model the number of updates before every forward pass, and torch tells a hook when
an optimizer is about to step; between the two lies everything that fairseq does to gradients:
accumulation, reduction over processes, division by the number of tokens, unscaling, clipping.
"""

import csv
import os
import weakref
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import torch
from fairseq.distributed.utils import get_global_rank
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from ..errors import ResDualError
from ..files import replacing
from ..model.blocks import blocks_of

FILE = "block_gradients.csv"
COLUMNS = ("update", "stack", "block", "layer", "part", "gradient_norm")


def check_gradient_log(args: Union[Namespace, DictConfig]) -> None:
    """Raise on options with which gradients cannot be logged.

    Args:
        args: a namespace of a whole command line, or the ``model`` part of a hydra config.

    Raises:
        ResDualError: naming the option and the remedy.
    """
    every = args.log_block_gradients
    if every and getattr(args, "ddp_backend", None) == "fully_sharded":
        raise ResDualError(
            "--log-block-gradients needs whole gradients, which --ddp-backend fully_sharded cuts "
            "into shards; leave it out, or choose another backend"
        )
    if every and not getattr(args, "save_dir", None):
        raise ResDualError(
            "model.log_block_gradients does not know where to write in a hydra config; add "
            "'+model.save_dir=${checkpoint.save_dir}', and for TensorBoard "
            "'+model.tensorboard_logdir=${common.tensorboard_logdir}'"
        )


class LogsBlockGradients(nn.Module):
    """A model with ``--log-block-gradients``; comes before fairseq's model class.

    ``cfg`` are its options.
    """

    gradient_log = None

    def train(self, mode: bool = True) -> Any:
        """fairseq's trainer calls this before every update, its generator never with True."""
        if mode and self.gradient_log is None and getattr(self.cfg, "log_block_gradients", False):
            self.gradient_log = GradientLog(self, self.cfg)
        return super().train(mode)

    def set_num_updates(self, num_updates: int) -> None:
        """fairseq's task calls this before every forward pass of a training."""
        super().set_num_updates(num_updates)
        if self.gradient_log is not None:
            self.gradient_log.update = num_updates + 1


class GradientLog:
    """Writes the gradient norm of each block at update 1 and at every ``every``-th.

    The gradient is the one that the optimizer receives, clipping included. A step that fairseq
    leaves out because of an overflow writes nothing.

    Args:
        model: a model of this package in training.
        args: its options.
    """

    def __init__(self, model: nn.Module, args: Namespace) -> None:
        self.every: int = args.log_block_gradients
        self.blocks = blocks_of(model)
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.own = {id(weight) for weight in self.parameters}
        self.path = Path(args.save_dir, FILE)
        self.tensorboard = getattr(args, "tensorboard_logdir", None)
        self.writer: Any = None
        self.update = 0  # unknown: fairseq has not told it yet, or it is written
        self.begun = False
        watch_optimizers(self)

    def before_step(self, optimizer: Optimizer, scale: float) -> None:
        """Write this update's norms, once, if they are due.

        Args:
            optimizer: the one that is about to step; its gradients are ``scale`` times too large.
            scale: what the optimizer itself divides by.
        """
        due = self.update == 1 or self.update % self.every == 0
        if self.update and due and get_global_rank() == 0:
            factor = self.factor(optimizer)
            if factor is not None:
                blocks = (block.weights.values() for block in self.blocks)
                self.write([total_norm(weights) * factor / scale for weights in blocks])
                self.update = 0

    def factor(self, optimizer: Optimizer) -> Optional[float]:
        """What the model's gradients have to be multiplied by to be the optimizer's.

        With ``--fp16`` the optimizer has copies of its own, made from the model's gradients, which
        themselves stay multiplied by the loss scale and the number of tokens.

        Returns:
            1 for an optimizer of the model's own parameters; None for one of another model.
        """
        given = [weight for group in optimizer.param_groups for weight in group["params"]]
        if any(id(weight) in self.own for weight in given):
            return 1.0
        ours, theirs = total_norm(self.parameters), total_norm(given)
        same_size = sum(w.numel() for w in given) >= sum(w.numel() for w in self.parameters)
        return theirs / ours if same_size and ours > 0 else None

    def write(self, norms: List[float]) -> None:
        """Append the norms of this update to the file, and to TensorBoard where it is on."""
        if not self.begun:
            self.begin()
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(
                (self.update, block.stack, block.k, block.layer, block.part, f"{norm:.6g}")
                for block, norm in zip(self.blocks, norms)
            )
        if self.writer is not None:
            for block, norm in zip(self.blocks, norms):
                tag = f"block_gradients/{block.stack}/{block.k:03d}_{block.part}"
                self.writer.add_scalar(tag, norm, self.update)
            self.writer.flush()

    def begin(self) -> None:
        """Keep of an earlier run what lies before this update; write the head."""
        kept = rows_before(self.path, self.update)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as path, path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([COLUMNS, *kept])
        if self.tensorboard:
            self.writer = tensorboard_writer(self.tensorboard, self.update)
        self.begun = True


def watch_optimizers(log: GradientLog) -> None:
    """Call ``log.before_step`` before any optimizer's step, for as long as the log lives."""
    reference = weakref.ref(log)

    def hook(optimizer: Optimizer, args: Tuple, kwargs: Dict[str, Any]) -> None:
        alive = reference()
        if alive is not None:
            alive.before_step(optimizer, kwargs.get("scale", 1.0))

    weakref.finalize(log, register_optimizer_step_pre_hook(hook).remove)


def total_norm(weights: Iterable[Tensor]) -> float:
    """The norm of all gradients together, summed in float32 or wider."""
    norms = [
        torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32))
        for grad in (weight.grad for weight in weights)
        if grad is not None
    ]
    return torch.stack(norms).norm().item() if norms else 0.0


def rows_before(path: Path, update: int) -> List[List[str]]:
    """Rows of earlier updates; a resumed run writes those after its checkpoint anew."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if len(row) == len(COLUMNS)]
    return [row for row in rows if row[0].isdigit() and int(row[0]) < update]


def tensorboard_writer(folder: str, update: int) -> Any:
    """A writer beside fairseq's own, or None where TensorBoard is not installed (fairseq says so).

    Args:
        folder: fairseq's ``--tensorboard-logdir``.
        update: curves of an earlier run are cut off here.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(os.path.join(folder, "block_gradients"), purge_step=update)
