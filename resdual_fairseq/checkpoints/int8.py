"""Weights of 8 bits: how a matrix is rounded to them, and checkpoints that hold them.

A matrix is kept as ``qweight``, whole numbers from -127 to 127, and one scale for each of its rows
(each output of a projection, each symbol of an embedding). Vectors stay as they are, and so do
matrices that residual connections learn: they are small, and errors in them add up along a stack. A
model that loads such a checkpoint has the rounded weights in float32, hence works everywhere, and
its searches on the CPU compute in 8 bits where the compiled library does (native/). Its own
``state_dict`` has floats.
"""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

QWEIGHT, SCALES = ".codes", ".scales"
"""How the names of a matrix's two parts end in checkpoints, also in those of earlier versions."""


def quantize_rows(weight: Tensor) -> Tuple[Tensor, Tensor]:
    """A matrix, rows x columns, as qweight (int8) and scales (rows, float32)."""
    weight = weight.float()
    scales = weight.abs().amax(dim=1) / 127
    qweight = (weight / scales.clamp(min=1e-30)[:, None]).round().clamp(-127, 127)
    return qweight.to(torch.int8), scales


def decoded(qweight: Tensor, scales: Tensor) -> Tensor:
    """The matrix that qweight and scales stand for, in float32."""
    return qweight.float() * scales[:, None]


def is_encoded(state: Dict[str, Tensor]) -> bool:
    """Whether a state dict has weights of 8 bits."""
    return any(name.endswith(QWEIGHT) for name in state)


def is_projection_or_table(name: str, weight: Tensor) -> bool:
    """Whether a parameter is what 8 bits are for; matrices of connections have other names."""
    return name.endswith(".weight") and weight.dim() == 2 and weight.is_floating_point()


def encoded_state(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """A state dict with its matrices as qweight and scales; of equal ones there is one.

    Shared embeddings are three equal tables in an average, or in a checkpoint of ``--bf16``.
    """
    state: Dict[str, Tensor] = {}
    made: Dict[torch.Size, List[Tuple[Tensor, Tensor]]] = {}
    for name, weight in weights.items():
        if is_projection_or_table(name, weight):
            found = quantize_rows(weight)
            others = made.setdefault(weight.shape, [])
            known = next((other for other in others if all(map(torch.equal, found, other))), None)
            if known is None:
                others.append(found)
            state[name + QWEIGHT], state[name + SCALES] = known or found
        else:
            state[name] = weight
    return state


def decoded_state(state: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The state dict that :func:`encoded_state` came from, rounded."""
    weights: Dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(QWEIGHT):
            matrix = name[: -len(QWEIGHT)]
            weights[matrix] = decoded(value, state[matrix + SCALES])
        elif not name.endswith(SCALES):
            weights[name] = value
    return weights


class Int8StateDictMixin(nn.Module):
    """A model that loads both kinds of state dict; comes before fairseq's model class."""

    def load_state_dict(
        self, state_dict: Dict[str, Tensor], *args: object, **options: object
    ) -> Any:
        given = state_dict
        if is_encoded(given):
            state_dict = decoded_state(given)
        found = super().load_state_dict(state_dict, *args, **options)
        for part in ("encoder", "decoder"):
            own = {name: value for name, value in given.items() if name.startswith(f"{part}.")}
            if own and hasattr(getattr(self, part, None), "use_int8"):
                getattr(self, part).use_int8(is_encoded(own))
        return found
