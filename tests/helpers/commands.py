"""Run fairseq's real commands as a user's shell would."""

import functools
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from .command_client import ask

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "resdual_fairseq"
LETTERS = "abcdefgh"
LONGEST = 900
"""Seconds that a command may take."""


def environment(**extra: str) -> Dict[str, str]:
    """The caller's environment, with the commands of this Python found first."""
    bin_folder = str(Path(sys.executable).parent)
    path = bin_folder + os.pathsep + os.environ["PATH"]
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **extra}


class Server:
    """A helpers/command_server.py, for as long as this process lives.

    Args:
        python: the interpreter whose packages it takes, and whose commands it runs.
    """

    def __init__(self, python: Path = Path(sys.executable)) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.socket = str(Path(self.folder.name, "socket"))
        script = Path(__file__).with_name("command_server.py")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.socket)
            listening.listen()
            number = listening.fileno()
            self.process = subprocess.Popen(
                [python, "-W", "ignore", script, str(number)],
                env=environment(), stdin=subprocess.PIPE, pass_fds=(number,),
            )  # fmt: skip

    def run(self, words: Sequence[str], cwd: Path, text: str, **extra: str) -> Tuple[int, str]:
        """The status of a command and what it printed (both streams)."""
        given, printed = Path(self.folder.name, "input"), Path(self.folder.name, "output")
        given.write_text(text, encoding="utf-8")
        with given.open() as source, printed.open("w") as sink:
            files = (source.fileno(), sink.fileno(), sink.fileno())
            status = ask(self.socket, words, str(cwd), environment(**extra), files, LONGEST)
        return status, printed.read_text(encoding="utf-8", errors="replace")

    def script(self, command: str) -> str:
        """The text of a script that has a command served, in place of the installed one."""
        client = Path(__file__).with_name("command_client.py")
        words = shlex.join([sys.executable, "-S", "-E", str(client), self.socket, command])
        return f'#!/bin/sh\nexec {words} "$@"\n'


server = functools.lru_cache(maxsize=1)(Server)


def run(
    *command: object,
    cwd: Optional[Path] = None,
    text: Optional[str] = None,
    fails: bool = False,
    **extra: str,
) -> str:
    """Run a command, assert how it ends, and return what it printed (both streams).

    Commands of fairseq and of this package are served by :class:`Server`, unless the variable
    RESDUAL_TESTS_FRESH is set; all others, and what tests start themselves, are fresh processes.

    Args:
        command: its words.
        cwd: the folder to run it in.
        text: its standard input.
        fails: whether it has to fail.
        extra: variables of its environment.
    """
    words = [str(word) for word in command]
    if words[0].startswith(("fairseq-", "resdual-")) and "RESDUAL_TESTS_FRESH" not in os.environ:
        status, printed = server().run(words, cwd or Path.cwd(), text or "", **extra)
    else:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment(**extra),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=LONGEST,
            check=False,
        )
        status, printed = done.returncode, done.stdout
    assert (status != 0) == fails, f"{command} ended with {status}:\n{printed}"
    return printed


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


def losses(output: str) -> Dict[int, float]:
    """Training loss of each update, out of the log."""
    entries = [
        json.loads(line.split("| train_inner | ", 1)[1])
        for line in output.split("\n")
        if "| train_inner | " in line
    ]
    return {int(entry["num_updates"]): float(entry["loss"]) for entry in entries}


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
