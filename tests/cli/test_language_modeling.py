"""Protects language models on the command line: train, resume, evaluate, generate, hydra."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import PLUGIN, ROOT, hypotheses, losses, run

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint
from resdual_fairseq.language_model import ResDualLanguageModel

pytestmark = pytest.mark.slow
SENTENCES = 400
TASK = ("--task", "language_modeling", "--user-dir", PLUGIN, "--tokens-per-sample", 32)


def train(data: Path, folder: Path, *options: object, **ends: Any) -> str:
    return run(
        "fairseq-train", data, *TASK, "--arch", "resdual_transformer_lm_gpt2_tiny",
        "--sample-break-mode", "eos", "--decoder-attention-heads", 2, "--dropout", 0,
        "--attention-dropout", 0, "--optimizer", "adam", "--lr", "5e-3", "--max-tokens", 1000,
        "--seed", 1, "--required-batch-size-multiple", 1, "--log-format", "json",
        "--log-interval", 1, "--no-epoch-checkpoints", "--num-workers", 0,
        "--data-buffer-size", 0, "--save-dir", folder, *options, **ends,
    )  # fmt: skip


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin of lines that count: `c d e f`."""
    folder = tmp_path_factory.mktemp("counting")
    letters = "abcdefghijkl"
    for split in ("train", "valid", "test"):
        lines = [letters[i % 8 : i % 8 + 2 + i % 4] for i in range(SENTENCES)]
        (folder / split).write_text("".join(" ".join(line) + "\n" for line in lines))
    run(
        "fairseq-preprocess", "--only-source", "--trainpref", folder / "train",
        "--validpref", folder / "valid", "--testpref", folder / "test",
        "--destdir", folder / "data-bin",
    )  # fmt: skip
    return folder / "data-bin"


@pytest.fixture(scope="module")
def counter(counting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned to count."""
    folder = tmp_path_factory.mktemp("counter")
    train(counting, folder, "--max-update", 60)
    return folder


def perplexity(data: Path, checkpoint: Path, *options: object) -> float:
    output = run(
        "fairseq-eval-lm", data, "--user-dir", PLUGIN, "--path", checkpoint, "--gen-subset",
        "test", "--required-batch-size-multiple", 1, "--max-tokens", 2000, *options,
    )  # fmt: skip
    return float(re.findall(r"Perplexity: ([0-9.]+)", output)[-1])


def test_it_learns_and_evaluates(counting: Path, counter: Path) -> None:
    options = ("--sample-break-mode", "eos", "--tokens-per-sample", 32)
    # Where each line starts and ends is chance: four lengths, eight first letters.
    assert perplexity(counting, counter / "checkpoint_last.pt", *options) < 4
    assert perplexity(counting, counter / "checkpoint_last.pt", "--context-window", 4) < 40


def test_it_goes_on_where_it_stopped(counting: Path, tmp_path: Path) -> None:
    found = []
    for folder, parts in (("whole", [6]), ("parts", [3, 6])):
        for updates in parts:
            output = train(counting, tmp_path / folder, "--max-update", updates)
        found.append(losses(output))
    assert found[0][6] == found[1][6]
    assert 1 not in found[1]
    weights = [
        load_whole_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"]
        for name in ("whole", "parts")
    ]
    for key, value in weights[0].items():
        # A bias of all keys changes no attention: Adam moves it by rounding alone.
        if not key.endswith("k_proj.bias"):
            assert torch.allclose(value, weights[1][key], rtol=0, atol=1e-6), key


def test_a_preset_that_shares_embeddings_goes_on_and_takes_shards(
    counting: Path, tmp_path: Path
) -> None:
    (tmp_path / "two").mkdir()
    for path in counting.glob("train.*"):
        (tmp_path / "two" / path.name).symlink_to(path)
    sizes = (
        "--arch", "resdual_transformer_lm_gpt3_small", "--decoder-layers", 1, "--decoder-embed-dim",
        16, "--decoder-ffn-embed-dim", 16, "--max-tokens", 4000,
    )  # fmt: skip
    data = Path(f"{counting}:{tmp_path / 'two'}")
    assert "loaded 400 examples from" in train(data, tmp_path, *sizes, "--max-epoch", 1)
    output = train(data, tmp_path, *sizes, "--max-epoch", 2)
    assert f"loaded 400 examples from: {tmp_path / 'two'}/train" in output


def test_interactive_and_generate_continue_a_line(counting: Path, counter: Path) -> None:
    model = ("--user-dir", PLUGIN, "--task", "language_modeling", "--path",
             counter / "checkpoint_last.pt", "--beam", 2)  # fmt: skip
    output = run("fairseq-interactive", counting, *model, "--max-len-b", 12, text="c d e\n")
    assert hypotheses(output)[0].startswith("c d e")
    output = run(
        "fairseq-generate", counting, *model, "--sample-break-mode", "eos",
        "--required-batch-size-multiple", 1, "--max-tokens", 2000, "--prefix-size", 1,
    )  # fmt: skip
    assert len(hypotheses(output)) == SENTENCES


def test_from_pretrained_scores_and_samples(counting: Path, counter: Path) -> None:
    hub = ResDualLanguageModel.from_pretrained(
        str(counter), checkpoint_file="checkpoint_last.pt", data_name_or_path=str(counting)
    )
    right, wrong = hub.score(["b c d e", "b e c d"])
    assert right["positional_scores"].mean() > wrong["positional_scores"].mean()
    assert hub.sample("b c", beam=1).startswith("b c")
    again = torch.hub.load(
        str(ROOT), "resdual_transformer_lm", str(counter), source="local",
        checkpoint_file="checkpoint_last.pt", data_name_or_path=str(counting),
    )  # fmt: skip
    torch.testing.assert_close(again.score("b c d e")["score"], right["score"])


@pytest.mark.parametrize(
    "options",
    [
        "--checkpoint-activations --decoder-learned-pos --residual-alpha 0.3",
        "--criterion adaptive_loss --adaptive-input --adaptive-input-cutoff 4,8 "
        "--adaptive-softmax-cutoff 4,8 --tie-adaptive-weights --ddp-backend legacy_ddp",
        "--criterion adaptive_loss --adaptive-softmax-cutoff 4,8 --ddp-backend legacy_ddp "
        "--share-decoder-input-output-embed --residual post",
    ],
)
def test_options_of_transformer_lm_train_and_evaluate(
    options: str, counting: Path, tmp_path: Path
) -> None:
    train(counting, tmp_path, "--max-update", 2, *options.split())
    assert perplexity(counting, tmp_path / "checkpoint_last.pt", "--tokens-per-sample", 32) > 1


def test_finetune_from_fairseqs_transformer_lm(counting: Path, tmp_path: Path) -> None:
    train(counting, tmp_path / "host", "--arch", "transformer_lm_gpt2_tiny", "--max-update", 1)
    origin = tmp_path / "host" / "checkpoint_last.pt"
    output = train(
        counting, tmp_path / "tuned", "--finetune-from-model", origin, "--lr", 1e-30,
        "--max-update", 1,
    )  # fmt: skip
    assert "loading pretrained model from" in output
    tuned = load_whole_checkpoint(tmp_path / "tuned" / "checkpoint_last.pt")["model"]
    for key, value in load_whole_checkpoint(origin)["model"].items():
        assert torch.allclose(tuned[key], value, rtol=0, atol=1e-20)


def test_hydra_trains_and_what_it_wrote_evaluates(counting: Path, tmp_path: Path) -> None:
    preset = "resdual_transformer_lm_gpt2_small"
    sizes = ("embed_dim", "input_dim", "output_dim", "ffn_embed_dim")
    output = run(
        "fairseq-hydra-train", "--config-dir", PLUGIN / "config", "--config-name", preset,
        f"common.user_dir={PLUGIN}", f"task.data={counting}", "dataset.num_workers=0",
        "dataset.data_buffer_size=0", "task.tokens_per_sample=16", "dataset.max_tokens=64",
        "optimization.max_update=2", "hydra.run.dir=.",
        *(f"model.decoder_{size}=16" for size in sizes),
        "model.decoder_attention_heads=2", cwd=tmp_path, HYDRA_FULL_ERROR="1",
    )  # fmt: skip
    assert "done training" in output
    checkpoint = tmp_path / "checkpoints" / "checkpoint_last.pt"
    assert load_whole_checkpoint(checkpoint)["cfg"]["model"]["_name"] == preset
    assert perplexity(counting, checkpoint, "--tokens-per-sample", 16) > 1


def test_the_example_trains(counting: Path, tmp_path: Path) -> None:
    script = ROOT / "examples" / "language_model" / "train.sh"
    sizes = ("--decoder-layers", 2, "--decoder-embed-dim", 16, "--decoder-ffn-embed-dim", 16)
    run("bash", script, counting, tmp_path / "model", *sizes, "--max-update", 2)
    checkpoint = tmp_path / "model" / "checkpoint_last.pt"
    assert perplexity(counting, checkpoint, "--tokens-per-sample", 32) > 1
    assert "give DATA_BIN and MODEL" in run("bash", script, counting, fails=True)
