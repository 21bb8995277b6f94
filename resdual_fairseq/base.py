"""What both models have in common beyond their stacks: how they are built, loaded and watched."""

from argparse import Namespace
from typing import Dict, Union

from omegaconf import DictConfig
from torch import Tensor, nn

from .checkpoints.int8 import Int8StateDictMixin
from .checkpoints.state_dicts import ExplainedMisfit
from .generation.prepared import PreparesStacks
from .training.divergence import NamesDivergedBlock
from .training.gradient_log import LogsBlockGradients


def initialize_embeddings(model: nn.Module, args: Namespace) -> None:
    """Let the schemes set initial embeddings; of the encoder's where both stacks share them.

    Those that come from a file (``--encoder-embed-path``) stay.
    """
    stacks = {name: getattr(model, name) for name in ("decoder", "encoder") if hasattr(model, name)}
    from_file = {
        id(stack.embed_tokens)
        for name, stack in stacks.items()
        if getattr(args, f"{name}_embed_path", None)
    }
    for stack in stacks.values():
        if id(stack.embed_tokens) not in from_file:
            for part in stack.embed_tokens.modules():
                if isinstance(part, nn.Embedding):
                    stack.layer_norm.initialize_embeddings(part)


class ResDualModel(
    PreparesStacks, NamesDivergedBlock, LogsBlockGradients, Int8StateDictMixin, ExplainedMisfit
):
    """A model of this package; comes before fairseq's model class."""

    def upgrade_state_dict(self, state_dict: Dict[str, Tensor]) -> None:
        """Make an old state dict loadable, as fairseq's models do.

        For shared embeddings fairseq adds a projection, which a model of adaptive softmax lacks.
        """
        super().upgrade_state_dict(state_dict)
        if self.decoder.adaptive_softmax is not None:
            state_dict.pop("decoder.output_projection.weight", None)


def namespace(options: Union[Namespace, DictConfig]) -> Namespace:
    """A model's options, of a command line or of a hydra config, as a namespace."""
    if isinstance(options, Namespace):
        return options
    return Namespace(**{str(name): options[name] for name in options})
