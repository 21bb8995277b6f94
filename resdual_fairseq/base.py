"""What both models have in common beyond their stacks: how they are built, loaded and watched."""

from argparse import Namespace
from typing import Any, Dict

from .checkpoints.int8 import Int8StateDictMixin
from .checkpoints.state_dicts import ExplainedMisfit
from .training.divergence import NamesDivergedBlock
from .training.gradient_log import LogsBlockGradients


class ResDualModel(NamesDivergedBlock, LogsBlockGradients, ExplainedMisfit, Int8StateDictMixin):
    """A model of this package; comes before fairseq's model class."""

    @classmethod
    def hub_models(cls) -> Dict[str, str]:
        """No published model files: fairseq's are of another architecture."""
        return {}


def namespace(options: Any) -> Namespace:
    """A model's options, of a command line or of a hydra config, as a namespace."""
    if isinstance(options, Namespace):
        return options
    return Namespace(**{name: options[name] for name in options})
