"""Protects the recipes: raw files of each corpus's format become data that fairseq trains on."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Callable

import pytest
from helpers.commands import PLUGIN, run
from helpers.recipes import (
    EXAMPLES,
    write_iwslt14,
    write_multi30k,
    write_opus100,
    write_wmt14,
)

pytestmark = pytest.mark.slow


def prepare(recipe: str, folder: Path, *options: object, fails: bool = False) -> str:
    return run(
        sys.executable, EXAMPLES / recipe / "prepare.py", "--from-folder", folder, "--out",
        folder / "out", "--vocabulary", 120, *options, fails=fails,
    )  # fmt: skip


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("recipe", "write", "pair", "valid", "test"),
    [
        ("iwslt14", write_iwslt14, ("de", "en"), 13, 20),
        ("wmt14_en_de", write_wmt14, ("en", "de"), 12, 20),
    ],
)
def test_raw_files_become_a_model(
    recipe: str,
    write: Callable[[Path], None],
    pair: tuple[str, str],
    valid: int,
    test: int,
    tmp_path: Path,
) -> None:
    write(tmp_path)
    output = prepare(recipe, tmp_path)
    out = tmp_path / "out"
    assert len(lines(out / "text" / f"valid.{pair[0]}")) == valid
    assert len(lines(out / "text" / f"test.{pair[0]}")) == test
    assert "& more" in lines(out / "text" / "test.en")[0]
    assert not any("<" in line or "http" in line for line in lines(out / "text" / "train.en"))
    lowercase = all(line == line.lower() for line in lines(out / "text" / "train.de"))
    assert lowercase == (recipe == "iwslt14")
    assert f"ready: {out / 'data-bin'}" in output
    assert "already prepared with these settings" in prepare(recipe, tmp_path)
    run(
        "bash", EXAMPLES / recipe / "train.sh", out, tmp_path / "model", "--max-update", 2,
        "--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 16,
        "--encoder-ffn-embed-dim", 16, "--update-freq", 1, "--num-workers", 0,
        "--data-buffer-size", 0, "--max-tokens", 400,
        *(("--eval-bleu-args", '{"beam": 1, "max_len_b": 4}') if recipe == "iwslt14" else ()),
    )  # fmt: skip
    assert (tmp_path / "model" / "checkpoint_last.pt").is_file()


def test_opus100_prepares_the_languages_asked_for(tmp_path: Path) -> None:
    write_opus100(tmp_path)
    prepare("opus100", tmp_path, "--languages", "de", "fr")
    data_bin = tmp_path / "out" / "data-bin"
    assert (data_bin / "train.en-de.de.idx").is_file()
    assert (data_bin / "test.en-fr.en.idx").is_file()
    assert lines(data_bin / "dict.de.txt") == lines(data_bin / "dict.fr.txt")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["splits"]["en-fr"]["train"]["lines"] == 200
    run(
        "bash", EXAMPLES / "opus100" / "train.sh", tmp_path / "out", tmp_path / "model",
        "--max-update", 2, "--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 16,
        "--encoder-ffn-embed-dim", 16, "--update-freq", 1, "--num-workers", 0, "--data-buffer-size",
        0, "--max-tokens", 400, "--cpu",
    )  # fmt: skip
    assert (tmp_path / "model" / "checkpoint_last.pt").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--languages", "xx"), "the corpus has no 'xx'; it has: af am"),
        (("--languages", "de", "it"), "the raw files hold no en-it; leave these out"),
    ],
)
def test_languages_that_are_not_there(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    write_opus100(tmp_path)
    output = prepare("opus100", tmp_path, *options, fails=True)
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "out" / "text").exists()


def test_multi30k_takes_its_own_files_only(tmp_path: Path) -> None:
    write_multi30k(tmp_path)
    output = prepare("multi30k", tmp_path, fails=True)
    assert "is not the file that this recipe was written for" in output
    assert hashlib.sha256((tmp_path / "train.en.gz").read_bytes()).hexdigest() not in output
    output = prepare("multi30k", tmp_path / "none", fails=True)
    assert "there is no such folder" in output
    assert "Traceback" not in output


def test_multi30k_trains_through_hydra_and_on_the_command_line(
    reversal: Path, tmp_path: Path
) -> None:
    output = run(
        "fairseq-hydra-train", "--config-dir", EXAMPLES / "multi30k", "--config-name", "multi30k",
        f"common.user_dir={PLUGIN}", f"task.data={reversal}", "task.source_lang=src",
        "task.target_lang=tgt", "dataset.num_workers=0", "dataset.data_buffer_size=0",
        "dataset.max_tokens=300", "optimization.max_update=1", "model.encoder_embed_dim=16",
        "model.decoder_embed_dim=16", "hydra.run.dir=.", cwd=tmp_path, HYDRA_FULL_ERROR="1",
    )  # fmt: skip
    assert "done training" in output
    data = tmp_path / "data"
    (data / "text").mkdir(parents=True)
    (data / "data-bin").symlink_to(reversal)
    (data / "manifest.json").touch()
    options = (
        "--source-lang", "src", "--target-lang", "tgt", "--max-update", 1, "--max-tokens", 300,
        "--encoder-embed-dim", 16, "--num-workers", 0, "--data-buffer-size", 0,
    )  # fmt: skip
    run("bash", EXAMPLES / "multi30k" / "train.sh", data, tmp_path / "model", *options)
    assert (tmp_path / "model" / "checkpoint_last.pt").is_file()
    output = run(
        "bash", EXAMPLES / "multi30k" / "train.sh", tmp_path, tmp_path / "model", fails=True
    )
    assert "holds no manifest.json; prepare it with" in output


def test_score_translates_and_scores(tmp_path: Path) -> None:
    write_wmt14(tmp_path)
    prepare("wmt14_en_de", tmp_path)
    out = tmp_path / "out"
    run(
        "bash", EXAMPLES / "wmt14_en_de" / "train.sh", out, tmp_path / "model", "--max-update", 2,
        "--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 16,
        "--encoder-ffn-embed-dim", 16, "--update-freq", 1, "--num-workers", 0,
        "--data-buffer-size", 0, "--max-tokens", 400,
    )  # fmt: skip
    run(
        "bash", EXAMPLES / "common" / "score.sh", out, "en", "de",
        tmp_path / "model" / "checkpoint_last.pt", tmp_path / "test", "--max-len-b", 2, "--beam", 1,
    )  # fmt: skip
    scores = json.loads((tmp_path / "test" / "scores.json").read_text())
    assert [score["name"] for score in scores] == ["BLEU", "chrF2"]
    assert len(lines(tmp_path / "test" / "hypotheses.de")) == 20
