"""What happens to weights on their way from a checkpoint into a model."""

from typing import Any, Dict, List, Mapping

from torch import Tensor, nn

from ..errors import ResDualError
from .int8 import decoded_state


class ArchitectureError(ResDualError, RuntimeError):
    """Weights of another architecture than the model's."""


class ExplainedMisfit:
    """A model that tells how weights misfit; comes before fairseq's model class."""

    def load_state_dict(
        self: Any, state_dict: Dict[str, Tensor], *args: Any, **options: Any
    ) -> Any:
        """Load weights, as fairseq's models do.

        Raises:
            ArchitectureError: they are of another architecture.
        """
        try:
            return super().load_state_dict(state_dict, *args, **options)  # type: ignore[misc]
        except RuntimeError as error:
            raise explain_misfit(self, decoded_state(state_dict), error) from error


def explain_misfit(model: nn.Module, weights: Mapping[str, Tensor], error: RuntimeError) -> Any:
    """What to raise in place of torch's list of every weight that does not fit.

    Args:
        model: what was to be loaded into.
        weights: the state dict.
        error: what torch said of it.

    Returns:
        an :class:`ArchitectureError` that names the differences, or the error where there are none.
    """
    own = model.state_dict()
    sizes = [
        f"{key} is {by(weights[key])} there and {by(value)} here"
        for key, value in own.items()
        if key in weights and weights[key].shape != value.shape
    ]
    found = [
        *listed("lacks", [key for key in own if key not in weights]),
        *listed("has more than the model, with", [key for key in weights if key not in own]),
        *listed("has other sizes:", sizes),
    ]
    if not found:
        return error
    return ArchitectureError(
        f"the checkpoint is of another architecture: it {'; it '.join(found)}; give the model's "
        "options as they were in its training, or another checkpoint (in a new training: another "
        "--save-dir)"
    )


def listed(what: str, names: List[str]) -> List[str]:
    """One phrase with the first name and the number of the others; nothing without names."""
    if not names:
        return []
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [f"{what} {names[0]}{others}"]


def by(value: Tensor) -> str:
    return " x ".join(str(size) for size in value.shape) or "a number"
