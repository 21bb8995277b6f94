"""Where a training diverged: the block of the model, beside the module that fairseq names.

When gradients are NaN or Inf, fairseq's trainer runs the step again under its ``NanDetector``,
which logs the first module whose output is. A filter of that log adds which block the module
belongs to, and the same is said once more as the command ends, below all that fairseq lists.
"""

import atexit
import logging
import re
import sys
import weakref
from typing import Any, Callable, Optional

from torch import nn

from ..model.blocks import PARTS, blocks_of

DETECTED = re.compile(r"(NaN|Inf) detected in output of ([^,]*), .*?(forward|backward)")
WRAPPERS = ("_fsdp_wrapped_module.", "_fpw_module.")
"""What FSDP puts into the names of modules."""
WORDS = {"self_attn": "self-attention", "cross_attn": "cross-attention", "ffn": "feed-forward"}


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

    def tell(self) -> None:
        if self.sentence is not None:
            print(f"resdual_fairseq: {self.sentence}", file=sys.stderr)


detector_log = DetectorLog()


def name_blocks_of_diverged_runs() -> None:
    """Add the filter, and its sentence below the traceback that fairseq's error ends in."""
    logging.getLogger("fairseq.nan_detector").addFilter(detector_log)
    atexit.register(detector_log.tell)


def place_of(model: nn.Module, module: str) -> Optional[str]:
    """Which block a module belongs to, in words.

    Args:
        model: a model of this package.
        module: the module's name within it.

    Returns:
        such as ``block 3 of 12 of the encoder (self-attention)``; None for what is in no block.
    """
    for wrapper in WRAPPERS:
        module = module.replace(wrapper, "")
    path = module.split(".")
    blocks = [block for block in blocks_of(model) if block.stack == path[0]]
    own = [block for block in blocks if path[1:3] == ["layers", str(block.layer)]]
    if not own:
        return None
    name = ".".join([*path[3:], ""])
    for block in own:
        if name.startswith((f"{PARTS[block.part][0]}.", *PARTS[block.part][1])):
            part = WORDS[block.part]
            return f"block {block.k} of {len(blocks)} of the {block.stack} ({part})"
    return f"blocks {own[0].k} to {own[-1].k} of {len(blocks)} of the {path[0]}"
