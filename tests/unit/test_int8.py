"""Protects weights of 8 bits: how they round, and which stacks take them."""

import pytest
import torch
from helpers.models import build, stir, stirred

from resdual_fairseq.checkpoints.int8 import QWEIGHT, decoded, encoded_state, quantize_rows
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.model.blocks import blocks_of
from resdual_fairseq.residual import Residual

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


def test_one_stack_alone() -> None:
    whole = stirred().float().state_dict()
    coded = encoded_state({name: value for name, value in whole.items() if "encoder." in name})
    model = build()
    model.load_state_dict(coded, strict=False)
    assert model.encoder.int8 and not model.decoder.int8


@pytest.mark.parametrize("kind", ["hyper", "mhc", "dlcl", "admin"])
def test_what_connections_learn_is_not_rounded(kind: str) -> None:
    model = stir(build(residual=kind)).float()
    state = encoded_state(model.state_dict())
    learned = {
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if isinstance(module, Residual)
        for parameter, _ in module.named_parameters()
    }
    assert len(learned) > 2 * len(blocks_of(model)) and learned <= set(state)
    assert f"{MATRIX}{QWEIGHT}" in state


def test_a_matrix_that_is_missing_is_named() -> None:
    state = encoded_state(stirred().float().state_dict())
    del state[f"{MATRIX}.codes"], state[f"{MATRIX}.scales"]
    with pytest.raises(ResDualError, match=rf"it lacks {MATRIX};") as caught:
        build().load_state_dict(state)
    assert "codes" not in str(caught.value)
