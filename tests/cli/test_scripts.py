"""Protects the scripts: what they say without a usable Python, with bad settings, of costs."""

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT, run


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
