"""Protects the scripts: what they say without a usable Python, with bad settings, of costs."""

import importlib
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any, List

import pytest
import torch
from helpers.commands import ROOT, run

from resdual_fairseq.native import library


def fake_python(folder: Path, name: str) -> None:
    """A `python` of a version that is not accepted."""
    path = folder / name
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("script", ["demo.sh", "test.sh"])
def test_without_a_usable_python(script: str, tmp_path: Path) -> None:
    for name in ("python3.11", "python3.12", "python3.10", "python3.9", "python3", "python"):
        fake_python(tmp_path, name)
    output = run(
        "bash", ROOT / "scripts" / script, fails=True,
        PATH=f"{tmp_path}:{os.environ['PATH']}", RESDUAL_VENV=str(tmp_path / "venv"),
    )  # fmt: skip
    assert "error: no usable Python: 3.9, 3.10, 3.11 and 3.12 are accepted" in output
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_named_must_be_usable(tmp_path: Path) -> None:
    output = run(
        "bash", ROOT / "scripts" / "demo.sh", fails=True,
        RESDUAL_PYTHON="/nonexistent/python", RESDUAL_VENV=str(tmp_path / "venv"),
    )  # fmt: skip
    assert "error: RESDUAL_PYTHON=/nonexistent/python is not a Python 3.9" in output


def install_with(python: str, venv: Path, fails: bool = False) -> str:
    """What `install` of scripts/environment.sh asks of an environment's Python, a shell script."""
    log = venv / "log"
    log.unlink(missing_ok=True)
    fake = venv / "bin" / "python"
    fake.write_text(f'#!/bin/sh\necho "$@" >>"{log}"\n{python}\n')
    fake.chmod(0o755)
    shell = f'set -euo pipefail; source "{ROOT}/scripts/environment.sh"; install dev'
    output = run("bash", "-c", shell, fails=fails, RESDUAL_VENV=str(venv))
    return output + log.read_text()


def test_an_interrupted_installation_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    killed = 'case "$*" in *install*) exit 1 ;; esac'
    assert "error: pip could not install" in install_with(killed, tmp_path, fails=True)
    again = install_with("true", tmp_path)
    assert "-m pip install" in again
    assert "--force-reinstall" in again
    assert "-m pip install" not in install_with("true", tmp_path)
    (tmp_path / ".resdual-dev").write_text("other constraints")
    assert "--force-reinstall" not in install_with("true", tmp_path)


@pytest.mark.parametrize("script", ["demo.sh", "test.sh"])
def test_the_scripts_print_their_usage(script: str) -> None:
    output = run("bash", ROOT / "scripts" / script, "--help")
    assert f"bash scripts/{script}" in output
    assert "RESDUAL_VENV" in output
    assert "#" not in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [("gradient_log_cost.py", ()), ("residual_fp32_cost.py", ("--residual", "pre"))],
)
def test_costs_are_measured(script: str, options: "tuple[str, ...]") -> None:
    small = ("--layers", 1, "--width", 16, "--words", 50, "--tokens", 40, "--steps", 2)
    output = run(sys.executable, ROOT / "scripts" / script, *small, *options, PYTHONPATH=str(ROOT))
    assert len(re.findall(r"^(?:step|logged step|share) .*\d (?:ms|%)", output, re.M)) == 3


@pytest.mark.slow
def test_peaks_are_measured(tmp_path: Path) -> None:
    small = ("--sizes", "2+1x16", "--words", 50, "--sentences", 64, "--length", 32, "--rounds", 1)
    output = run(
        sys.executable, ROOT / "scripts" / "memory.py", "--what", "training", *small,
        "--out", tmp_path / "figures.json", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert len(re.findall(r"^2\+1x16 .* over .* MiB .*ratio \d", output, re.M)) == 4
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert all(row["ours_mib"] > 0 < row["host_mib"] for row in figures)


@pytest.mark.slow
@pytest.mark.skipif(library.loaded() is None, reason="the library was not compiled here")
def test_speed_is_measured(tmp_path: Path) -> None:
    small = ("--sizes", "2+1x16", "--words", 50, "--rounds", 1, "--threads", 1)
    what = ("--what", "train", "optimizer", "generate", "int8", "products", "--silent", 0.9)
    output = run(
        sys.executable, ROOT / "scripts" / "benchmark.py", *what, *small,
        "--out", tmp_path / "figures.json", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert len(re.findall(r"^2\+1x16 .* ms .* ms +ratio \d", output, re.M)) == 2 + 3 + 3 + 10
    assert output.count("same hypotheses") == 3
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert all(row["ours_seconds"] > 0 < row["host_seconds"] for row in figures)
    output = run(sys.executable, ROOT / "scripts" / "search_parts.py", *small, PYTHONPATH=str(ROOT))
    assert len(re.findall(r"decoder's stack +\d", output)) == 2


@pytest.mark.slow
def test_silent_units_are_counted(reversal: Path, learned: Path) -> None:
    output = run(
        sys.executable, ROOT / "scripts" / "silent_units.py", reversal,
        learned / "checkpoint_last.pt", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    shares = re.findall(r"^(?:en|de)coder layer \d +([\d.]+)% +([\d.]+)%", output, re.M)
    assert shares
    assert all(0 <= float(of_tile) <= float(of_token) <= 100 for of_token, of_tile in shares)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module(name)


@pytest.mark.slow
def test_import_costs_a_paired_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = script("memory", monkeypatch)
    monkeypatch.setattr(memory, "help_seconds", lambda *plugin: (3, 2.5) if plugin else (2, 2.25))
    clock, processor = memory.importing(5)
    assert (clock["more"], clock["ratio"], processor["more"]) == (1, 1.5, 0.25)
    assert memory.line(clock).endswith("more +1.000 s (+1.000 to +1.000)")


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [0, 40])
def test_memory_that_grows_is_found(
    mebibytes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What is lost comes in blocks that no freed memory of this process can hold."""
    growth = script("memory_growth", monkeypatch)
    lost: List[torch.Tensor] = []

    class Losing(growth.Training):
        def __call__(self) -> int:
            lost.append(torch.ones(mebibytes * 2**20, dtype=torch.uint8))
            return super().__call__()

    monkeypatch.setitem(growth.WORKS, "updates", ("update", Losing))
    small = ["--size", "1+1x16", "--rows", "2", "--longest", "5", "--words", "50"]
    words = [*small, "--updates", "10", "--sentences", "20", "--limit", "10000", "--threads", "1"]
    assert growth.main(words) == int(mebibytes > 0)
    output = capsys.readouterr().out
    assert ("GROWS" in output) == (mebibytes > 0)
    assert re.search(r"KiB per sentence, limit 10000: within the limit", output)
