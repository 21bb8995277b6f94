"""Run fairseq's real commands as a user's shell would."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "resdual_fairseq"
LETTERS = "abcdefgh"


def environment(**extra: str) -> Dict[str, str]:
    """The caller's environment, with the commands of this Python found first."""
    bin_folder = str(Path(sys.executable).parent)
    path = bin_folder + os.pathsep + os.environ["PATH"]
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **extra}


def run(
    *command: object,
    cwd: Optional[Path] = None,
    text: Optional[str] = None,
    fails: bool = False,
    **extra: str,
) -> str:
    """Run a command, assert how it ends, and return what it printed (both streams).

    Args:
        command: its words.
        cwd: the folder to run it in.
        text: its standard input.
        fails: whether it has to fail.
        extra: variables of its environment.
    """
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(**extra),
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    assert (done.returncode != 0) == fails, (
        f"{command} ended with {done.returncode}:\n{done.stdout}"
    )
    return done.stdout


def train_command(data: Path, save_dir: Path, *options: object) -> List[str]:
    """A small training on the CPU; later options win.

    Without a data buffer: the thread that fills it, when it is still at work as Python ends, can
    abort the process ("terminate called without an active exception").
    """
    return [
        "fairseq-train", str(data), "--source-lang", "src", "--target-lang", "tgt",
        "--user-dir", str(PLUGIN), "--arch", "resdual_transformer_tiny", "--share-all-embeddings",
        "--optimizer", "adam", "--lr", "2e-3", "--max-tokens", "1000", "--seed", "1",
        "--required-batch-size-multiple", "1", "--log-format", "json", "--log-interval", "1",
        "--no-epoch-checkpoints", "--num-workers", "0", "--data-buffer-size", "0",
        "--save-dir", str(save_dir),
        *(str(option) for option in options),
    ]  # fmt: skip


def generate_command(data: Path, checkpoint: object, *options: object) -> List[str]:
    """Translate the test set."""
    return [
        "fairseq-generate", str(data), "--source-lang", "src", "--target-lang", "tgt",
        "--user-dir", str(PLUGIN), "--path", str(checkpoint), "--required-batch-size-multiple", "1",
        "--max-tokens", "2000", *(str(option) for option in options),
    ]  # fmt: skip


def hypotheses(output: str) -> Dict[int, str]:
    """Translations by line number, of fairseq-generate's or fairseq-interactive's output."""
    lines = [line.split("\t") for line in output.split("\n") if line.startswith("H-")]
    return {int(line[0][2:]): line[2] for line in lines}


def write_reversals(folder: Path, seed: int = 0) -> None:
    """Distinct sequences of letters and their reversals: train, valid and test, all disjoint."""
    generator = random.Random(seed)
    lines: Dict[str, None] = {}
    while len(lines) < 5300:
        length = generator.randint(2, 5)
        lines[" ".join(generator.choice(LETTERS) for _ in range(length))] = None
    words = list(lines)
    for name, part in (("train", words[300:]), ("valid", words[:100]), ("test", words[100:300])):
        (folder / f"{name}.src").write_text("".join(line + "\n" for line in part))
        (folder / f"{name}.tgt").write_text("".join(line[::-1] + "\n" for line in part))


def preprocess(folder: Path, text: Path, *options: object) -> Path:
    """Binarize `text`/{train,valid,test}.{src,tgt} into `folder`."""
    prefixes: Sequence[object] = [
        word for name in ("train", "valid", "test") for word in (f"--{name}pref", text / name)
    ]
    run(
        "fairseq-preprocess", "--source-lang", "src", "--target-lang", "tgt",
        "--joined-dictionary", *prefixes, "--destdir", folder, *options,
    )  # fmt: skip
    return folder
