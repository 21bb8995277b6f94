"""Protects the scripts: what they say without a usable Python, with bad settings, of costs."""

import importlib
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, run

BENCHMARKS = ROOT / "scripts" / "benchmarks"


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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MINUTES", "0", "is not a number of minutes; give 1 or more"),
        ("UPDATES", "1.5", "is not a number of updates; give a whole number"),
        ("ALPHA", "-1", "is not a weight of 0 or more; give a number such as 0, 0.25 or 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    name: str, value: str, message: str, tmp_path: Path
) -> None:
    variables = {f"RESDUAL_DEMO_{name}": value, "RESDUAL_VENV": str(tmp_path / "venv")}
    output = run("bash", ROOT / "scripts" / "demo.sh", fails=True, **variables)
    assert f"error: RESDUAL_DEMO_{name}={value} {message}" in output
    assert not (tmp_path / "venv").exists()


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
def test_speed_is_measured(tmp_path: Path) -> None:
    output = run(
        sys.executable, BENCHMARKS / "benchmark.py", "--sizes", "2+1x16", "--words", 50,
        "--rounds", 1, "--threads", 1, "--zero-activations", 0.9,
        "--out", tmp_path / "figures.json",
        "--what", "train", "optimizer", "fp32", "gradient-log", "generate", "int8",
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    for row in figures:
        assert row["ours_seconds"] > 0 < row["host_seconds"]
        assert re.search(rf"^2\+1x16 +{row['what']} .* ms .* ms +ratio \d", output, re.M)
    searches = [row["same_hypotheses"] for row in figures if "same_hypotheses" in row]
    assert searches and all(searches)


@pytest.mark.slow
def test_peaks_are_measured(tmp_path: Path) -> None:
    output = run(
        sys.executable, BENCHMARKS / "memory.py", "--sizes", "2+1x16", "--words", 50, "--rounds", 1,
        "--sentences", 64, "--length", 32, "--out", tmp_path / "figures.json",
        "--what", "training",
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    for row in figures:
        assert row["ours_mib"] > 0 < row["host_mib"]
        assert f"2+1x16     {row['what']}" in output
    assert len({row["what"] for row in figures}) == len(figures) > 1


def test_import_costs_a_paired_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    memory = importlib.import_module("memory")
    monkeypatch.setattr(memory, "help_seconds", lambda *plugin: (3, 2.5) if plugin else (2, 2.25))
    clock, processor = memory.importing(5)
    assert (clock["more"], clock["ratio"], processor["more"]) == (1, 1.5, 0.25)
    assert memory.line(clock).endswith("more +1.000 s (+1.000 to +1.000)")
