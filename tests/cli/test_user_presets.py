"""Protects presets and models of a user's own: every command of the package takes theirs."""

from pathlib import Path

import pytest
import torch
from helpers.commands import generate_command, hypotheses, run, train_command

pytestmark = pytest.mark.slow
MINE = """
from fairseq.models import register_model, register_model_architecture
from resdual_fairseq.architectures import tiny
from resdual_fairseq.transformer import ResDualTransformerModel

@register_model("my_transformer")
class MyTransformer(ResDualTransformerModel):
    pass

@register_model_architecture("my_transformer", "mine")
def mine(args):
    args.encoder_layers = args.decoder_layers = 1
    args.encoder_embed_dim = 16
    tiny(args)
"""


def test_every_command_takes_them(reversal: Path, tmp_path: Path) -> None:
    user_dir = tmp_path / "presets_of_mine"
    user_dir.mkdir()
    (user_dir / "__init__.py").write_text(MINE)
    own = ("--user-dir", user_dir)
    run(*train_command(reversal, tmp_path, *own, "--arch", "mine", "--max-update", 1))
    checkpoint, int8 = tmp_path / "checkpoint_last.pt", tmp_path / "int8.pt"
    run("resdual-quantize", checkpoint, "--output", int8, *own)
    output = run(*generate_command(reversal, int8, *own, "--max-len-b", 3))
    assert len(hypotheses(output)) == 200
    run("resdual-export", checkpoint, "--out", tmp_path / "onnx", *own)
    run("resdual-diagnose", "checkpoint", reversal, checkpoint, "--out", tmp_path / "out",
        "--batches", 1, *own)  # fmt: skip


def test_without_the_folder_a_sentence_asks_for_it(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    state = torch.load(learned / "checkpoint_last.pt", weights_only=False)
    state["cfg"]["model"].arch = state["cfg"]["model"]._name = "mine"
    checkpoint = tmp_path / "mine.pt"
    torch.save(state, checkpoint)
    for command in (
        ("resdual-quantize", checkpoint, "--output", tmp_path / "out"),
        ("resdual-export", checkpoint, "--out", tmp_path / "out"),
        ("resdual-diagnose", "checkpoint", reversal, checkpoint, "--out", tmp_path / "out"),
    ):
        output = run(*command, fails=True)
        assert f"{checkpoint} holds a mine; give a checkpoint of resdual_transformer" in output
        assert "(or the --user-dir that has mine)" in output and "Traceback" not in output
    output = run(*command, "--user-dir", tmp_path / "none", fails=True)
    assert f"--user-dir {tmp_path / 'none'} does not exist" in output
    assert not (tmp_path / "out").exists()
