"""What happens to weights on their way from a checkpoint into a model."""

from argparse import Namespace
from typing import Any, Dict, List, Mapping

from fairseq.checkpoint_utils import prune_state_dict
from torch import Tensor, nn

from ..errors import ResDualError


class ArchitectureError(ResDualError, RuntimeError):
    """Weights of another architecture than the model's."""


class ExplainedMisfit(nn.Module):
    """A model that tells how weights misfit; comes before fairseq's model class."""

    def load_state_dict(
        self, state_dict: Dict[str, Tensor], *args: object, **options: object
    ) -> Any:
        """Load weights, as fairseq's models do.

        Raises:
            ArchitectureError: they are of another architecture.
        """
        keep = layers_to_keep(options.get("model_cfg"))
        try:
            return super().load_state_dict(state_dict, *args, **options)
        except RuntimeError as error:
            weights = prune_state_dict(state_dict, Namespace(**vars(keep)))
            raise explain_misfit(self, weights, keep, error) from error


def layers_to_keep(model_cfg: object) -> Namespace:
    """What fairseq is asked to prune as it loads a model, which it then strikes from the options.

    Args:
        model_cfg: the model's options, or None.

    Returns:
        options for fairseq's ``prune_state_dict``.
    """
    names = [f"{side}_layers_to_keep" for side in ("encoder", "decoder")]
    return Namespace(arch="", **{name: getattr(model_cfg, name, None) for name in names})


def explain_misfit(
    model: nn.Module, weights: Mapping[str, Tensor], keep: Namespace, error: RuntimeError
) -> RuntimeError:
    """What to raise in place of torch's list of every weight that does not fit.

    Args:
        model: what was to be loaded into.
        weights: the state dict, pruned.
        keep: layers that the pruning kept.
        error: what torch said of it.

    Returns:
        an :class:`ArchitectureError` that names the differences, or the error where there are none.
    """
    own = model.state_dict()
    sizes = [
        f"{key} is {format_shape(weights[key])} there and {format_shape(value)} here"
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
    pruned = {side for side in ("encoder", "decoder") if getattr(keep, f"{side}_layers_to_keep")}
    if len(pruned) == 1 and hasattr(model, "encoder"):
        return ArchitectureError(
            f"the checkpoint is pruned to --{pruned.pop()}-layers-to-keep as it is loaded, then "
            f"without any layer of the other side (it {'; it '.join(found)}); name the layers to "
            "keep of both sides, such as --model-overrides "
            "\"{'encoder_layers_to_keep': '0,1', 'decoder_layers_to_keep': '0,1'}\""
        )
    return ArchitectureError(
        f"the checkpoint is of another architecture: it {'; it '.join(found)}; give the "
        "options and the data of its training, or another checkpoint (in a new training: another "
        "--save-dir)"
    )


def listed(what: str, names: List[str]) -> List[str]:
    """One phrase with the first name and the number of the others; nothing without names."""
    if not names:
        return []
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [f"{what} {names[0]}{others}"]


def format_shape(value: Tensor) -> str:
    return " x ".join(str(size) for size in value.shape) or "a number"
