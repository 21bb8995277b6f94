"""Weights of 8 bits: how a matrix is rounded to them, and checkpoints that hold them.

A matrix is kept as codes from -127 to 127 and one scale for each of its rows (each output of a
projection, each symbol of an embedding); vectors stay as they are. A model that loads such a
checkpoint has the rounded weights in float32, hence works everywhere, and its searches on the CPU
compute with the codes where the compiled library does (native/). Its own ``state_dict`` has floats.
"""

from typing import Any, Dict, Tuple

import torch
from torch import Tensor

from .errors import ResDualError

CODES, SCALES = ".codes", ".scales"


def encoded(weight: Tensor) -> Tuple[Tensor, Tensor]:
    """A matrix, rows x columns, as codes (int8) and scales (rows, float32)."""
    weight = weight.float()
    scales = weight.abs().amax(dim=1) / 127
    codes = (weight / scales.clamp(min=1e-30)[:, None]).round().clamp(-127, 127)
    return codes.to(torch.int8), scales


def decoded(codes: Tensor, scales: Tensor) -> Tensor:
    """The matrix that codes and scales stand for, in float32."""
    return codes.float() * scales[:, None]


def encoded_state(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """A state dict with its matrices as codes and scales; shared ones stay shared."""
    state: Dict[str, Tensor] = {}
    made: Dict[Tuple[int, torch.Size], Tuple[Tensor, Tensor]] = {}
    for name, weight in weights.items():
        if weight.dim() == 2 and weight.is_floating_point():
            which = (weight.data_ptr(), weight.shape)
            made[which] = made.get(which) or encoded(weight)
            state[name + CODES], state[name + SCALES] = made[which]
        else:
            state[name] = weight
    return state


def decoded_state(state: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The state dict that :func:`encoded_state` came from, rounded.

    Raises:
        ResDualError: codes and scales do not belong together.
    """
    weights: Dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(CODES):
            matrix = name[: -len(CODES)]
            scales = state.get(matrix + SCALES)
            if scales is None or scales.shape != value.shape[:1] or value.dtype != torch.int8:
                raise ResDualError(
                    f"{matrix} has no codes of 8 bits with a scale for each row; the checkpoint is "
                    "damaged: make it anew with resdual-quantize"
                )
            weights[matrix] = decoded(value, scales)
        elif not name.endswith(SCALES):
            weights[name] = value
    return weights


class LoadsCodes:
    """A model that loads both kinds of state dict; comes before fairseq's model class."""

    def load_state_dict(
        self: Any, state_dict: Dict[str, Tensor], *args: Any, **options: Any
    ) -> Any:
        int8 = any(name.endswith(CODES) for name in state_dict)
        if int8:
            state_dict = decoded_state(state_dict)
        for stack in (getattr(self, "encoder", None), self.decoder):
            if stack is not None:
                stack.int8 = int8
        return super().load_state_dict(state_dict, *args, **options)  # type: ignore[misc]
