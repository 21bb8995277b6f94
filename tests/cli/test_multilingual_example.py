"""Protects examples/multilingual as a whole: prepare, train, score, on a made-up wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import run
from helpers.quickstart import make_wheel
from helpers.recipes import EXAMPLES, through_server

from common import wheel_texts
from multilingual import score
from multilingual.prepare import main as prepare
from resdual_fairseq.preparation import encode_text, run_steps

pytestmark = pytest.mark.slow
FOLDER = EXAMPLES / "multilingual"
ENDINGS = {"de": "ist jetzt offen", "fr": "est maintenant ouverte", "en": "is open now"}


@pytest.fixture()
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    texts: dict[str, Any] = {}
    for room in range(40):
        for language, ending in ENDINGS.items():
            doors = {f"door{n}": f"{room} {n} {ending} {{name}}" for n in range(6)}
            texts[f"room{room}/{language}"] = {"doors": doors}
    path = make_wheel(tmp_path / "made-up.whl", texts)
    monkeypatch.setattr(wheel_texts, "WHEEL_SHA256", run_steps.sha256(path))
    return path


def test_the_chain(
    wheel: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    through_server(monkeypatch, encode_text, score)
    out, model = tmp_path / "data", tmp_path / "model"
    options = ["--out", str(out), "--wheel", str(wheel), "--languages", "de", "fr"]
    options += ["--held-out", "4", "3", "--most-lines", "12", "8", "--vocabulary", "60"]
    assert prepare(options) == 0
    assert prepare(options) == 0
    assert "already prepared with these settings" in capsys.readouterr().out
    test_lines = [(out / "text" / f"en-{x}" / "test.en").read_text() for x in ("de", "fr")]
    assert test_lines[0] == test_lines[1]
    assert test_lines[0].count("\n") == 12
    assert prepare([*options, "--vocabulary", "70"]) == 1
    assert "was prepared with other settings (vocabulary: 60, now 70)" in capsys.readouterr().err

    run(
        "bash", FOLDER / "train.sh", out, model, "--max-update", 3, "--encoder-layers", 1,
        "--decoder-layers", 1, "--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 16,
        "--max-tokens", 300, "--num-workers", 0, "--data-buffer-size", 0,
    )  # fmt: skip
    options = ["--data", str(out), "--model", str(model / "checkpoint_last.pt")]
    options += ["--out", str(tmp_path / "scores"), "--beam", "1"]
    assert score.main(options) == 0
    table = (tmp_path / "scores" / "scores.md").read_text()
    assert table.strip() in capsys.readouterr().out
    for row in ("en-de | 12", "en-fr | 12", "de-en | 12", "fr-en | 12", "average from English (2)",
                "average to English (2)", "average all (4)", "`nrefs:1|case:mixed"):  # fmt: skip
        assert row in table
    monkeypatch.setattr(score, "run", None)  # every direction is translated
    assert score.main(options) == 0
    assert score.main([*options[:-1], "2"]) == 1
    assert "holds translations of another model or beam; choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--languages", "de", "de"), "'de' twice; give it once"),
        (("--languages", "en"), "'en' makes no pair with English"),
        (("--languages", "xx"), "the wheel has no language 'xx'"),
        (("--languages", "de", "--held-out", "39", "1"), "no line is left for train of de"),
    ],
)
def test_what_cannot_be_prepared(
    options: tuple[str, ...], message: str, wheel: Path, tmp_path: Path, capsys: Any
) -> None:
    assert prepare(["--out", str(tmp_path / "data"), "--wheel", str(wheel), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data" / "text").exists()


def test_score_and_train_name_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = run("bash", FOLDER / "train.sh", tmp_path, tmp_path / "model", fails=True)
    assert "holds no manifest.json; prepare it with" in output
    model = tmp_path / "model.pt"
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--model", str(model)]
    output = run(sys.executable, FOLDER / "score.py", *options, cwd=tmp_path, fails=True)
    assert f"--model {model} does not exist; give a checkpoint" in output
    model.touch()
    with pytest.raises(SystemExit, match=r"manifest\.json does not exist; make it with"):
        score.main(options)
