"""Trained models, of this plugin and of fairseq's own `transformer`, on a given data-bin.

A checkpoint of fairseq's transformer is measured through this plugin's model with the same weights,
which computes the same (tests/equivalence).
"""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List

from fairseq import checkpoint_utils
from fairseq.models.transformer import TransformerModel
from fairseq.tasks import FairseqTask

from ..checkpoints import contents
from ..errors import ResDualError
from ..transformer import MODEL, ResDualTransformerModel


def model_options(path: Path, state: Dict[str, Any]) -> Namespace:
    """The options of a checkpoint's model, as this plugin's model takes them.

    Raises:
        ResDualError: it is of a kind that this package has no blocks for.
    """
    wanted = f"{MODEL} or of fairseq's transformer"
    kind = contents.class_of_model(path, state, TransformerModel, wanted)
    args = contents.model_options(state)
    args.residual = contents.kept_options(args)["residual"]
    own = issubclass(kind, ResDualTransformerModel)
    args.arch = args._name = contents.name_of_model(args) if own else MODEL
    args.log_block_gradients = 0
    args.checkpoint_activations = args.offload_activations = False
    args.encoder_layerdrop = args.decoder_layerdrop = 0.0
    return args


def load(path: Path, task: FairseqTask, device: str = "cpu") -> Any:
    """A checkpoint's model.

    Args:
        path: written by fairseq-train.
        task: of the data that it is to be measured on.
        device: where it goes.

    Raises:
        ResDualError: the file is missing, broken or hostile, of another kind of model, or of
            other dictionaries than the data's, or of weights that are no numbers.
    """
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    args = model_options(path, state)
    check_numbers(path, state["model"])
    state = {**state, "args": None, "task_state": {}, "cfg": Namespace(model=args)}
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], task=task, state=state
    )
    return models[0].float().to(device)


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
