"""Weights of 8 bits: how a matrix is rounded to them, and checkpoints that hold them.

A matrix is kept as codes from -127 to 127 and one scale for each of its rows (each output of a
projection, each symbol of an embedding); vectors stay as they are. A model that loads such a
checkpoint has the rounded weights in float32, hence works everywhere, and its searches on the CPU
compute with the codes where the compiled library does (native/). Its own ``state_dict`` has floats.
"""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor

from ..errors import ResDualError

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
    """A state dict with its matrices as codes and scales; of equal ones there is one.

    Shared embeddings are three equal tables in an average, or in a checkpoint of ``--bf16``.
    """
    state: Dict[str, Tensor] = {}
    made: Dict[torch.Size, List[Tuple[Tensor, Tensor]]] = {}
    for name, weight in weights.items():
        if weight.dim() == 2 and weight.is_floating_point():
            found = encoded(weight)
            others = made.setdefault(weight.shape, [])
            known = next((other for other in others if all(map(torch.equal, found, other))), None)
            if known is None:
                others.append(found)
            state[name + CODES], state[name + SCALES] = known or found
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
        if name.endswith((CODES, SCALES)):
            matrix = name.rpartition(".")[0]
            codes, scales = state.get(matrix + CODES), state.get(matrix + SCALES)
            if not belong_together(codes, scales):
                raise ResDualError(
                    f"{matrix} has no codes of 8 bits with a scale for each row; the checkpoint is "
                    "damaged: make it anew with resdual-quantize"
                )
            if name.endswith(CODES):
                weights[matrix] = decoded(value, state[matrix + SCALES])
        else:
            weights[name] = value
    return weights


def belong_together(codes: Any, scales: Any) -> bool:
    return (
        isinstance(codes, Tensor)
        and isinstance(scales, Tensor)
        and codes.dtype == torch.int8
        and codes.dim() == 2
        and scales.is_floating_point()
        and scales.shape == codes.shape[:1]
    )


class Int8StateDictMixin:
    """A model that loads both kinds of state dict; comes before fairseq's model class."""

    def load_state_dict(
        self: Any, state_dict: Dict[str, Tensor], *args: Any, **options: Any
    ) -> Any:
        coded = [name for name in state_dict if name.endswith((CODES, SCALES))]
        if coded:
            state_dict = decoded_state(state_dict)
        found = super().load_state_dict(state_dict, *args, **options)  # type: ignore[misc]
        for part in ("encoder", "decoder"):
            stack = getattr(self, part, None)
            if stack is not None and any(name.startswith(f"{part}.") for name in state_dict):
                stack.int8 = any(name.startswith(f"{part}.") for name in coded)
        return found
