"""Protects the recipes: raw files of each corpus's format become data that fairseq trains on."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.commands import PLUGIN, run
from helpers.recipes import (
    EXAMPLES,
    through_server,
    write_iwslt14,
    write_multi30k,
    write_opus100,
    write_wmt14,
)

from common.corpus import main
from resdual_fairseq.preparation import encode_text

pytestmark = pytest.mark.slow
SMALL = (
    *("--max-update", 2, "--max-tokens", 400, "--update-freq", 1, "--cpu"),
    *("--encoder-layers", 1, "--decoder-layers", 1, "--num-workers", 0, "--data-buffer-size", 0),
    *("--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 16),
)
# sacreBLEU and the recipe take a made-up test set once they are told its checksum.
WITH_CHECKSUM = """
import runpy, sys
from sacrebleu.dataset import DATASETS
DATASETS["wmt14/full"].md5 = [sys.argv[1]]
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> None:
    through_server(monkeypatch, encode_text)


def options(folder: Path, *more: object) -> list[str]:
    words = ("--from-folder", folder, "--out", folder / "out", "--vocabulary", 120, *more)
    return [str(word) for word in words]


def prepare(recipe: str, folder: Path, *more: object) -> int:
    return main(import_module(f"{recipe}.prepare").CORPUS, options(folder, *more))


def train(recipe: str, folder: Path, *more: object) -> Path:
    script = EXAMPLES / recipe / "train.sh"
    run("bash", script, folder / "out", folder / "model", *SMALL, *more)
    checkpoint = folder / "model" / "checkpoint_last.pt"
    assert checkpoint.is_file()
    return checkpoint


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def check_text(out: Path, languages: tuple[str, str], valid: int, lowercase: bool) -> None:
    assert len(lines(out / "text" / f"valid.{languages[0]}")) == valid
    assert len(lines(out / "text" / f"test.{languages[0]}")) == 20
    assert "& more" in lines(out / "text" / "test.en")[0]
    assert not any("<" in line or "http" in line for line in lines(out / "text" / "train.en"))
    assert all(x == x.lower() for x in lines(out / "text" / "train.de")) == lowercase


HELP_OF_ALL = """
import runpy, sys

for path in sys.argv[1:]:
    before = list(sys.path)
    sys.argv, sys.path[0] = [path, "--help"], path.rpartition("/")[0]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as ending:
        print("ENDED", path, ending.code)
    sys.path[:] = before
    for name in [name for name in sys.modules if name.split(".")[0] in ("common", "depth")]:
        del sys.modules[name]
"""


def test_scripts_run_from_any_folder(tmp_path: Path) -> None:
    """In one process, which forgets the examples' own modules after each."""
    scripts = [
        *(f"{recipe}/prepare.py" for recipe in ("iwslt14", "multi30k", "opus100", "wmt14_en_de")),
        *(f"depth/{script}.py" for script in ("warm_up", "schemes", "reversal")),
    ]
    paths = [EXAMPLES / script for script in scripts]
    output = run(sys.executable, "-c", HELP_OF_ALL, *paths, cwd=tmp_path)
    assert [f"ENDED {path} 0" for path in paths] == [
        line for line in output.splitlines() if line.startswith("ENDED")
    ]
    assert output.count("--out") >= len(paths)


def test_iwslt14(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_iwslt14(tmp_path)
    assert prepare("iwslt14", tmp_path) == 0
    check_text(tmp_path / "out", ("de", "en"), valid=13, lowercase=True)
    assert f"ready: {tmp_path / 'out' / 'data-bin'}" in capsys.readouterr().out
    assert prepare("iwslt14", tmp_path) == 0
    assert "already prepared with these settings" in capsys.readouterr().out
    train("iwslt14", tmp_path, "--eval-bleu-args", '{"beam": 1, "max_len_b": 4}')


def test_wmt14_with_sacrebleus_test_set_is_translated_and_scored(tmp_path: Path) -> None:
    write_wmt14(tmp_path)
    script = EXAMPLES / "wmt14_en_de" / "prepare.py"
    checksum = hashlib.md5((tmp_path / "test-full.tgz").read_bytes()).hexdigest()
    given = (sys.executable, "-c", WITH_CHECKSUM, checksum, script, *options(tmp_path))
    run(*given, SACREBLEU=str(tmp_path / "sacrebleu"))
    out = tmp_path / "out"
    check_text(out, ("en", "de"), valid=12, lowercase=False)
    checkpoint = train("wmt14_en_de", tmp_path)
    run(
        "bash", EXAMPLES / "common" / "score.sh", out, "en", "de", checkpoint, tmp_path / "test",
        "--max-len-b", 2, "--beam", 1,
    )  # fmt: skip
    scores = json.loads((tmp_path / "test" / "scores.json").read_text())
    assert [score["name"] for score in scores] == ["BLEU", "chrF2"]
    assert len(lines(tmp_path / "test" / "hypotheses.de")) == 20


def test_opus100_prepares_the_languages_asked_for(tmp_path: Path) -> None:
    write_opus100(tmp_path)
    assert prepare("opus100", tmp_path, "--languages", "de", "fr") == 0
    data_bin = tmp_path / "out" / "data-bin"
    assert (data_bin / "train.en-de.de.idx").is_file()
    assert (data_bin / "test.en-fr.en.idx").is_file()
    assert lines(data_bin / "dict.de.txt") == lines(data_bin / "dict.fr.txt")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["splits"]["en-fr"]["train"]["lines"] == 200
    train("opus100", tmp_path)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (("xx",), "the corpus has no 'xx'; it has: af am"),
        (("de", "it"), "the raw files hold no en-it; leave these out"),
    ],
)
def test_languages_that_are_not_there(
    languages: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_opus100(tmp_path)
    assert prepare("opus100", tmp_path, "--languages", *languages) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "text").exists()


def test_multi30k_takes_its_own_files_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_multi30k(tmp_path)
    assert prepare("multi30k", tmp_path) == 1
    assert "is not the file that this recipe was written for" in capsys.readouterr().err


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
    (tmp_path / "out" / "text").mkdir(parents=True)
    (tmp_path / "out" / "data-bin").symlink_to(reversal)
    script = (EXAMPLES / "multi30k" / "train.sh", tmp_path / "out", tmp_path / "model")
    assert "holds no manifest.json; prepare it with" in run("bash", *script, fails=True)
    (tmp_path / "out" / "manifest.json").touch()
    train("multi30k", tmp_path, "--source-lang", "src", "--target-lang", "tgt")
