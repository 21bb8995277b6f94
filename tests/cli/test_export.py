"""Protects resdual-export: its files translate, without fairseq, as fairseq does."""

import shutil
import sys
from importlib import util
from pathlib import Path
from typing import Any, List

import pytest
from helpers.commands import ROOT, generate_command, hypotheses, run

from resdual_fairseq.export.command import ENCODER, STEP
from resdual_fairseq.export.quantization import round_weights

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "export" / "translate.py"


@pytest.fixture(scope="module")
def example() -> Any:
    """The example's module."""
    spec = util.spec_from_file_location("export_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    output = run("resdual-export", learned / "checkpoint_last.pt", "--out", folder)
    assert f"wrote {folder}, " in output
    assert "Warning" not in output
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    return folder


@pytest.fixture(scope="module")
def lines(reversal_text: Path) -> List[str]:
    return (reversal_text / "test.src").read_text().splitlines()


def test_numpy_and_onnxruntime_translate_as_fairseq_does(
    exported: Path, learned: Path, reversal: Path, lines: List[str], example: Any
) -> None:
    generated = run(*generate_command(reversal, learned / "checkpoint_last.pt", "--beam", 1))
    wanted = [line for _, line in sorted(hypotheses(generated).items())]
    assert example.Translator(exported, threads=1).translate(lines) == wanted
    cut = run(*generate_command(
        reversal, learned / "checkpoint_last.pt", "--beam", 1, "--max-len-b", 3,
    ))  # fmt: skip
    wanted = [line for _, line in sorted(hypotheses(cut).items())]
    assert example.Translator(exported, threads=1).translate(lines, b=3) == wanted
    assert max(len(line.split()) for line in wanted) == 3


def test_the_program_needs_neither_torch_nor_fairseq(exported: Path, tmp_path: Path) -> None:
    for name in ("torch", "fairseq"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    output = run(
        sys.executable, EXAMPLE, exported, text="a b c\nb c e unknown\n", PYTHONPATH=str(tmp_path)
    )  # fmt: skip
    assert output.splitlines()[0] == "c b a"
    assert len(output.splitlines()) == 2
    output = run(sys.executable, EXAMPLE, tmp_path, fails=True)
    assert "holds no model.json; make it with resdual-export" in output


@pytest.fixture(scope="module")
def rounded(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What --int8 would have written."""
    folder = tmp_path_factory.mktemp("rounded")
    for path in exported.iterdir():
        shutil.copy2(path, folder)
    for name in (ENCODER, STEP):
        round_weights(folder / name)
    return folder


def test_the_script_that_compares_them(
    rounded: Path, exported: Path, learned: Path, reversal: Path, reversal_text: Path
) -> None:
    output = run(
        sys.executable, EXAMPLE.with_name("int8.py"), learned / "checkpoint_last.pt", reversal,
        reversal_text / "test.src", reversal_text / "test.tgt", "--lines", 30,
        "--onnx", exported, rounded,
    )  # fmt: skip
    rows = [line.rsplit(maxsplit=3) for line in output.split("BLEU\n")[1].splitlines()[:3]]
    names = ["torch, 32 bits", exported.name, rounded.name]
    assert [row[0].strip() for row in rows] == names
    sizes, bleu = ([float(row[column]) for row in rows] for column in (1, 3))
    assert sizes[2] < sizes[1]
    assert min(bleu) > 90
    assert "30 lines, nrefs:1|" in output


def test_what_cannot_be_exported_is_named(learned: Path, exported: Path, tmp_path: Path) -> None:
    checkpoint = learned / "checkpoint_last.pt"
    out = tmp_path / "out"
    for arguments, message in (
        ([tmp_path / "none.pt", "--out", out], "none.pt does not exist"),
        ([exported / ENCODER, "--out", out], "is truncated or not a checkpoint"),
        ([checkpoint, "--out", exported], f"{exported} holds something already; remove it"),
        (
            [checkpoint, "--out", out, "--data", tmp_path],
            "the data-bin of the training with --data",
        ),
    ):
        output = run("resdual-export", *arguments, fails=True)
        assert "resdual_fairseq: error: " in output
        assert message in output
        assert "Traceback" not in output
    assert not list(tmp_path.iterdir())
