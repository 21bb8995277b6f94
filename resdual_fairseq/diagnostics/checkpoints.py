"""Trained models, of this plugin and of fairseq's own `transformer`, on a given data-bin.

A checkpoint of fairseq's transformer is measured through this plugin's model with the same weights,
which computes the same (tests/equivalence).
"""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Tuple

from fairseq import checkpoint_utils
from fairseq.models.transformer import TransformerModel
from fairseq.tasks import FairseqTask

from ..checkpoints import contents
from ..checkpoints.loading import load_whole_checkpoint
from ..errors import ResDualError
from ..options import set_defaults
from ..transformer import MODEL, ResDualTransformerModel

EMBEDDINGS = {
    "source": ("source_dictionary", "encoder.embed_tokens.weight"),
    "target": ("target_dictionary", "decoder.embed_tokens.weight"),
}


def model_options(path: Path, state: Dict[str, Any]) -> Namespace:
    """The options of a checkpoint's model, as this plugin's model takes them.

    Raises:
        ResDualError: it is of a kind that this package has no blocks for.
    """
    wanted = f"{MODEL} or of fairseq's transformer"
    kind = contents.class_of_model(path, state, TransformerModel, wanted)
    args = contents.model_options(state)
    if issubclass(kind, ResDualTransformerModel):
        args.arch = args._name = contents.name_of_model(state)
    else:
        args.arch = args._name = MODEL
        args.residual = residual_of_host(path, args)
    set_defaults(args, residual="resdual")
    args.log_block_gradients = 0
    for name in ("checkpoint_activations", "offload_activations"):
        setattr(args, name, False)
    for name in ("encoder_layerdrop", "decoder_layerdrop"):
        setattr(args, name, 0.0)
    return args


def residual_of_host(path: Path, args: Namespace) -> str:
    """Post-LN or Pre-LN, by fairseq's options."""
    sides = {
        bool(getattr(args, f"{side}_normalize_before", False)) for side in ("encoder", "decoder")
    }
    if len(sides) > 1:
        raise ResDualError(
            f"checkpoint {path} is Pre-LN on one side and Post-LN on the other; give one that is "
            "the same on both"
        )
    return "pre" if sides.pop() else "post"


def load(path: Path, task: FairseqTask, device: str = "cpu") -> Tuple[Any, str]:
    """A checkpoint's model, and the kind of its residual connections.

    Args:
        path: written by fairseq-train.
        task: of the data that it is to be measured on.
        device: where it goes.

    Raises:
        ResDualError: the file is missing, broken or hostile, of another kind of model, or of
            other dictionaries than the data's, or of weights that are no numbers.
    """
    load_whole_checkpoint(path)  # says what is wrong with the file
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    args = model_options(path, state)
    check_dictionaries(path, state["model"], task)
    check_numbers(path, state["model"])
    state = {**state, "args": None, "task_state": {}, "cfg": Namespace(model=args)}
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], task=task, state=state
    )
    return models[0].float().to(device), args.residual


def check_dictionaries(path: Path, weights: Dict[str, Any], task: FairseqTask) -> None:
    """Raise where a checkpoint knows more or fewer words than the data's dictionary."""
    for side, (name, table) in EMBEDDINGS.items():
        words = len(getattr(task, name))
        if table in weights and len(weights[table]) != words:
            raise ResDualError(
                f"checkpoint {path} knows {len(weights[table])} {side} words, but the data's "
                f"{side} dictionary has {words}; give the data-bin that it was trained on"
            )


def check_numbers(path: Path, weights: Dict[str, Any]) -> None:
    """Raise where a weight is no number: nothing could be measured, and nothing drawn."""
    for name, weight in weights.items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ResDualError(
                f"checkpoint {path} is of a run that diverged: {name} holds NaN or infinity; give "
                "an earlier one"
            )


def fingerprint(path: Path) -> str:
    """Changes when the file does."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def labels(paths: List[Path]) -> Dict[Path, str]:
    """A short name for each: its folder and file name, or the whole path where those are equal."""
    short = {path: "/".join(path.absolute().parts[-2:]) for path in paths}
    taken = list(short.values())
    return {path: name if taken.count(name) == 1 else str(path) for path, name in short.items()}
