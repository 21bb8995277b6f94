"""Protects checkpoints with weights of 8 bits: a quarter the size, and every command takes them."""

from pathlib import Path
from typing import List

import pytest
import torch
from helpers.checkpoints import save
from helpers.commands import generate_command, hypotheses, run, train_command
from helpers.models import stirred

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def codes(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("codes") / "int8.pt"
    output = run("resdual-quantize", learned / "checkpoint_last.pt", "--output", path)
    assert f"wrote {path}" in output
    return path


def test_it_translates_as_before(
    codes: Path, learned: Path, reversal: Path, reversal_text: Path
) -> None:
    targets: List[str] = (reversal_text / "valid.tgt").read_text().splitlines()
    for options in ((), ("--fp16",)):  # without a GPU fairseq-generate leaves --fp16 unused
        found = hypotheses(
            run(*generate_command(reversal, codes, "--gen-subset", "valid", *options))
        )
        assert sum(found[number] == line for number, line in enumerate(targets)) > 95


def test_it_is_a_quarter_of_the_weights(codes: Path, learned: Path) -> None:
    weights = torch.load(learned / "checkpoint_last.pt", weights_only=True)["model"]
    rounded = torch.load(codes, weights_only=True)["model"]
    whole, codes_only = (
        sum(value.numel() * value.element_size() for value in state.values() if value.dim() == 2)
        for state in (weights, rounded)
    )
    assert 4 * codes_only == whole


def test_it_can_be_trained_on(codes: Path, reversal: Path, tmp_path: Path) -> None:
    run(*train_command(
        reversal, tmp_path, "--finetune-from-model", codes, "--max-update", 2, "--lr", 1e-9,
    ))  # fmt: skip
    kept = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["model"]
    assert all(value.dtype == torch.float32 for value in kept.values())


def test_it_says_what_is_wrong(codes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pt"
    other = save(tmp_path / "host.pt", stirred().state_dict(), _name="transformer")
    bare = tmp_path / "bare.pt"
    torch.save({"model": stirred().state_dict()}, bare)
    for given, sentence in (
        (tmp_path / "none.pt", "none.pt"),
        (codes, "has weights of 8 bits already"),
        (bare, "holds a model of unknown options; give"),
        (other, "holds a transformer; give a checkpoint of resdual_transformer"),
    ):
        said = run("resdual-quantize", given, "--output", out, fails=True)
        assert "resdual_fairseq: error: " in said and sentence in said
        assert "Traceback" not in said
    assert not out.exists()
