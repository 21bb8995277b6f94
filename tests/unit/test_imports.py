"""Protects imports: they lead one way through the package, and training loads nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Set, Tuple

import pytest

import resdual_fairseq

PACKAGE = Path(resdual_fairseq.__file__).parent
FLOORS = (
    {"residual", "errors"},
    {"files", "schemes"},
    {"compat", "model", "native", "checkpoints"},
    {"generation", "training"},
    {"options", "base"},
    {"transformer", "language_model"},
    {"architectures", "export", "diagnostics", "preparation"},
    {"study"},
)
"""Rooms from the ground up: each imports from those below it, or from itself."""
STUDY_FLOORS = (
    {"spec"},
    {"analysis"},
    {"engine"},
    {"measuring", "lock"},
    {"work"},
    {"planning", "checks", "new"},
    {"report", "worker", "records", "optuna_export"},
    {"starting", "status"},
    {"cli"},
)
ALONE = {
    "residual": set(),
    "schemes": {"residual"},
    "model": {"residual", "schemes"},
    "native": {"residual", "schemes"},
}
"""Rooms that may import no more than this."""
BESIDE = {("checkpoints", "compat"), ("training", "model")}

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


def arrows(package: Path) -> Set[Tuple[str, str]]:
    """Every import within the package, from one of its rooms to another."""
    return {(one, other) for one, other in imports(package) if one not in (other, "__init__")}


def imports(package: Path) -> Iterator[Tuple[str, str]]:
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(parts):
                inside = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
                named = [name for name in inside if name]
                for name in [named[0]] if named else [alias.name for alias in node.names]:
                    yield parts[0], name


def test_imports_lead_one_way() -> None:
    found = {(one, other) for one, other in arrows(PACKAGE) if other != "__version__"}
    assert upwards(found, FLOORS) - BESIDE == set()
    for room, allowed in ALONE.items():
        assert {other for one, other in found if one == room} <= allowed


def test_imports_of_the_study_lead_one_way() -> None:
    assert upwards(arrows(PACKAGE / "study"), STUDY_FLOORS) == set()


def upwards(found: Set[Tuple[str, str]], floors: Tuple[Set[str], ...]) -> Set[Tuple[str, str]]:
    """Those of the imports that do not lead to a lower floor."""
    floor_of = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    assert {room for pair in found for room in pair} <= set(floor_of)
    return {(one, other) for one, other in found if floor_of[one] <= floor_of[other]}
