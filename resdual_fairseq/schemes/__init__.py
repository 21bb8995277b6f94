"""The ways to join blocks: the paper's three (residual.py) and their rivals, a file each."""

from typing import Dict, Type

from ..residual import Place, PostLN, PreLN, ResiDual, Residual, ResidualOptions
from .admin import Admin
from .b2t import B2T
from .deepnorm import DeepNorm
from .dlcl import DLCL
from .dsinit import DSInit
from .hyper import HyperConnections
from .keel import Keel
from .layerscale import LayerScale
from .lnscale import LNScale
from .mhc import MHC
from .mix import MixLN
from .rezero import ReZero
from .sandwich import SandwichLN
from .siamese import SiameseNorm
from .tfixup import TFixup

RESIDUALS: Dict[str, Type[Residual]] = {
    "resdual": ResiDual,
    "post": PostLN,
    "pre": PreLN,
    "b2t": B2T,
    "sandwich": SandwichLN,
    "mix": MixLN,
    "deepnorm": DeepNorm,
    "admin": Admin,
    "dsinit": DSInit,
    "tfixup": TFixup,
    "rezero": ReZero,
    "layerscale": LayerScale,
    "lnscale": LNScale,
    "keel": Keel,
    "siamese": SiameseNorm,
    "hyper": HyperConnections,
    "mhc": MHC,
    "dlcl": DLCL,
}
"""What ``--residual`` chooses from."""


def build_residual(options: ResidualOptions, embed_dim: int, place: Place) -> Residual:
    """The connection around a block, or around the stack."""
    return RESIDUALS[options.kind](options, embed_dim, place)
