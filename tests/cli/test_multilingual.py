"""Protects many languages in one model: `translation_multi_simple_epoch` as OPUS-100 uses it."""

import random
from pathlib import Path

import pytest
import torch
from helpers.commands import PLUGIN, hypotheses, run

from resdual_fairseq.checkpoints.loading import load_whole_checkpoint

pytestmark = pytest.mark.slow
LETTERS = "abcdefgh"
LANGUAGES = "en,de,fr"
PAIRS = "en-de,de-en,en-fr,fr-en"
TASK = (
    "--user-dir", PLUGIN, "--task", "translation_multi_simple_epoch", "--langs", LANGUAGES,
    "--lang-pairs", PAIRS, "--encoder-langtok", "tgt", "--required-batch-size-multiple", 1,
)  # fmt: skip
TEST_LINES = 30


@pytest.fixture(scope="module")
def three_languages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin in which German is English backwards and French is English as it is."""
    folder = tmp_path_factory.mktemp("three")
    generator = random.Random(3)
    for language, lines, step in (("de", 600, -1), ("fr", 200, 1)):
        pairs = f"en-{language}"
        for split, count in (("train", lines), ("valid", 20), ("test", TEST_LINES)):
            texts = ["".join(generator.choices(LETTERS, k=4)) for _ in range(count)]
            for side, way in (("en", 1), (language, step)):
                text = "".join(" ".join(word[::way]) + "\n" for word in texts)
                (folder / f"{split}.{pairs}.{side}").write_text(text)
    dictionary = folder / "dict.txt"
    dictionary.write_text("".join(f"{letter} 1\n" for letter in LETTERS))
    for pair in ("en-de", "en-fr"):
        source, target = pair.split("-")
        run(
            "fairseq-preprocess", "--source-lang", source, "--target-lang", target,
            "--srcdict", dictionary, "--tgtdict", dictionary,
            *(word for split in ("train", "valid", "test")
              for word in (f"--{split}pref", folder / f"{split}.{pair}")),
            "--destdir", folder / "data-bin",
        )  # fmt: skip
    return folder / "data-bin"


def train(data: Path, folder: Path, *options: object) -> str:
    return run(
        "fairseq-train", data, *TASK, "--arch", "resdual_transformer_opus100",
        "--encoder-embed-dim", 32, "--encoder-ffn-embed-dim", 64, "--encoder-layers", 2,
        "--decoder-layers", 2, "--encoder-attention-heads", 4, "--decoder-attention-heads", 4,
        "--dropout", 0, "--attention-dropout", 0, "--activation-dropout", 0,
        "--sampling-method", "temperature", "--sampling-temperature", 5,
        "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", 0.1,
        "--optimizer", "adam", "--lr", "4e-3", "--lr-scheduler", "inverse_sqrt",
        "--warmup-updates", 60, "--clip-norm", 1.0, "--max-tokens", 400, "--seed", 1,
        "--no-epoch-checkpoints", "--num-workers", 0, "--data-buffer-size", 0,
        "--save-dir", folder, *options,
    )  # fmt: skip


def test_train_validate_and_translate_every_direction(
    three_languages: Path, tmp_path: Path
) -> None:
    output = train(three_languages, tmp_path, "--max-update", 400, "--log-interval", 50)
    assert output.count("valid on 'valid' subset") > 1
    checkpoint = tmp_path / "checkpoint_last.pt"
    state = load_whole_checkpoint(checkpoint)
    assert state["cfg"]["model"].residual_scale == 0.05
    words = state["model"]["encoder.embed_tokens.weight"]
    assert len(words) > 4 + len(LETTERS)  # a token for each language
    assert torch.isfinite(words).all()
    assert "loss" in run(
        "fairseq-validate", three_languages, *TASK, "--path", checkpoint, "--max-tokens", 2000,
        "--valid-subset", "valid",
    )  # fmt: skip
    # The target language's token alone tells which of the two an English source becomes.
    for pair in PAIRS.split(","):
        source, target = pair.split("-")
        output = run(
            "fairseq-generate", three_languages, *TASK, "--source-lang", source,
            "--target-lang", target, "--path", checkpoint, "--gen-subset", "test", "--beam", 2,
        )  # fmt: skip
        found = hypotheses(output)
        assert len(found) == TEST_LINES
        lines = [line.split("\t") for line in output.split("\n") if line.startswith("T-")]
        pair_file = "en-" + (target if source == "en" else source)
        text = (three_languages.parent / f"test.{pair_file}.{target}").read_text().splitlines()
        # Numbers are those of the lines, by which score.py puts translations in order.
        assert {int(name[2:]): line for name, line in lines} == dict(enumerate(text))
        right = sum(found[int(name[2:])] == text for name, text in lines)
        # Into English nothing tells a German source from a French one.
        if source == "en":
            assert right > TEST_LINES / 2, (pair, right)
