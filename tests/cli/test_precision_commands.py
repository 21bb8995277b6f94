"""Protects trainings in 16 bits by fairseq's commands, on the CPU and, where there is one, GPU."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import torch
from helpers.commands import generate_command, hypotheses, losses, run, train_command

pytestmark = pytest.mark.slow
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: fairseq-train in 16 bits on CUDA"
)
STEPS = ("--max-update", 8, "--dropout", 0, "--disable-validation")


def train(data: Path, folder: Path, *options: object) -> Dict[int, float]:
    return losses(run(*train_command(data, folder, *STEPS, *options)))


@pytest.fixture(scope="module")
def in_float32(reversal: Path, tmp_path_factory: Any) -> Dict[int, float]:
    """On a GPU where there is one, unless a test says otherwise."""
    return train(reversal, tmp_path_factory.mktemp("float32"))


def test_bfloat16_on_the_cpu_resumes_and_translates(
    in_float32: Dict[int, float], reversal: Path, tmp_path: Path
) -> None:
    """A resumed run is the unbroken one up to bfloat16, which is what fairseq saves of weights.

    What it saved translates in float16, too.
    """
    options = ("--bf16", "--residual-fp32", "--cpu")
    whole = train(reversal, tmp_path / "whole", *options, "--save-interval-updates", 4)
    assert whole == pytest.approx(in_float32, rel=0.01)
    (half,) = (tmp_path / "whole").glob("checkpoint_*_4.pt")
    rest = train(reversal, tmp_path / "rest", *options, "--restore-file", half)
    unbroken = {update: whole[update] for update in (5, 6, 7, 8)}
    assert rest == pytest.approx(unbroken, rel=2e-3)
    checkpoint = tmp_path / "rest" / "checkpoint_last.pt"
    output = run(*generate_command(reversal, checkpoint, "--max-len-b", 3, "--cpu", "--fp16"))
    assert len(hypotheses(output)) == 200


PRECISIONS: List[Sequence[object]] = [
    ("--fp16",),
    ("--memory-efficient-fp16",),
    ("--memory-efficient-bf16",),
    ("--amp", "--residual-fp32"),
    ("--bf16", "--residual-fp32"),
    ("--fp16", "--residual", "pre", "--residual-fp32"),
]


@needs_gpu
@pytest.mark.parametrize("options", PRECISIONS, ids=lambda options: " ".join(options))
def test_a_gpu_trains_as_in_float32(
    options: Sequence[object], in_float32: Dict[int, float], reversal: Path, tmp_path: Path
) -> None:
    expected = in_float32
    if "pre" in options:
        expected = train(reversal, tmp_path / "float32", "--residual", "pre")
    found = train(reversal, tmp_path / "16", "--fp16-init-scale", 4, *options)
    assert found == pytest.approx(expected, rel=0.02)
    checkpoint = tmp_path / "16" / "checkpoint_last.pt"
    output = run(*generate_command(reversal, checkpoint, "--max-len-b", 3, "--fp16"))
    assert len(hypotheses(output)) == 200
