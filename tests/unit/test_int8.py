"""Protects weights of 8 bits: how they round, and that damaged ones are refused in a sentence."""

from typing import Callable, Dict

import pytest
import torch
from helpers.models import build, stirred
from torch import Tensor

from resdual_fairseq.checkpoints.int8 import decoded, encoded_state, quantize_rows
from resdual_fairseq.errors import ResDualError

State = Dict[str, Tensor]
MATRIX = "decoder.layers.0.fc1.weight"


def test_weights_round_to_the_nearest() -> None:
    weight = torch.randn(9, 31)
    weight[4] = 0
    qweight, scales = quantize_rows(weight)
    assert qweight.dtype == torch.int8
    assert qweight.abs().amax(dim=1).tolist() == [127] * 4 + [0] + [127] * 4
    assert ((decoded(qweight, scales) - weight).abs() <= scales[:, None] / 2 + 1e-7).all()
    again = quantize_rows(decoded(qweight, scales))
    assert torch.equal(again[0], qweight)


def without_scales(state: State) -> None:
    del state[f"{MATRIX}.scales"]


def with_too_few_scales(state: State) -> None:
    state[f"{MATRIX}.scales"] = state[f"{MATRIX}.scales"][:3]


def with_qweight_of_floats(state: State) -> None:
    state[f"{MATRIX}.codes"] = state[f"{MATRIX}.codes"].float()


def without_qweight(state: State) -> None:
    del state[f"{MATRIX}.codes"]


def with_qweight_of_three_axes(state: State) -> None:
    state[f"{MATRIX}.codes"] = state[f"{MATRIX}.codes"][:, :, None]


def with_no_tensor(state: State) -> None:
    state[f"{MATRIX}.scales"] = 1.0  # type: ignore[assignment]


DAMAGES = [
    *(without_scales, with_too_few_scales, with_qweight_of_floats),
    *(without_qweight, with_qweight_of_three_axes, with_no_tensor),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights(damage: Callable[[State], None]) -> None:
    state = encoded_state(stirred().float().state_dict())
    damage(state)
    model = build()
    with pytest.raises(
        ResDualError, match=rf"{MATRIX} has no weights of 8 bits .* with resdual-quantize"
    ):
        model.load_state_dict(state)
    assert not model.encoder.int8 and not model.decoder.int8


def test_one_stack_alone() -> None:
    whole = stirred().float().state_dict()
    coded = encoded_state({name: value for name, value in whole.items() if "encoder." in name})
    model = build()
    model.load_state_dict(coded, strict=False)
    assert model.encoder.int8 and not model.decoder.int8


def test_a_matrix_that_is_missing_is_named() -> None:
    state = encoded_state(stirred().float().state_dict())
    del state[f"{MATRIX}.codes"], state[f"{MATRIX}.scales"]
    with pytest.raises(ResDualError, match=rf"it lacks {MATRIX};") as caught:
        build().load_state_dict(state)
    assert "codes" not in str(caught.value)
