"""What fairseq, Slurm and COMET would refuse of a spec, found before anything is prepared."""

from __future__ import annotations

import io
import re
import shutil
from argparse import ArgumentParser, Namespace
from contextlib import redirect_stderr
from difflib import get_close_matches
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

from fairseq import options
from fairseq.data import encoders
from fairseq.data.data_utils import post_process
from sacrebleu.metrics import BLEU

from ..compat import slurm_keys
from ..errors import ResDualError
from .analysis.table import Cell
from .engine import commands
from .spec import search_space
from .spec.keys import Spec
from .spec.option_lines import is_share
from .work import data
from .work.evaluating import main_language

UNKNOWN = re.compile(r"unrecognized arguments: (\S+)")
CHOICE = re.compile(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)")
ARGUMENT = re.compile(r"argument (\S+): ")
LIKENESS = 0.75
"""Share of letters in common from which on a known name may be what was meant."""
SHOWN = 12
"""Choices up to which all of them are named."""
NOT_FOR_SCORES = {
    "nbest": "the best translation of a sentence is scored",
    **dict.fromkeys(
        ("score_reference", "prefix_size", "constraints"),
        "the model would be given words of the reference",
    ),
    **dict.fromkeys(
        ("num_shards", "skip_invalid_size_inputs_valid_test"), "the whole test set is scored"
    ),
    **dict.fromkeys(
        ("quiet", "retain_iter_history", "print_step"), "translations alone have to be printed"
    ),
}
"""Options of the test with which scores would not be those of its translations, and why."""
WORTH: Dict[Optional[type], str] = {
    None: "one word",
    int: "a whole number of 1 or more",
    list: "a list of lines",
    dict: "keys with values",
}
"""What Slurm's keys take."""


def check(spec: Spec) -> None:
    """Look at options, programs and keys that other software reads.

    Raises:
        ResDualError: naming the key of the spec and the nearest that is known.
    """
    data.user_dirs(spec)
    check_training(spec)
    check_decoding(spec)
    check_scores(spec)
    check_comet(spec)
    check_slurm(spec)
    data.check_whole(spec)
    check_fractions(spec)


def check_training(spec: Spec) -> None:
    """Every arm with every searched value, before and after its rate falls.

    An arm with a ``user_dir`` of its own has options that only its own processes know; its
    calibration tells what is wrong with them.
    """
    first = search_space.first(spec.search)
    trials = [{**first, name: one} for name, ones in spec.search.values.items() for one in ones]
    for name in (name for name, arm in spec.arms.items() if arm.user_dir is None):
        shared = commands.model_options(spec, Cell(name, spec.depths[0], spec.widths[0].width, 1.0))
        if not {"--arch", "-a"} & {word.partition("=")[0] for word in shared}:
            raise ResDualError(f"arms.{name}: give its model, such as --arch transformer")
        for values in map(search_space.clean, trials or [first]):
            for own in (
                commands.trunk_options(values, 1, 1),
                commands.branch_options(values, 1, 0, 1),
            ):
                parser = options.get_training_parser()
                given, fault = parsed(parser, ["data", *shared, *own])
                fault = fault or wrong_share(given)
                if fault:
                    where = key_of(spec, name, fault)
                    raise ResDualError(f"{where}: {explained(fault, parser)}")


def wrong_share(given: Optional[Namespace]) -> str:
    """The first dropout, or other share of 1, that is none; as argparse would tell it."""
    for name, value in vars(given or Namespace()).items():
        if is_share(name.replace("_", "-")) and isinstance(value, float) and not 0 <= value < 1:
            return f"argument --{name.replace('_', '-')}: {value:g} is not from 0 to below 1"
    return ""


def check_decoding(spec: Spec) -> None:
    """The options of the test, which comes after all training."""
    translates = spec.task == "translation"
    parser = options.get_generation_parser() if translates else options.get_eval_lm_parser()
    if all(arm.user_dir is not None for arm in spec.arms.values()):
        return
    words = ["data", "--path", "x", *commands.decoding_options(spec)]
    given, fault = parsed(parser, words)
    if fault:
        refuse_decoding(explained(fault, parser))
    if given is None:
        return
    if getattr(given, "beam", 1) < 1:
        refuse_decoding(f"--beam {given.beam} finds nothing; give 1 or more")
    for name, reason in NOT_FOR_SCORES.items():
        if getattr(given, name, None) != parser.get_default(name):
            refuse_decoding(f"{reason}; leave --{name.replace('_', '-')} out")
    try:
        encoders.build_bpe(given)
        encoders.build_tokenizer(given)
        post_process("", given.post_process)
    except Exception as error:  # each of them fails in its own way
        refuse_decoding(
            f"{' '.join(str(error).split())[:300]}; mend --bpe, --tokenizer or --post-process"
        )


def check_scores(spec: Spec) -> None:
    """sacreBLEU splits some languages into words with packages of their own."""
    if spec.task != "translation":
        return
    try:
        BLEU(trg_lang=main_language(str(spec.data.target_lang)))
    except (RuntimeError, ImportError) as error:
        raise ResDualError(
            f"data.target_lang: sacreBLEU cannot score {spec.data.target_lang}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def refuse_decoding(reason: str) -> NoReturn:
    raise ResDualError(f"decoding.options: {reason}")


def check_comet(spec: Spec) -> None:
    if spec.comet is not None and shutil.which(str(spec.comet.command)) is None:
        raise ResDualError(
            f"comet.command: there is no program {spec.comet.command}; name the comet-score of an "
            "environment that has it"
        )


def check_slurm(spec: Spec) -> None:
    known = slurm_keys()
    for key, value in spec.slurm.items():
        if key not in known:
            raise ResDualError(f"slurm.{key}: submitit has no such key; {hint(key, list(known))}")
        kind = known[key]
        is_right = isinstance(value, kind) if kind else not isinstance(value, (list, dict))
        if kind is int:
            is_right = type(value) is int and value > 0
        if not is_right:
            wanted = "minutes, such as 120" if key == "time" else WORTH[kind]
            raise ResDualError(f"slurm.{key}: {value}: give {wanted}")


def check_fractions(spec: Spec) -> None:
    least = min(spec.data.fractions)
    folder = spec.data.data_bin
    further = sorted(folder.glob("train[0-9]*.idx")) if folder is not None and least < 1 else []
    if further:
        raise ResDualError(
            f"data.fractions: {folder} has a second training set, {further[0].stem}, of which no "
            "share would be taken; make a data-bin with all in one, or leave fractions out"
        )
    pairs = data.training_pairs(spec) if least < 1 else None
    if pairs is not None and round(least * pairs) < 1:
        raise ResDualError(
            f"data.fractions: {least:g} of {pairs:,} training sentences leaves none; give "
            f"{1 / max(1, pairs):.1g} or more"
        )


def parsed(parser: ArgumentParser, words: Sequence[str]) -> Tuple[Optional[Namespace], str]:
    """What fairseq makes of a command line, and what its parser says against it.

    Neither, where it fails otherwise: the command itself will tell.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return options.parse_args_and_arch(parser, list(words)), ""
    except ResDualError as error:  # of this package's models
        return None, str(error)
    except SystemExit:
        return None, said.getvalue().rpartition(": error: ")[2].strip()
    except Exception:
        return None, ""


def explained(fault: str, parser: ArgumentParser) -> str:
    """A fault that argparse tells, with the nearest option or choice."""
    unknown = UNKNOWN.match(fault)
    if unknown:
        name = unknown[1].split("=")[0]
        known = sorted(set(re.findall(r"--[\w-]+", parser.format_usage())))
        return f"fairseq has no option {name} here; {hint(name, known)}"
    choice = CHOICE.match(fault)
    if choice:
        known = [one.strip(" '") for one in choice[3].split(",")]
        return f"{choice[1].split('/')[0]} has no '{choice[2]}'; {hint(choice[2], known)}"
    return fault


def hint(name: str, known: Sequence[str]) -> str:
    """What may be meant by an unknown name."""
    near = get_close_matches(name, known, n=1, cutoff=LIKENESS)
    if near:
        return f"did you mean {near[0]}?"
    return "known are " + ", ".join(known) if len(known) <= SHOWN else "leave it out, or mend it"


def key_of(spec: Spec, arm: str, fault: str) -> str:
    """The key that an option which argparse names stands under; all of them, where none has it."""
    found = UNKNOWN.match(fault) or ARGUMENT.match(fault)
    names = found[1].split("=")[0].split("/") if found else re.findall(r"^--[\w-]+", fault)
    for key, words in given_options(spec, arm):
        if any(word.split("=")[0] in names for word in words):
            return key
    return f"training, arms.{arm} or search"


def given_options(spec: Spec, arm: str) -> Iterator[Tuple[str, List[str]]]:
    searched: Dict[str, Dict[str, Any]] = {
        "values": dict(spec.search.values),
        "ranges": dict(spec.search.ranges),
    }
    for kind, ones in searched.items():
        yield from ((f"search.{kind}.{name}", [f"--{name}"]) for name in ones)
    yield f"arms.{arm}", spec.arms[arm].options
    yield "training", spec.training
