"""What repeats a run in a shell: fairseq's own commands and sacreBLEU's."""

from __future__ import annotations

import shlex
from typing import List, Optional, Sequence, Tuple

from ..engine import commands
from ..engine.tasks import OUTPUT, StudyFolder, Task
from ..spec.keys import Spec
from ..work.evaluating import main_language
from .planned import Plan

PLUGIN = 'PLUGIN=$(python -c "import resdual_fairseq; print(resdual_fairseq.__path__[0])")'
DETOKENIZED = "grep '^D-' generated.txt | cut -c3- | sort -n | cut -f3- > hypotheses.txt"
TARGETS = "grep '^T-' generated.txt | cut -c3- | sort -n | cut -f2- > references.txt"


def settings(spec: Spec) -> Tuple[str, ...]:
    """The variables that the commands read."""
    found = [] if spec.data.text else ["DATA=FOLDER_OF_THE_DATA_BIN"]
    if spec.data.text or min(spec.data.fractions) < 1:
        found.append("STUDY=FOLDER_OF_THIS_STUDY")
    if spec.data.reference is not None:
        found.append("TEST=FILE_OF_THE_REFERENCE_TRANSLATIONS")
    return (*found, PLUGIN)


def data_of(task: Task, plan: Plan, study: StudyFolder) -> str:
    """The data-bin of a task, as a word of the shell: the user's, or one that the study made."""
    if "data" not in task.needs:
        return '"$DATA"'
    need = plan.tasks[task.needs["data"]]
    made = study.output(need.name, need.kind)
    made = made or study.folder(need.name) / "run" / OUTPUT[need.kind]
    return f'"$STUDY"/{made.relative_to(study.path)}'


def shell_commands(spec: Spec, names: Sequence[str], plan: Plan, study: StudyFolder) -> List[str]:
    """The commands of a run's tasks, in order, after :func:`settings`.

    Of an arm with a --user-dir of its own, this package is imported besides, as in the study.
    """
    found: List[str] = []
    before = ""
    for number, name in enumerate(names):
        task = plan.tasks[name]
        if task.kind not in ("train", "evaluate"):
            continue
        folder, own = f"part{number + 1}", spec.arms[task.arm].user_dir
        data = data_of(task, plan, study)
        plugin = '"$PLUGIN"' if own is None else shlex.quote(str(own))
        if task.kind == "train":
            if before:
                found.append(f"mkdir {folder} && cp {before}/checkpoint_last.pt {folder}/")
            words = shlex.join([*commands.ONE_DEVICE, *task.arguments, "--save-dir", folder])
            found.append(f"{program('fairseq-train', own)} {data} {words} --user-dir {plugin}")
            before = folder
        else:
            translates = spec.task == "translation"
            command = program("fairseq-generate" if translates else "fairseq-eval-lm", own)
            words = shlex.join(["--path", f"{before}/checkpoint_last.pt", *task.arguments])
            line = f"{command} {data} {words} --user-dir {plugin}"
            found += [f"{line} > generated.txt", *scoring(spec, data)] if translates else [line]
    return found


def program(command: str, own: Optional[object]) -> str:
    if own is None:
        return command
    return shlex.join(["python", "-c", commands.with_this_package(command)])


def scoring(spec: Spec, data_bin: str) -> List[str]:
    """From fairseq-generate's output to sacreBLEU's scores."""
    data = spec.data
    made = f"{data_bin.removesuffix('/data-bin')}/text/test.{data.target_lang}"
    targets = [TARGETS] if data.text is None and data.reference is None else []
    languages = (main_language(str(code)) for code in (data.source_lang, data.target_lang))
    pair = shlex.quote("-".join(languages))
    test = made if data.text else "references.txt" if targets else '"$TEST"'
    score = f"sacrebleu {test} -i hypotheses.txt -l {pair} -m bleu chrf ter -w 2"
    return [DETOKENIZED, *targets, score]
