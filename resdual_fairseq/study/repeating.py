"""What repeats a run in a shell: fairseq's own commands and sacreBLEU's."""

from __future__ import annotations

import shlex
from typing import List, Optional, Sequence, Tuple

from . import commands
from .spec import Spec
from .tasks import Task

SETTINGS = (
    "DATA=FOLDER_OF_THE_DATA_BIN",
    "TEST=FILE_OF_THE_REFERENCE_TRANSLATIONS",
    'PLUGIN=$(python -c "import resdual_fairseq; print(resdual_fairseq.__path__[0])")',
)
"""Variables of the shell, which the commands read."""
DETOKENIZED = "grep '^D-' generated.txt | cut -c3- | sort -n | cut -f3- > hypotheses.txt"
TARGETS = "grep '^T-' generated.txt | cut -c3- | sort -n | cut -f2- > \"$TEST\""


def settings(spec: Spec) -> Tuple[str, ...]:
    """The lines before all others."""
    return tuple(
        line for line in SETTINGS if spec.task == "translation" or not line.startswith("TEST")
    )


def shell_commands(spec: Spec, tasks: Sequence[Task]) -> List[str]:
    """The commands of a run's tasks, in order, after :func:`settings`.

    Of an arm with a --user-dir of its own, this package is imported besides, as in the study.
    """
    found: List[str] = []
    before = ""
    for number, task in enumerate(tasks):
        folder, own = f"part{number + 1}", spec.arms[task.arm].user_dir
        plugin = '"$PLUGIN"' if own is None else shlex.quote(str(own))
        if task.kind == "train":
            if before:
                found.append(f"mkdir {folder} && cp {before}/checkpoint_last.pt {folder}/")
            words = shlex.join([*task.arguments, "--save-dir", folder])
            found.append(f'{program("fairseq-train", own)} "$DATA" {words} --user-dir {plugin}')
            before = folder
        elif task.kind == "evaluate":
            translates = spec.task == "translation"
            command = program("fairseq-generate" if translates else "fairseq-eval-lm", own)
            words = shlex.join(["--path", f"{before}/checkpoint_last.pt", *task.arguments])
            line = f'{command} "$DATA" {words} --user-dir {plugin}'
            found += [f"{line} > generated.txt", *scoring(spec)] if translates else [line]
    return found


def program(command: str, own: Optional[object]) -> str:
    if own is None:
        return command
    return shlex.join(["python", "-c", commands.with_this_package(command)])


def scoring(spec: Spec) -> List[str]:
    """From fairseq-generate's output to sacreBLEU's scores."""
    data = spec.data
    targets = [TARGETS] if data.text is None and data.reference is None else []
    pair = shlex.quote(f"{data.source_lang}-{data.target_lang}")
    score = f'sacrebleu "$TEST" -i hypotheses.txt -l {pair} -m bleu chrf ter -w 2'
    return [DETOKENIZED, *targets, score]
