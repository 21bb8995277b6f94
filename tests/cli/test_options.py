"""Protects options on the command line: those of transformer, and data that are not there."""

from pathlib import Path

import pytest
from helpers.commands import PLUGIN, generate_command, hypotheses, run, train_command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "options",
    [
        "--checkpoint-activations --layernorm-embedding --encoder-learned-pos "
        "--decoder-learned-pos",
        "--offload-activations --scale-attn --scale-heads --scale-fc --scale-resids",
        "--encoder-layerdrop 0.3 --decoder-layerdrop 0.3 --quant-noise-pq 0.1 "
        "--quant-noise-pq-block-size 4",
        "--cross-self-attention --no-cross-attention --residual-scale 0.05 --amp",
        "--memory-efficient-fp16 --fp16-init-scale 1 --clip-norm 1.0 --residual post",
        "--residual pre --no-decoder-final-norm --no-token-positional-embeddings",
    ],
)
def test_options_of_transformer_train_and_translate(
    options: str, reversal: Path, tmp_path: Path
) -> None:
    run(*train_command(reversal, tmp_path, "--max-update", 3, *options.split()))
    output = run(*generate_command(
        reversal, tmp_path / "checkpoint_last.pt", "--max-len-b", 3, "--beam", 2
    ))  # fmt: skip
    assert len(hypotheses(output)) == 200


def test_adaptive_softmax_trains(reversal: Path, tmp_path: Path) -> None:
    """With shared embeddings, too, with which fairseq's own model cannot be loaded again."""
    command = train_command(
        reversal, tmp_path, "--adaptive-softmax-cutoff", "4,8", "--criterion", "adaptive_loss",
        "--ddp-backend", "legacy_ddp",
    )  # fmt: skip
    run(*command, "--max-update", 1)
    run(*command, "--max-update", 2)
    output = run(*generate_command(reversal, tmp_path / "checkpoint_last.pt", "--max-len-b", 3))
    assert len(hypotheses(output)) == 200


def test_data_in_shards(reversal: Path, tmp_path: Path) -> None:
    """fairseq reads dictionaries and what to validate on from the first folder alone."""
    for path in reversal.glob("train.*"):
        (tmp_path / path.name).symlink_to(path)
    data = Path(f"{reversal}:{tmp_path}")
    output = run(*train_command(
        data, tmp_path / "out", "--max-epoch", 2, "--batch-size", 500, "--no-save",
    ))  # fmt: skip
    assert f"{tmp_path} train src-tgt 5000 examples" in output


def test_unknown_words_without_a_file_of_words(learned: Path, reversal: Path) -> None:
    command = (
        "fairseq-interactive", reversal, "--source-lang", "src", "--target-lang", "tgt",
        "--user-dir", PLUGIN, "--path", learned / "checkpoint_last.pt", "--replace-unk",
    )  # fmt: skip
    output = run(*command, text="a b\n", fails=True)
    assert "error: --replace-unk names no file; give one" in output and "Traceback" not in output
    assert "Traceback" in run(*command, text="a b\n", fails=True, RESDUAL_TRACE="1")
    assert hypotheses(run(*command, "", text="a b\n")) == {0: "b a"}
    output = run(*generate_command(reversal, command[-2], "--replace-unk"), fails=True)
    assert "error: --replace-unk requires a raw text dataset" in output


def test_a_missing_data_folder(tmp_path: Path) -> None:
    output = run(*train_command(tmp_path / "none", tmp_path / "out"), fails=True)
    assert f"error: {tmp_path / 'none'} does not exist; check the paths" in output
    assert "Traceback" not in output
    output = run(*train_command(tmp_path, tmp_path / "out"), fails=True)
    assert f"{tmp_path} is no finished data-bin of this language; make it with" in output


def test_a_missing_data_folder_or_split_of_a_trained_model(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    output = run(*generate_command(tmp_path, checkpoint), fails=True)
    assert f"{tmp_path} is no finished data-bin of this language; make it" in output
    assert "Traceback" not in output
    output = run(*generate_command(reversal, checkpoint, "--gen-subset", "other"), fails=True)
    assert "Dataset not found: other" in output and "Traceback" not in output


def test_help_has_a_group_of_its_own(reversal: Path) -> None:
    output = run("fairseq-train", "--user-dir", PLUGIN, "--arch", "resdual_transformer", "--help")
    group = output.split("\nResiDual:\n", 1)[1]
    assert all(f"  --residual{name}" in group for name in ("", "-scale", "-alpha"))
    assert "The paper used 0.05" in " ".join(group.split())
