"""Protects the extras of setup.py: what each is for imports nothing that it does not bring."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Set

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "resdual_fairseq"
WANTED = {
    "": [PLUGIN / "transformer.py", PLUGIN / "checkpoints", PLUGIN / "generation"],
    "quickstart": [PLUGIN / "preparation", ROOT / "examples" / "quickstart"],
    "diagnostics": [PLUGIN / "diagnostics"],
    "export": [PLUGIN / "export", ROOT / "examples" / "export"],
    "study": [PLUGIN / "study"],
}
"""By extra: the files, or the folders of files, that it is for."""

PROGRAM = """
import importlib, importlib.metadata, os, runpy, sys

allowed, paths = set(sys.argv[1].split(",")), sys.argv[2:]
owners = importlib.metadata.packages_distributions()


class Guard:
    def find_spec(self, name, path=None, target=None):
        having = {one.lower().replace("_", "-") for one in owners.get(name, ())}
        if having and not having & allowed:
            raise ModuleNotFoundError(f"{name} of {', '.join(having)} is none of the extra's")


sys.meta_path.insert(0, Guard())
for path in paths:
    if path.startswith("resdual_fairseq."):
        importlib.import_module(path)
    else:
        sys.path.insert(0, os.path.dirname(path))
        runpy.run_path(path, run_name="imported")
"""


def closure(requirements: Set[str], extra: str = "") -> Set[str]:
    """Names of what a distribution's requirements bring, their own requirements included."""
    found: Set[str] = set()
    left = [(name, extra) for name in requirements]
    while left:
        name, its_extra = left.pop()
        try:
            lines = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for line in lines:
            of_extra = re.search(r"extra == ['\"](.*?)['\"]", line)
            if of_extra is None or of_extra[1] == its_extra:
                needed = re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
                if needed not in found:
                    left.append((needed, ""))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("extra", WANTED)
def test_an_extra_brings_what_it_is_for(extra: str) -> None:
    allowed = closure({"resdual-fairseq"}, extra) | {"setuptools", "pip"}
    paths = [
        file for one in WANTED[extra] for file in (one.glob("*.py") if one.is_dir() else [one])
    ]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) if PLUGIN in path.parents else path
        for path in paths
    ]
    modules = [str(name).removesuffix(".__init__") for name in names]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(sorted(allowed)), *modules],
        stderr=subprocess.PIPE, encoding="utf-8", check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
