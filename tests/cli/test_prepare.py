"""Protects the quickstart's data command as a whole, with the real tools and real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
from fairseq.data.encoders.moses_tokenizer import MosesTokenizer, MosesTokenizerConfig
from fairseq.data.encoders.subword_nmt_bpe import SubwordNMTBPE
from helpers.commands import ROOT, run

pytestmark = pytest.mark.slow

PREPARE = ROOT / "examples" / "quickstart" / "prepare.py"
ROOMS = ("kitchen", "cellar", "attic", "hall", "garage")
STATES = (("doesn't", "nicht"), ('can "now"', "„jetzt“"), ("e.g. always", "z. B. immer"))


def command(folder: Path) -> list[str]:
    """Write 300 pairs into the folder and return the command that prepares them."""
    pairs = []
    for number in range(20):
        for room in ROOMS:
            for english, german in STATES:
                left = f"The {room}-lamp {number} {english} switch on, {{1}}!"
                right = f"Die {room}-Lampe {number} schaltet {german} ein, {{1}}!"
                pairs.append((left, right))
    folder.mkdir()
    for index, name in enumerate(("source text", "target text")):
        lines = "".join(pair[index] + "\n" for pair in pairs)
        (folder / name).write_text(lines, encoding="utf-8")
    words = [sys.executable, str(PREPARE), "--languages", "en", "de", "--text", "source text"]
    words += ["target text", "--test-lines", "40", "--valid-lines", "20", "--vocabulary", "120"]
    return [*words, "--out", "prepared data"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("a folder") / "with spaces"
    output = run(*command(folder), cwd=folder)
    assert output.count("\n+ ") == 8
    return folder / "prepared data"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_fairseq_encodes_and_decodes_alike(whole: Path) -> None:
    """`--tokenizer moses --bpe subword_nmt` reads and writes text as the data has it."""
    moses = MosesTokenizer(MosesTokenizerConfig(source_lang="en", target_lang="de"))
    codes = Namespace(bpe_codes=str(whole / "bpe.codes"), bpe_separator="@@")
    bpe = SubwordNMTBPE(codes)
    sources = lines(whole / "text" / "test.en")
    assert [bpe.encode(moses.encode(text)) for text in sources] == lines(whole / "bpe" / "test.en")
    targets = lines(whole / "bpe" / "test.de")
    assert [moses.decode(bpe.decode(text)) for text in targets] == lines(whole / "text" / "test.de")


def sums(out: Path) -> dict[str, str]:
    checksums: dict[str, str] = json.loads((out / "manifest.json").read_text("utf-8"))["sha256"]
    return checksums


def test_kill_and_run_again(whole: Path, tmp_path: Path) -> None:
    """kill -9 leaves the tools it started alive: the next run must not mix with them."""
    folder = tmp_path / "killed"
    words = command(folder)
    out = folder / "prepared data"
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (out / "data-bin.tmp").exists():
            assert process.poll() is None, "the run ended before data-bin.tmp was there"
            assert time.monotonic() < deadline, "no data-bin.tmp in two minutes"
            time.sleep(0.001)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "manifest.json").exists()
    run(*words, cwd=folder)
    assert sums(out) == sums(whole)
    assert not [path.name for path in out.iterdir() if path.suffix in (".tmp", ".old")]
    assert "already prepared" in run(*words, cwd=folder)
