"""Protects checkpoints of other models: fairseq's, the published code's and old ones load."""

import logging
from typing import Any, Dict, List, Tuple

import pytest
import torch
from helpers.host import build_host
from helpers.models import assert_close, build, forward, sample, stir, stirred
from torch import Tensor, nn

CLOSING = [
    "encoder.layer_norm.weight",
    "encoder.layer_norm.bias",
    "decoder.layer_norm.weight",
    "decoder.layer_norm.bias",
]
OPTIONS: List[Dict[str, Any]] = [
    {},
    {"share_all_embeddings": True},
    {"no_cross_attention": True, "cross_self_attention": True},
    {"encoder_learned_pos": True, "layernorm_embedding": True, "scale_attn": True},
]


def weights_of_host(kind: str, **options: Any) -> Dict[str, Tensor]:
    return dict(stir(build_host(kind, **options)).state_dict())


def without_versions(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """As checkpoints were before fairseq gave stacks a format version."""
    return {name: value for name, value in weights.items() if not name.endswith(".version")}


def assert_holds(model: nn.Module, weights: Dict[str, Tensor]) -> None:
    loaded = model.state_dict()
    for name, value in weights.items():
        assert torch.equal(loaded[name], value), name


@pytest.mark.parametrize("options", OPTIONS)
def test_pre_ln_weights_load_into_resdual(options: Dict[str, Any]) -> None:
    weights = weights_of_host("pre", **options)
    model = build(**options)
    model.load_state_dict(dict(weights), strict=True)
    assert_holds(model, weights)


@pytest.mark.parametrize("options", OPTIONS)
def test_post_ln_weights_load_with_closing_norms_at_identity(
    options: Dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    weights = weights_of_host("post", **options)
    model = stir(build(**options))
    with caplog.at_level(logging.INFO, logger="resdual_fairseq"):
        model.load_state_dict(dict(weights), strict=True)
    assert_holds(model, weights)
    for side in ("encoder", "decoder"):
        norm = getattr(model, side).layer_norm
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert torch.equal(norm.bias, torch.zeros_like(norm.bias))
        lines = [line for line in caplog.messages if f"{side}.layer_norm" in line]
        assert len(lines) == 1
        assert "identity" in lines[0]


def test_weights_that_have_closing_norms_load_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="resdual_fairseq"):
        build().load_state_dict(weights_of_host("pre"), strict=True)
    assert caplog.messages == []


def published_weights(version: int = 3) -> Dict[str, Tensor]:
    """Names and versions as the published ResiDual code saves them: those of Pre-LN."""
    weights = {name: torch.randn(value.shape) for name, value in weights_of_host("pre").items()}
    for side in ("encoder", "decoder"):
        weights[f"{side}.version"] = torch.Tensor([version])
    return weights


@pytest.mark.parametrize("version", [1, 2, 3])
def test_published_weights_load_and_keep_their_closing_norms(version: int) -> None:
    weights = published_weights(version)
    model = build().float()
    model.load_state_dict(dict(weights), strict=True)
    assert_holds(model, {name: weights[name] for name in CLOSING})
    assert torch.isfinite(forward(model.eval(), sample())).all()


def test_old_weights_without_versions_keep_their_closing_norms() -> None:
    original = stirred()
    model = build().eval()
    model.load_state_dict(without_versions(original.state_dict()), strict=True)
    assert_close(forward(model, sample()), forward(original, sample()))


def test_old_post_ln_weights_without_versions_load_into_resdual() -> None:
    model = build().eval()
    model.load_state_dict(without_versions(weights_of_host("post")), strict=True)
    assert model.encoder.layer_norm.weight.eq(1).all()
    assert torch.isfinite(forward(model, sample())).all()


@pytest.mark.parametrize("kind", ["sandwich", "layerscale", "lnscale", "hyper", "mhc"])
def test_relatives_of_pre_ln_keep_their_closing_norm(kind: str) -> None:
    """fairseq drops it of a stack of blocks with norms before them, where a file has no version."""
    old = {name: w for name, w in weights_of_host("pre").items() if name not in CLOSING}
    model = build(residual=kind).eval()
    model.load_state_dict(without_versions(old), strict=False)
    assert model.encoder.layer_norm.weight.eq(1).all()
    assert torch.isfinite(forward(model, sample())).all()


def old_weights_in_both(kind: str, **options: Any) -> Tuple[nn.Module, nn.Module]:
    """This model and fairseq's after loading what was saved before closing norms existed."""
    old = without_versions(weights_of_host(kind, **options))
    old = {name: value for name, value in old.items() if name not in CLOSING}
    model, host = build(residual=kind, **options), build_host(kind, **options)
    for loading in (model, host):
        loading.load_state_dict(dict(old), strict=True)
        loading.eval()
    return model, host


@pytest.mark.parametrize(
    ("kind", "options"), [("post", {}), ("pre", {}), ("pre", {"no_decoder_final_norm": True})]
)
def test_baselines_take_old_weights_as_the_host_does(kind: str, options: Dict[str, Any]) -> None:
    model, host = old_weights_in_both(kind, **options)
    assert_close(forward(model, sample()), forward(host, sample()))


@pytest.mark.parametrize("options", [{"share_all_embeddings": True}, {}])
def test_adaptive_softmax_comes_back(options: Dict[str, Any]) -> None:
    """With shared embeddings fairseq adds a projection, which such a model does not have."""
    original = stirred(adaptive_softmax_cutoff="8,16", **options)
    model = build(adaptive_softmax_cutoff="8,16", seed=9, **options).eval()
    model.load_state_dict(original.state_dict(), strict=True)
    assert_holds(model, dict(original.state_dict()))


def test_names_of_the_earliest_layer_norms_are_read() -> None:
    """fairseq once numbered the norms of a layer."""
    weights = dict(stirred().state_dict())
    expected = dict(weights)
    for side, norms in (
        ("encoder", ["self_attn", "final"]),
        ("decoder", ["self_attn", "encoder_attn", "final"]),
    ):
        for number, norm in enumerate(norms):
            for part in ("weight", "bias"):
                value = weights.pop(f"{side}.layers.0.{norm}_layer_norm.{part}")
                weights[f"{side}.layers.0.layer_norms.{number}.{part}"] = value
    model = build()
    model.load_state_dict(weights, strict=True)
    assert_holds(model, expected)
