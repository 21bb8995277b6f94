"""Where a training diverged: the block of the model, beside the module that fairseq names.

When gradients are NaN or Inf, fairseq's trainer runs the step again under its ``NanDetector``,
which logs the first module whose output is. A filter of that log adds which block the module
belongs to, and the same is said once more as the command ends, below all that fairseq lists.
"""

import logging
import re
import sys
import weakref
from types import TracebackType
from typing import Any, Callable, List, Optional, Type

from torch import nn

from ..model.blocks import PARTS, STACKS, Block, blocks_of

DETECTED = re.compile(r"(NaN|Inf) detected in output of ([^,]*), .*?(forward|backward)")
WRAPPERS = ("_fsdp_wrapped_module.", "_fpw_module.")
"""What FSDP puts into the names of modules."""
WORDS = {"self_attn": "self-attention", "cross_attn": "cross-attention", "ffn": "feed-forward"}
ALSO = {"ffn": ("activation_dropout_module.",)}
"""Modules of a block that have no weights."""
OUTPUTS = ("output_projection", "adaptive_softmax", "project_out_dim")


class NamesDivergedBlock(nn.Module):
    """A model whose training says where it diverged; comes before fairseq's model class."""

    def train(self, mode: bool = True) -> Any:
        """fairseq's trainer calls this before every update."""
        if mode:
            detector_log.model = weakref.ref(self)
        return super().train(mode)


class DetectorLog(logging.Filter):
    """Adds the block to what the detector logs of the model that is being trained.

    Attributes:
        model: a weak reference to it.
        sentence: what to say as the command ends, once something was detected.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: Callable[[], Any] = lambda: None
        self.sentence: Optional[str] = None

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        found = DETECTED.match(message)
        model = self.model()
        place = place_of(model, found[2]) if found and model is not None else None
        if found and place:
            record.msg, record.args = f"{message} [{place}]", ()
            what = "the gradient at " if found[3] == "backward" else ""
            self.sentence = self.sentence or (
                f"the run diverged: {found[1]} first appeared in {what}{place}; crash.pt in the "
                "--save-dir holds its weights; train on from an earlier checkpoint with a lower "
                "--lr, more --warmup-updates or a --clip-norm"
            )
        return True


detector_log = DetectorLog()


def name_blocks_of_diverged_runs() -> None:
    """Add the filter, and the sentence below the traceback that fairseq's error ends in."""
    logging.getLogger("fairseq.nan_detector").addFilter(detector_log)
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        previous(kind, error, trace)
        if detector_log.sentence is not None:
            print(f"resdual_fairseq: {detector_log.sentence}", file=sys.stderr)

    sys.excepthook = hook


def place_of(model: nn.Module, module: str) -> Optional[str]:
    """Which block a module belongs to, in words.

    Args:
        model: a model of this package.
        module: the module's name within it.

    Returns:
        such as ``block 3 of 12 of the encoder (self-attention)``; None for what is in no stack.
    """
    for wrapper in WRAPPERS:
        module = module.replace(wrapper, "")
    stack, *rest = module.split(".")
    blocks = [block for block in blocks_of(model) if block.stack == stack] if rest else []
    if stack not in STACKS or not blocks:
        return None
    if rest[0] == "layers" and len(rest) > 1:
        own = [block for block in blocks if str(block.layer) == rest[1]]
        return place_in_layer(own, len(blocks), rest[2:])
    if rest[0] == "layer_norm":
        return f"the closing norm of the {stack}, after its {len(blocks)} blocks"
    if rest[0] in OUTPUTS:
        return f"the output projection, after the {len(blocks)} blocks of the {stack}"
    return f"the embeddings of the {stack}, before block 1 of {len(blocks)}"


def place_in_layer(blocks: List[Block], count: int, module: List[str]) -> str:
    """The block among those of a layer that a module is of; all of them where it is of several."""
    first, last = blocks[0], blocks[-1]
    name = f"{module[0]}." if module else ""
    for block in blocks:
        connection, prefixes = PARTS[block.part]
        place = f"block {block.k} of {count} of the {block.stack} ({WORDS[block.part]})"
        if name == f"{connection}.":
            return f"the layer norm of {place}"
        if name.startswith((*prefixes, *ALSO.get(block.part, ()))):
            return place
    return f"blocks {first.k} to {last.k} of {count} of the {first.stack}"
