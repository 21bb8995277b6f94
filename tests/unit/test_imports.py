"""Protects a light import: training loads nothing that only studies and figures need."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import argparse, codecs, difflib, json, numpy, sys
import fairseq.checkpoint_utils, fairseq.models.transformer, fairseq.options, fairseq.tasks
import fairseq.trainer
before = set(sys.modules)
import resdual_fairseq
print("NEW", json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.slow
def test_import_brings_nothing_beyond_fairseq() -> None:
    """No matplotlib, pandas, scipy or optuna, unless fairseq itself has loaded it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("NEW"))
    new = json.loads(line[len("NEW") :])
    assert "resdual_fairseq.transformer" in new
    assert [name for name in new if name.split(".")[0] != "resdual_fairseq"] == []
