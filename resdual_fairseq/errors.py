"""Errors a user can mend, shown as one sentence in place of a traceback.

With ``RESDUAL_TRACE=1`` in the environment the traceback is shown above it.
"""

import os
import struct
import sys
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Optional, Type

from fairseq.data import indexed_dataset
from fairseq.utils import parse_embedding
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException

NEEDS_GPU = (
    "an option of this command needs a GPU, and there is none; --fp16 (with hydra common.fp16) is "
    "one: on a CPU give --bf16 (common.bf16) in its place"
)
TOLD_OTHERWISE = (
    (
        "Could not infer language pair, please provide it explicitly",
        "the data folder does not tell its languages; check that it is a data-bin that "
        "fairseq-preprocess finished, and give --source-lang and --target-lang (with hydra "
        "task.source_lang and task.target_lang)",
    ),
    ("Torch not compiled with CUDA enabled", NEEDS_GPU),
    (
        "Unsupported optimizer: FusedAdam",
        "--optimizer fused_adam would keep its moments in 16 bits with --memory-efficient-fp16 or "
        "-bf16; give --optimizer adam there, or --fp16 or --bf16",
    ),
    ("Found no NVIDIA driver", NEEDS_GPU),
    (
        "embed_dim must be divisible by num_heads",
        "--encoder-embed-dim does not divide into --encoder-attention-heads, or the decoder's into "
        "--decoder-attention-heads; give a multiple of the heads",
    ),
    (
        "'GradScaler' object has no attribute '_backoff_factor'",
        "gradients overflowed, and on a CPU fairseq's --amp cannot go on from that; leave it out "
        "(it computes in float32 there), and give a lower --lr if the run diverges",
    ),
)
"""How errors of fairseq's and torch's begin that a user can mend, and what to tell instead."""
TELL_THEMSELVES = (
    "--finetune-from-model",
    "--replace-unk requires",
    "--share-all-embeddings ",
    "Size of sample #",
    "Valid paths ",
)
"""How errors of fairseq's begin that say what to do."""
MISREAD = (AssertionError, KeyError, ValueError, struct.error)
"""What fairseq raises of an index that it makes no sense of."""
NO_CHECKPOINT = "Model file not found: "
NO_FILE = "@@ "
"""What fairseq takes for the file of a ``--replace-unk`` without one."""


class ResDualError(CompactHydraException):
    """Something the user can mend; its message names the thing and the remedy.

    Hydra, too, prints an error of this kind without its traceback.
    """


def show_errors_as_sentences() -> None:
    """Print what :func:`sentence_of` knows without its traceback; leave all other errors alone."""
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        sentence = sentence_of(error, trace)
        if sentence is None or trace_is_wanted():
            previous(kind, error, trace)
        if sentence is not None:
            print(f"resdual_fairseq: error: {sentence}", file=sys.stderr)

    sys.excepthook = hook
    if HydraConfig.initialized():
        # Else hydra would print errors itself, and end the command before the hook is asked.
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")


def trace_is_wanted() -> bool:
    return os.environ.get("RESDUAL_TRACE") == "1"


def sentence_of(error: BaseException, trace: Optional[TracebackType]) -> Optional[str]:
    """What to tell of an uncaught error that a user can mend; None of any other.

    That is a :class:`ResDualError`, also one in whose place fairseq raised another error of its
    own, and what commands raise of missing or broken files, of languages and of devices.
    """
    mendable = first_mendable(error)
    if mendable is not None:
        return str(mendable)
    if not is_of_a_command(trace):
        return None
    if isinstance(error, FileNotFoundError):
        return absence(error)
    index = broken_index(trace) if isinstance(error, MISREAD) else None
    if index is not None:
        return (
            f"{index} was cut short, or fairseq-preprocess did not write it; make {index.parent} "
            "again with fairseq-preprocess, from the start"
        )
    message = str(error)
    if message.startswith(NO_CHECKPOINT):
        path = message[len(NO_CHECKPOINT) :]
        return f"checkpoint {path} does not exist; give the .pt file that fairseq-train wrote"
    if message.startswith(TELL_THEMSELVES):
        message = message.split(": {'_name'")[0]  # fairseq ends some with all options
        missing = message.endswith("does not exist")
        return f"{message}; give a checkpoint that fairseq-train wrote" if missing else message
    return next((told for start, told in TOLD_OTHERWISE if message.startswith(start)), None)


def first_mendable(error: BaseException) -> Optional[ResDualError]:
    """The error itself, or what was being handled as it was raised, if that is a user's to mend."""
    seen: Optional[BaseException] = error
    while seen is not None and not isinstance(seen, ResDualError):
        seen = seen.__cause__ or seen.__context__
    return seen


def is_of_a_command(trace: Optional[TracebackType]) -> bool:
    """Whether a command of fairseq's or this package's was at work, not a program of the user's."""
    for frame, _ in walk_tb(trace):
        package = frame.f_globals.get("__name__", "").split(".")[0]
        if package == "fairseq_cli" or (package, frame.f_code.co_name) == (__package__, "main"):
            return True
    return False


def broken_index(trace: Optional[TracebackType]) -> Optional[Path]:
    """The file of a data-bin that fairseq was opening, if that is where an error was raised."""
    names = [
        frame.f_locals["path"]
        for frame, _ in walk_tb(trace)
        if frame.f_globals.get("__name__") == indexed_dataset.__name__ and "path" in frame.f_locals
    ]
    return Path(names[-1]) if names else None


def absence(error: FileNotFoundError) -> str:
    """One sentence for a missing file, or a split that no data folder has."""
    if error.filename is None:
        return (
            f"{error}; prepare it with fairseq-preprocess (--trainpref, --validpref, --testpref), "
            "or name a split that is there"
        )
    path = Path(str(error.filename))
    if error.filename == NO_FILE:
        return (
            "--replace-unk names no file; give one that has a source word and its translation in "
            "each line, or '' to copy source words"
        )
    if any(frame.f_code is parse_embedding.__code__ for frame, _ in walk_tb(error.__traceback__)):
        return (
            f"{path} does not exist, from which the model was to take embeddings; name it where it "
            "lies now (--encoder-embed-path, --decoder-embed-path); a checkpoint does not need it: "
            "--model-overrides \"{'encoder_embed_path': None, 'decoder_embed_path': None}\""
        )
    if path.name == "dict.txt" and any(path.parent.glob("dict.*.txt")):
        return (
            f"{path} does not exist, where a language model (--lm-path, --task language_modeling) "
            "reads its words; copy the dictionary of its language there, or make a data-bin of one "
            "language with fairseq-preprocess --only-source"
        )
    if path.name.startswith("dict.") and path.parent.is_dir():
        return (
            f"{path} does not exist, so {path.parent} is no finished data-bin of this language; "
            f"make it with fairseq-preprocess --destdir {path.parent}"
        )
    if path.name.startswith("dict."):
        path = path.parent
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    return (
        f"{path} does not exist{where}; check the paths that this command names "
        "(fairseq-hydra-train needs absolute ones)"
    )
