"""Protects weights of 8 bits: how they round, and that damaged ones are refused in a sentence."""

from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from helpers.models import build, stirred
from torch import Tensor

from resdual_fairseq.checkpoints.int8 import decoded, encoded_state, quantize_rows
from resdual_fairseq.errors import ResDualError

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


DAMAGES: List[Tuple[str, Callable[[Tensor], Any]]] = [
    ("scales", lambda scales: scales[:3]),
    ("scales", lambda _: 1.0),
    ("codes", lambda codes: codes.float()),
    ("codes", lambda codes: codes[:, :, None]),
]


@pytest.mark.parametrize(("part", "damage"), [*DAMAGES, ("scales", None), ("codes", None)])
def test_damaged_weights(part: str, damage: Any) -> None:
    state: Dict[str, Any] = encoded_state(stirred().float().state_dict())
    value = state.pop(f"{MATRIX}.{part}")
    if damage is not None:
        state[f"{MATRIX}.{part}"] = damage(value)
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
