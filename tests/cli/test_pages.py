"""Protects the pages: their commands run word for word, their tables say what the code does."""

import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Set, Tuple

import pytest
from fairseq.models import ARCH_MODEL_INV_REGISTRY
from helpers.commands import PLUGIN, ROOT, Server, environment

from resdual_fairseq.schemes import RESIDUALS

DOCS = ("training", "generation", "language_models", "study")
"""Pages whose commands follow on the README's, in this order."""
WORDS = ["open", "close", "the", "a", "light", "door", "window", "setting", "red", "on", "off"]


def blocks(page: str) -> List[Tuple[str, str]]:
    """Language and text of the page's blocks of shell and Python, in order."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> List[str]:
    return [as_shell(*block) for block in blocks(page.read_text())]


def as_shell(language: str, text: str) -> str:
    return text if language == "bash" else f"python - <<'END'\n{text}END\n"


def copy_of_repository(folder: Path) -> Path:
    """What git would clone, with the changes of the working tree and the compiled library."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for library in (PLUGIN / "native").glob("_library*"):
        shutil.copy2(library, folder / "resdual_fairseq" / "native")
    return folder


def make_environment(folder: Path) -> Path:
    """A virtual environment with the packages and commands of this one, so that none is fetched.

    tests/unit/test_extras.py shows that each extra names all that it needs.
    """
    venv.create(folder, with_pip=True)
    (here,) = folder.glob("lib/python*/site-packages")
    (here / "packages_of_the_tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for command in Path(sysconfig.get_path("scripts")).iterdir():
        copy = folder / "bin" / command.name
        if not copy.exists() and command.read_bytes().startswith(b"#!") and command.is_file():
            text = command.read_text()
            copy.write_text(text.replace(sys.executable, str(folder / "bin" / "python")))
            copy.chmod(0o755)
    return folder


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Spare fairseq's commands of an environment their imports, as helpers.commands.run does."""
    if "RESDUAL_TESTS_FRESH" not in os.environ:
        server = Server(folder / "bin" / "python")
        for command in (folder / "bin").glob("fairseq-*"):
            command.write_text(server.script(command.name))
        yield
        server.process.terminate()
    else:
        yield


def write_own_text(folder: Path) -> None:
    """The reader's own text, my.en and my.de: 1,100 short lines, 1,000 of them held out."""
    generator = random.Random(1)
    lines: Set[str] = set()
    while len(lines) < 1100:
        lines.add(" ".join(generator.choice(WORDS) for _ in range(generator.randint(3, 4))))
    text = sorted(lines)
    (folder / "my.en").write_text("".join(f"{line}\n" for line in text))
    (folder / "my.de").write_text("".join(f"{line.upper()}\n" for line in text))


@pytest.mark.slow
def test_the_pages_commands_run_word_for_word(tmp_path: Path) -> None:
    folder = copy_of_repository(tmp_path / "clone")
    write_own_text(folder)
    commands = commands_of(ROOT / "README.md")
    # The extras of two pages, installed at once.
    commands.append("pip install -c constraints.txt '.[diagnostics,export,study]'\n")
    for name in DOCS:
        commands += commands_of(ROOT / "docs" / f"{name}.md")
    commands.remove("bash scripts/test.sh\n")  # it runs this test
    commands.remove("bash examples/study/smoke.sh\n")  # 20 minutes; its spec is tested by itself
    packages = make_environment(folder / "my-env")
    variables = environment(
        RESDUAL_DEMO_UPDATES="4", EPOCHS="5",
        RESDUAL_VENV=str(packages),
        RESDUAL_DEMO_DIR=str(folder / "demo"),
        # Neither Python nor C is compiled at each of three installations.
        PIP_NO_COMPILE="1", CC="false",
    )  # fmt: skip
    with served(packages):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", "".join(commands)],
            cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", timeout=3600, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    report = (folder / "demo" / "report.txt").read_text()
    assert re.search(r"^BLEU +[0-9.]+ +nrefs:1\|case:mixed", report, flags=re.MULTILINE)
    assert re.search(r"^chrF2 +[0-9.]+ +nrefs:1\|case:mixed", report, flags=re.MULTILINE)
    assert report.count("\n  translation ") == 6
    assert "parameters 2," in report
    for made in ("model/test.de", "model/int8.pt", "diagnosis/claims.txt", "onnx/encoder.onnx"):
        assert (folder / "my" / made).is_file()


def test_ci_runs_the_test_script() -> None:
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()
    assert "bash scripts/test.sh\n" in (ROOT / "README.md").read_text()


def test_the_pages_name_every_preset_and_residual() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    for preset in ARCH_MODEL_INV_REGISTRY["resdual_transformer"]:
        assert f"| `{preset}` |" in page
        assert (PLUGIN / "config" / f"{preset}.yaml").is_file()
    schemes = (ROOT / "docs" / "schemes.md").read_text()
    for kind, scheme in RESIDUALS.items():
        assert f"| `{kind}` |" in schemes
        assert all(f"`{variant}`" in schemes for variant in scheme.variants)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


def test_the_readme_can_be_read_in_one_sitting() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 170
    assert max(map(len, lines)) <= 130
