"""Protects checkpoints on the command line: from fairseq's transformer, and bad ones."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import RunsCode
from helpers.commands import PLUGIN, generate_command, hypotheses, run, train_command

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint

pytestmark = pytest.mark.slow
SIZES = ("--encoder-embed-dim", 32, "--decoder-embed-dim", 32, "--max-update", 1)


def test_finetune_from_fairseqs_transformer(reversal: Path, tmp_path: Path) -> None:
    """Post-LN's, which lacks the two closing norms."""
    run(*train_command(
        reversal, tmp_path / "host", *SIZES, "--arch", "transformer_tiny", "--max-update", 2
    ))  # fmt: skip
    checkpoint = tmp_path / "host" / "checkpoint_last.pt"
    output = run(*train_command(
        reversal, tmp_path, *SIZES, "--finetune-from-model", checkpoint, "--lr", 1e-30,
    ))  # fmt: skip
    assert "loading pretrained model from" in output
    for side in ("encoder", "decoder"):
        assert f"the closing norm of the {side}: it starts at identity" in output
    tuned = load_whole_checkpoint(tmp_path / "checkpoint_last.pt")["model"]
    origin = load_whole_checkpoint(checkpoint)["model"]
    assert all(torch.allclose(tuned[key], origin[key], rtol=0, atol=1e-20) for key in origin)
    assert all(torch.isfinite(value).all() for value in tuned.values())


def commands(reversal: Path, folder: Path, checkpoint: Path) -> "list[list[Any]]":
    """Every command that loads a checkpoint."""
    return [
        generate_command(reversal, checkpoint),
        train_command(reversal, folder, "--restore-file", checkpoint, "--max-update", 1),
        train_command(reversal, folder, "--finetune-from-model", checkpoint, "--max-update", 1),
        ["fairseq-validate", reversal, "--user-dir", PLUGIN, "--task", "translation",
         "--path", checkpoint, "--max-tokens", 100],
        ["fairseq-interactive", reversal, "--user-dir", PLUGIN, "--path", checkpoint],
        ["resdual-average-checkpoints", "--inputs", checkpoint, "--output", folder / "average.pt"],
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(6))
def test_a_hostile_checkpoint_is_refused(number: int, reversal: Path, tmp_path: Path) -> None:
    checkpoint, marker = tmp_path / "hostile.pt", tmp_path / "ran"
    torch.save({"model": {}, "args": RunsCode(marker)}, checkpoint)
    output = run(*commands(reversal, tmp_path / "out", checkpoint)[number], text="a\n", fails=True)
    assert f"checkpoint {checkpoint} was refused: it would run code" in output
    assert "posix.system" in output
    assert "Traceback" not in output
    assert not marker.exists()


def cut(checkpoint: Path, share: float) -> Path:
    os.truncate(checkpoint, int(share * checkpoint.stat().st_size))
    return checkpoint


def test_a_run_goes_on_from_the_newest_whole_checkpoint(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    for path in learned.glob("checkpoint_*.pt"):
        shutil.copy(path, tmp_path)
    last = tmp_path / "checkpoint_last.pt"
    cut(last, 0.0)
    command = train_command(reversal, tmp_path, "--dropout", 0, "--max-update", 501)
    output = run(*command, "--restore-file", last, fails=True)
    assert f"error: checkpoint {last} is truncated or not a checkpoint" in output
    output = run(*command)
    assert f"{last} was cut short: going on from checkpoint_best.pt" in output
    assert f"Loaded checkpoint {last} (epoch" in output and "@ 500 updates" in output
    state = torch.load(last, weights_only=True)
    assert state["optimizer_history"][-1]["num_updates"] == 501


def test_a_run_without_a_whole_checkpoint(learned: Path, reversal: Path, tmp_path: Path) -> None:
    for name in ("last", "best"):
        shutil.copy(learned / "checkpoint_last.pt", tmp_path / f"checkpoint_{name}.pt")
        cut(tmp_path / f"checkpoint_{name}.pt", 0.7)
    output = run(*train_command(reversal, tmp_path, "--max-update", 501), fails=True)
    assert f"checkpoint {tmp_path}/checkpoint_last.pt is truncated or not a checkpoint" in output
    assert "Traceback" not in output


def test_a_run_of_hydra_goes_on_from_the_newest_whole_checkpoint(
    reversal: Path, tmp_path: Path
) -> None:
    def train(updates: int, *options: str, **ends: Any) -> str:
        return run(
            "fairseq-hydra-train", "--config-dir", PLUGIN / "config",
            "--config-name", "resdual_transformer_tiny", f"common.user_dir={PLUGIN}",
            f"task.data={reversal}", "++task.source_lang=src", "++task.target_lang=tgt",
            "dataset.num_workers=0", "dataset.data_buffer_size=0",
            f"optimization.max_update={updates}", "checkpoint.save_interval_updates=1",
            "hydra.run.dir=.", *options, cwd=tmp_path, **ends,
        )  # fmt: skip

    train(2)
    cut(tmp_path / "checkpoints" / "checkpoint_last.pt", 0.5)
    assert "was cut short: going on from checkpoint_best.pt" in train(3)
    output = train(4, "model.residual_alpha=0.5", fails=True)
    assert (
        "was trained with --residual-alpha 1.0, and this command says --residual-alpha 0.5"
        in output
    )
    assert "Traceback" not in output


def test_a_checkpoint_of_another_architecture_is_named(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    output = run(*train_command(
        reversal, tmp_path, "--restore-file", learned / "checkpoint_last.pt",
        "--encoder-layers", 3, "--max-update", 501,
    ), fails=True)  # fmt: skip
    assert "error: the checkpoint is of another architecture: it lacks encoder.layers.2." in output
    assert "Traceback" not in output


def test_another_residual_than_the_run_began_with_is_named(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    command = train_command(reversal, tmp_path, "--residual", "pre", "--max-update", 501)
    output = run(*command, "--restore-file", checkpoint, fails=True)
    assert (
        f"{checkpoint} was trained with --residual resdual, and this command says --residual pre"
        in output
    )
    assert "Traceback" not in output
    run(*command, "--finetune-from-model", checkpoint, "--max-update", 1)


def test_pretrained_embeddings_that_are_not_there(reversal: Path, tmp_path: Path) -> None:
    embeddings = tmp_path / "embeddings"
    embeddings.write_text(f"1 64\na {' '.join(['0.5'] * 64)}\n")
    command = train_command(
        reversal, tmp_path, "--encoder-embed-path", embeddings, "--decoder-embed-path", embeddings,
        "--max-update", 1,
    )  # fmt: skip
    run(*command)
    embeddings.unlink()
    generate = generate_command(reversal, tmp_path / "checkpoint_last.pt", "--max-len-b", 3)
    for output in (run(*command, fails=True), run(*generate, fails=True)):
        assert f"error: {embeddings} does not exist, from which the model was to take" in output
        assert "Traceback" not in output
    overrides = re.findall(r"--model-overrides \"(.*?)\"", output)[0]
    assert len(hypotheses(run(*generate, "--model-overrides", overrides))) == 200


def test_layers_to_keep_of_one_side_alone(learned: Path, reversal: Path) -> None:
    generate = generate_command(reversal, learned / "checkpoint_last.pt", "--model-overrides")
    output = run(*generate, "{'decoder_layers_to_keep': '1'}", fails=True)
    assert "is pruned to --decoder-layers-to-keep as it is loaded, then without any layer" in output
    assert "it lacks encoder.layers.0.self_attn.k_proj.weight and" in output
    both = "{'encoder_layers_to_keep': '0,1', 'decoder_layers_to_keep': '1'}"
    assert len(hypotheses(run(*generate, both))) == 200


@pytest.mark.parametrize(("name", "what"), [("none.pt", "does not exist"), ("", "is a folder")])
def test_a_checkpoint_that_is_no_file(name: str, what: str, reversal: Path, tmp_path: Path) -> None:
    output = run(*generate_command(reversal, tmp_path / name), fails=True)
    assert f"error: checkpoint {tmp_path / name} {what}; give the .pt file" in output
    assert "Traceback" not in output
