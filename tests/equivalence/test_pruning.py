"""Protects the `--*-layers-to-keep` options: a deep checkpoint loads into fewer layers."""

from argparse import Namespace
from typing import Any, Dict

import pytest
from helpers.equations import KINDS, PlainModel
from helpers.models import MODEL, assert_close, build, forward, sample, stirred

DEEP: Dict[str, Any] = {"encoder_layers": 4, "decoder_layers": 4}
KEEP: Dict[str, Any] = {"encoder_layers_to_keep": "0,2", "decoder_layers_to_keep": "1,3"}
KEPT = {"encoder": [0, 2], "decoder": [1, 3]}


def pruned(weights: Dict[str, Any], model: Any, arch: str) -> Any:
    """The model, loaded from deeper weights as fairseq's commands load them."""
    model.load_state_dict(weights, model_cfg=Namespace(arch=arch, **KEEP))
    return model.eval()


@pytest.mark.usefixtures("exact_softmax")
@pytest.mark.parametrize("kind", KINDS)
def test_the_layers_kept_are_joined_by_the_equations(kind: str) -> None:
    deep = stirred(residual=kind, **DEEP)
    plain = PlainModel(deep, KINDS[kind], DEEP, KEPT)
    model = pruned(deep.state_dict(), build(residual=kind, **DEEP, **KEEP), MODEL)
    batch = sample()
    net_input = batch["net_input"]
    expected = plain(net_input["src_tokens"], net_input["prev_output_tokens"])
    words = batch["target"].ne(model.decoder.padding_idx)
    assert_close(forward(model, batch)[words], expected[words])


def test_a_list_of_layers_counts_as_fairseqs_text_does() -> None:
    model = build(**DEEP, encoder_layers_to_keep=[0, 2], decoder_layers_to_keep=[3])
    assert len(model.encoder.layers) == 2
    assert len(model.decoder.layers) == 1
    assert model.args.encoder_layers_to_keep == "0,2"
