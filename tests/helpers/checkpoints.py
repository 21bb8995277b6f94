"""Checkpoint files as fairseq's trainer writes them, and files that only look like them."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict

import numpy
import torch
from torch import Tensor

from .models import MODEL


def state(weights: Dict[str, Tensor], **model_options: Any) -> Dict[str, Any]:
    """Options as a namespace, numbers and arrays of numpy's in the meters, an optimizer's state."""
    return {
        "args": None,
        "cfg": {
            "model": Namespace(**{"_name": MODEL, "arch": MODEL, **model_options}),
            "task": {"_name": "translation", "data": "data-bin"},
        },
        "model": weights,
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": "LabelSmoothedCrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": numpy.float64(3.5)},
                "num_updates": 7,
            }
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"epoch": 2, "iterations_in_epoch": 0},
            "metrics": {"_bleu_counts": numpy.array([4, 3, 2, 1])},
        },
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}},
    }


def save(path: Path, weights: Dict[str, Tensor], **model_options: Any) -> Path:
    torch.save(state(weights, **model_options), path)
    return path


class RunsCode:
    """Unpickles by calling os.system, which makes a marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"echo > {self.marker}",)
