"""Protects what a diverged run says: fairseq's NaN detector works, and the block is named."""

import logging
from typing import Any, Dict, Iterator, List

import pytest
import torch
from fairseq.nan_detector import NanDetector
from helpers.models import KINDS, build, forward, sample, sentences, stir
from torch import nn

from resdual_fairseq.model.blocks import Block, blocks_of
from resdual_fairseq.training import divergence
from resdual_fairseq.training.divergence import DetectorLog, place_of

WORDS = {"self_attn": "self-attention", "cross_attn": "cross-attention", "ffn": "feed-forward"}
EVERYTHING: Dict[str, Any] = {
    "layernorm_embedding": True,
    "activation_dropout": 0.1,
    **dict.fromkeys(("scale_attn", "scale_heads", "scale_fc", "scale_resids"), True),
}


@pytest.fixture(autouse=True)
def detector_log() -> Iterator[DetectorLog]:
    """The package's own filter, forgetful of other tests."""
    log = divergence.detector_log
    log.sentence = None
    yield log
    log.model, log.sentence = (lambda: None), None


def detect(model: nn.Module, caplog: pytest.LogCaptureFixture) -> List[str]:
    """What fairseq's detector logs of a step that its trainer runs again."""
    caplog.clear()
    model.train()
    with caplog.at_level(logging.WARNING), NanDetector(model):
        forward(model, sample()).float().square().mean().backward()
    return [r.getMessage() for r in caplog.records if r.name == "fairseq.nan_detector"]


def name_of(block: Block, model: nn.Module) -> str:
    count = sum(other.stack == block.stack for other in blocks_of(model))
    return f"block {block.k} of {count} of the {block.stack} ({WORDS[block.part]})"


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_that_goes_wrong_is_named(
    kind: str, caplog: pytest.LogCaptureFixture, detector_log: DetectorLog
) -> None:
    model = stir(build(residual=kind))
    for block in blocks_of(model):
        name = "fc1.weight" if block.part == "ffn" else next(n for n in block.weights if "v_" in n)
        weight = block.weights[name]
        kept = weight.detach().clone()
        weight.data[0] = float("inf")
        detector_log.sentence = None
        messages = detect(model, caplog)
        weight.data.copy_(kept)
        assert f"[{name_of(block, model)}]" in messages[0]
        assert f"first appeared in {name_of(block, model)};" in str(detector_log.sentence)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["checkpoint_activations", "offload_activations"])
def test_with_activation_checkpointing(
    kind: str, how: str, caplog: pytest.LogCaptureFixture, detector_log: DetectorLog
) -> None:
    model = stir(build(residual=kind, **{how: True}))
    model.decoder.layers[1].fc1.weight.data[0, 0] = float("nan")
    detect(model, caplog)
    assert "NaN first appeared in block 6 of 9 of the decoder (feed-forward)" in str(
        detector_log.sentence
    )


def test_gradients_alone_that_go_wrong(
    caplog: pytest.LogCaptureFixture, detector_log: DetectorLog
) -> None:
    """The square root of 0 is sound, its gradient is not."""
    model = stir(build())
    layer = model.decoder.layers[1]
    layer.activation_fn = lambda x: (x * 0).sqrt() + torch.relu(x)
    messages = detect(model, caplog)
    assert "first appeared in the gradient at block 6 of 9 of the decoder (feed-" in str(
        detector_log.sentence
    )
    assert ", backward [block 6 of 9 of the decoder (feed-forward)]" in messages[0]


@torch.no_grad()
def test_a_dual_stream_that_overflows(
    caplog: pytest.LogCaptureFixture, detector_log: DetectorLog
) -> None:
    """Every block stays finite in float16; their sum at s = 1 does not."""
    model = build(residual_scale=1.0, encoder_layers=30).half().train()
    for layer in model.encoder.layers:
        layer.fc2.bias.fill_(3000)
    with NanDetector(model, backward=False):
        model.encoder(sentences([5], seed=1))
    first = next(r.getMessage() for r in caplog.records if "detected" in r.getMessage())
    assert "Inf detected in output of encoder.layers.21," in first
    assert "[blocks 43 to 44 of 60 of the encoder]" in first


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("encoder.layers.1.self_attn.k_proj", "block 3 of 4 of the encoder (self-attention)"),
        ("decoder.layers.2.encoder_attn", "block 8 of 9 of the decoder (cross-attention)"),
        ("decoder.layers.0.attn_ln", "block 1 of 9 of the decoder (self-attention)"),
        ("decoder.layers.0.ffn_layernorm", "block 3 of 9 of the decoder (feed-forward)"),
        (
            "decoder.layers.1.encoder_attn_layer_norm",
            "block 5 of 9 of the decoder (cross-attention)",
        ),
        ("encoder.layers.1._fsdp_wrapped_module.fc1", "block 4 of 4 of the encoder (feed-f"),
        ("decoder.layers.1", "blocks 4 to 6 of 9 of the decoder"),
        ("decoder.layers.1.dropout_module", "blocks 4 to 6 of 9 of the decoder"),
        ("encoder.layer_norm", None),
        ("encoder", None),
        ("", None),
        ("somewhere.else", None),
    ],
)
def test_places(module: str, place: Any) -> None:
    found = place_of(build(**EVERYTHING), module)
    assert found is None if place is None else str(found).startswith(place)


def test_every_module_inside_a_layer_has_a_place() -> None:
    model = build(**EVERYTHING)
    for name, _ in model.named_modules():
        if ".layers." in name:
            assert place_of(model, name), name
