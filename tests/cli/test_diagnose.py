"""Protects `resdual-diagnose`: runs, interruptions, trained models, and words on bad input."""

import csv
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from helpers.commands import ROOT, environment, preprocess, run, train_command, write_reversals

from resdual_fairseq.diagnostics import command
from resdual_fairseq.diagnostics.table import COLUMNS, QUANTITIES
from resdual_fairseq.errors import sentence_of

pytestmark = pytest.mark.slow
PROGRAM = "resdual-diagnose"
MODELS = ("--depths", 2, 3, "--seeds", 2)
SMALL = ("--width", 16, "--heads", 2, "--batches", 2, "--max-tokens", 300)


def init_command(data: Path, out: Path, *options: object) -> List[str]:
    return [str(word) for word in [PROGRAM, "init", data, "--out", out, *SMALL, *options]]


def diagnose(*words: object) -> str:
    output = run(PROGRAM, *words)
    assert "Traceback" not in output
    return output


def refused(*words: object) -> str:
    """The sentence that the program ends with, in this process."""
    with pytest.raises(Exception) as ending:
        command.main([str(word) for word in words])
    sentence = sentence_of(ending.value, ending.tb)
    assert sentence is not None
    return sentence


def table(folder: Path) -> List[Dict[str, str]]:
    with (folder / "measurements.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def whole(reversal: Path, tmp_path_factory: Any) -> Path:
    """The folder of a run of twelve models that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    output = run(*init_command(reversal, folder, *MODELS))
    assert (folder / "claims.txt").read_text() in output
    return folder


def test_init_measures_every_model_and_block(whole: Path) -> None:
    rows = table(whole)
    models = {
        f"{kind}-{d}-{s}" for kind in ("post", "pre", "resdual") for d in (2, 3) for s in (1, 2)
    }
    assert {row["model"] for row in rows} == models
    for model in models:
        depth = int(model.split("-")[1])
        for stack, parts in (("encoder", 2), ("decoder", 3)):
            blocks = {
                int(row["block"])
                for row in rows
                if (row["model"], row["stack"], row["quantity"]) == (model, stack, "gradient")
            }
            assert blocks == set(range(1, parts * depth + 1))
    assert all(float(row["value"]) == float(row["value"]) for row in rows)
    page = (whole / "claims.txt").read_text()
    assert (
        len(re.findall(r"^  (?:post|pre|resdual), [23] layers +(?:en|de)coder +\S", page, re.M))
        > 20
    )
    for name in ("gradients", "changes", "dual_stream", "largest"):
        assert (whole / f"{name}.png").is_file()
        assert (whole / f"{name}.svg").is_file()


def interrupt(words: List[str], out: Path) -> int:
    """Press Ctrl-C once a model is measured; the exit status."""
    process = subprocess.Popen(
        words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        # Programs that a shell starts in the background are deaf to it, and so are theirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (out / "settings.json").exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline, "no model after five minutes"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert b"interrupted: the same command goes on from here" in errors
    assert b"Traceback" not in errors
    return process.returncode


def test_ctrl_c_keeps_what_was_measured_and_the_command_goes_on(
    whole: Path, reversal: Path, tmp_path: Path
) -> None:
    words = init_command(reversal, tmp_path / "broken", *MODELS)
    assert interrupt(words, tmp_path / "broken") == 130
    kept = json.loads((tmp_path / "broken" / "settings.json").read_text())["measured"]
    assert 1 <= len(kept) < 12
    assert {row["model"] for row in table(tmp_path / "broken")} >= set(kept)
    assert (tmp_path / "broken" / "claims.txt").is_file()
    assert (tmp_path / "broken" / "gradients.png").is_file()
    output = run(*words)
    assert f"{len(kept)} of 12 models are in {tmp_path / 'broken'} already" in output
    assert table(tmp_path / "broken") == table(whole)


@pytest.fixture(scope="module")
def host(reversal: Path, tmp_path_factory: Any) -> Path:
    """A Pre-LN checkpoint of fairseq's own transformer."""
    folder = tmp_path_factory.mktemp("host")
    run(*train_command(
        reversal, folder, "--arch", "transformer_tiny", "--encoder-normalize-before",
        "--decoder-normalize-before", "--max-update", 20, "--disable-validation",
    ))  # fmt: skip
    return folder / "checkpoint_last.pt"


def test_checkpoints_of_this_model_and_of_fairseqs(
    learned: Path, host: Path, reversal: Path, tmp_path: Path
) -> None:
    own = learned / "checkpoint_last.pt"
    diagnose("checkpoint", reversal, own, host, "--out", tmp_path, "--batches", 2)
    rows = table(tmp_path)
    names = {f"{path.parent.name}/{path.name}": path for path in (own, host)}
    assert {row["model"]: row["residual"] for row in rows} == dict(zip(names, ("resdual", "pre")))
    losses = {r["model"]: float(r["value"]) for r in rows if r["quantity"] == "loss"}
    first, second = (losses[name] for name in names)
    assert first < second
    for row in rows:
        if row["quantity"] == "cka":
            assert 0 < float(row["value"]) <= 1 + 1e-9
        if row["quantity"] == "effective_rank":
            assert 1 <= float(row["value"]) <= 64
    for name in ("effective_ranks", "cka"):
        assert (tmp_path / f"{name}.png").is_file()
    largest = {(r["model"], r["stack"]): 0.0 for r in rows if r["quantity"] == "dual_largest"}
    for row in rows:
        if row["quantity"] == "dual_largest":
            place = (row["model"], row["stack"])
            largest[place] = max(largest[place], float(row["value"]))
    for row in rows:
        if row["quantity"] == "stream_bound" and row["residual"] == "resdual":
            assert 0 < largest.pop((row["model"], row["stack"])) <= float(row["value"])
    assert largest == {}
    page = (tmp_path / "claims.txt").read_text()
    lines = re.findall(r"for any input \|([dx])\| <= [\d.]+ and \|f_k\| <= [\d.]+, \S+ of", page)
    assert lines == ["d", "d", "x", "x"]


def test_the_loss_of_a_checkpoint_is_fairseqs(
    learned: Path, reversal: Path, tmp_path: Path
) -> None:
    """On the whole validation set, in one batch."""
    checkpoint = learned / "checkpoint_last.pt"
    whole = ("--max-tokens", 4000, "--label-smoothing", 0)
    diagnose("checkpoint", reversal, checkpoint, "--out", tmp_path, *whole)
    (loss,) = [float(row["value"]) for row in table(tmp_path) if row["quantity"] == "loss"]
    output = run(
        "fairseq-validate", reversal, "--user-dir", ROOT / "resdual_fairseq", "--path", checkpoint,
        "--task", "translation", "--max-tokens", 4000, "--required-batch-size-multiple", 1,
    )  # fmt: skip
    (expected,) = re.findall(r"valid on .* \| loss ([0-9.]+)", output)
    assert loss / 0.6931471805599453 == pytest.approx(float(expected), abs=1e-3)


def test_bad_checkpoints(learned: Path, reversal: Path, tmp_path: Path) -> None:
    own, out = learned / "checkpoint_last.pt", tmp_path / "out"
    cut = tmp_path / "cut.pt"
    cut.write_bytes(own.read_bytes()[:1000])
    state = torch.load(own, weights_only=False)
    state["cfg"]["model"].arch = state["cfg"]["model"]._name = "lstm"
    torch.save(state, tmp_path / "lstm.pt")
    cases = {
        tmp_path / "none.pt": f"checkpoint {tmp_path / 'none.pt'} does not exist",
        cut: f"checkpoint {cut} is truncated or not a checkpoint",
        tmp_path / "lstm.pt": "holds a lstm; give a checkpoint of resdual_transformer or of fairs",
    }
    for path, message in cases.items():
        assert message in refused("checkpoint", reversal, own, path, "--out", out)
    assert not out.exists()


def test_a_checkpoint_of_other_dictionaries(learned: Path, tmp_path: Path) -> None:
    write_reversals(tmp_path)
    for side in ("train.src", "train.tgt"):  # more words than fill a dictionary up to eights
        with (tmp_path / side).open("a") as stream:
            stream.write("i j k l m n o p q r s t\n")
    other = preprocess(tmp_path / "data-bin", tmp_path)
    checkpoint = learned / "checkpoint_last.pt"
    output = refused("checkpoint", other, checkpoint, "--out", tmp_path / "out")
    assert "encoder.embed_tokens.weight is 16 x 64 there and 24 x 64 here" in output
    assert "give the options and the data of its training" in output


def test_bad_data(reversal: Path, tmp_path: Path) -> None:
    shutil.copytree(reversal, tmp_path / "cut")
    (tmp_path / "cut" / "train.src-tgt.src.idx").write_bytes(b"")
    cases = {
        tmp_path / "none": "none does not exist; check the paths",
        tmp_path / "cut": r"train\.src-tgt\.src.* was cut short, or fairseq-preprocess did not",
    }
    for data, message in cases.items():
        output = refused("init", data, "--out", tmp_path / "out", "--depths", 1)
        assert re.search(message, output)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "dev"), "Dataset not found: dev"),
        (("--source-lang", "xx", "--target-lang", "tgt"), "no finished data-bin of this language"),
        (("--arch", "transformer"), "--arch transformer is not a preset of this model"),
        (("--max-tokens", 1), "give a larger --max-tokens"),
    ],
)
def test_bad_options(options: Any, message: str, reversal: Path, tmp_path: Path) -> None:
    assert message in refused("init", reversal, "--out", tmp_path / "out", *SMALL, *options)
    assert not (tmp_path / "out").exists()


def test_help_documents_the_table() -> None:
    output = diagnose("--help")
    assert all(f"  {name} " in output for name in (*COLUMNS, *QUANTITIES))
