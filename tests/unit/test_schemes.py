"""Protects the rivals: initial weights, and all that the paper's model has beyond its equations."""

import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from helpers.language_models import build_lm
from helpers.models import (
    PAD,
    assert_close,
    assert_same_gradients,
    build,
    forward,
    let_sentences_end,
    output_and_gradients,
    sample,
    step_by_step,
    stir,
    task,
)
from helpers.scheme_equations import CASES, options_of
from helpers.searches import assert_same_hypotheses, by_layers, prepared, search
from torch import Tensor, nn

from resdual_fairseq.diagnostics.measure import Label, measure
from resdual_fairseq.diagnostics.table import LEARNED, Row
from resdual_fairseq.diagnostics.verdicts import learned_numbers
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.model.blocks import blocks_of
from resdual_fairseq.residual import Place, ResidualOptions
from resdual_fairseq.schemes import RESIDUALS, build_residual

IN_TORCH = ("hyper", "mhc", "dlcl")
"""Schemes of which the compiled library has no form."""
WITH_SUM = [case for case in CASES if RESIDUALS[CASES[case][0]].has_sum]
ALIKE = {
    *("mix half", "admin flat", "admin flat-fixed", "admin linear", "dsinit paper", "mhc of two"),
    *("siamese paper-scale", "hyper of two", "learned scalar"),
}
"""Cases that have the code of another one, with other numbers."""
WITH_LAYERDROP = [case for case in CASES if RESIDUALS[CASES[case][0]].can_drop_layers]


def moved(case: str, **options: Any) -> nn.Module:
    return stir(build(**{**options_of(case), **options}), size=0.1)


def projections(model: nn.Module) -> Iterator[Tuple[Any, str, nn.Linear]]:
    """Of every block, each projection with its name in the layer."""
    for block in blocks_of(model):
        layer = getattr(model, block.stack).layers[block.layer]
        attention = {"self_attn": "self_attn", "cross_attn": "encoder_attn"}.get(block.part)
        names = ["q_proj", "k_proj", "v_proj", "out_proj"] if attention else ["fc1", "fc2"]
        for name in names:
            yield block, name, getattr(getattr(layer, attention) if attention else layer, name)


def expected_std(kind: str, variant: Any, block: Any, name: str, weight: Tensor) -> float:
    """What the papers say of initial weights, 4 + 2 layers."""
    layers, others = (4, 2) if block.stack == "encoder" else (2, 4)
    on_path = name not in ("q_proj", "k_proj")
    xavier = math.sqrt(2 / sum(weight.shape))
    if kind == "deepnorm":
        beta = (12 * layers) ** -0.25
        if block.stack == "encoder":
            beta = 0.87 * (layers**4 * others) ** (-1 / 16)
        return xavier * (beta if on_path else 1)
    if kind == "tfixup":
        gain = 0.67 * layers**-0.25 if block.stack == "encoder" else (9 * layers) ** -0.25
        return xavier * (gain if on_path else 1)
    if variant == "paper":
        return xavier * (block.layer + 1) ** -0.5
    if kind == "dsinit":
        one_matrix = block.part == "self_attn" and name in ("q_proj", "k_proj", "v_proj")
        return xavier * (block.layer + 1) ** -0.25 / math.sqrt(2 if one_matrix else 1)
    assert kind == "admin"
    return xavier / math.sqrt(2 if name in ("q_proj", "k_proj", "v_proj") else 1)


@pytest.mark.parametrize(
    ("kind", "variant"),
    [("deepnorm", None), ("tfixup", None), ("dsinit", None), ("dsinit", "paper"), ("admin", None)],
)
def test_initial_weights_are_absolute(kind: str, variant: Any) -> None:
    sizes = {"encoder_embed_dim": 128, "encoder_ffn_embed_dim": 256}
    sizes.update(encoder_layers=4, decoder_layers=2)
    model = build(residual=kind, residual_variant=variant, **sizes)
    for block, name, projection in projections(model):
        expected = expected_std(kind, variant, block, name, projection.weight)
        assert projection.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert abs(projection.weight.mean().item()) < 0.05 * expected
        assert not projection.bias.any()


@pytest.mark.parametrize(
    ("kind", "gain"), [("deepnorm", (8 * 3) ** -0.25), ("tfixup", (6 * 3) ** -0.25)]
)
def test_initial_weights_of_a_stack_alone(kind: str, gain: float) -> None:
    sizes = {f"decoder_{name}_dim": 128 for name in ("embed", "input", "output")}
    model = build_lm(residual=kind, decoder_layers=3, decoder_ffn_embed_dim=256, **sizes)
    for _, name, projection in projections(model):
        expected = math.sqrt(2 / sum(projection.weight.shape))
        expected *= 1 if name in ("q_proj", "k_proj") else gain
        assert projection.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert not projection.bias.any()


@pytest.mark.parametrize(
    ("variant", "omega"),
    [("log", lambda n: (n + 1) / math.log(n + 1) - 1), ("flat", float), ("linear", lambda n: 1.0)],
)
def test_omega_of_admin_starts_from_the_closed_form(variant: str, omega: Any) -> None:
    model = build(residual="admin", residual_variant=variant, encoder_layers=4, decoder_layers=2)
    for block in blocks_of(model):
        blocks = 8 if block.stack == "encoder" else 6
        start = block.connection.omega
        torch.testing.assert_close(start, torch.full_like(start, omega(blocks) ** 0.5))


def test_mhc_starts_with_xavier_weights_and_streams_mixed_alike() -> None:
    model = build(residual="mhc", encoder_embed_dim=128)
    for block in blocks_of(model):
        phi = block.connection.phi
        assert phi.shape == (24, 4 * 128)
        assert phi.std().item() == pytest.approx(math.sqrt(2 / sum(phi.shape)), rel=0.03)
        assert not block.connection.b.any()


@pytest.mark.parametrize("variant", ["scaled", "unscaled"])
def test_b2t_multiplies_what_is_there(variant: str) -> None:
    post, model = build(residual="post"), build(residual="b2t", residual_variant=variant)
    for (block, _, host), (_, _, ours) in zip(projections(post), projections(model)):
        layers = 2 if block.stack == "encoder" else 3
        factor = layers**-0.5 if variant == "scaled" else 1.0
        torch.testing.assert_close(ours.weight, host.weight * factor, rtol=1e-6, atol=0)
        assert torch.equal(ours.bias, host.bias)


def test_a_gain_of_hyper_connections_multiplies_output_weights_alone() -> None:
    plain, model = build(residual="hyper"), build(residual="hyper", residual_gain=0.5)
    for (_, name, host), (_, _, ours) in zip(projections(plain), projections(model)):
        factor = 0.5 if name in ("out_proj", "fc2") else 1.0
        torch.testing.assert_close(ours.weight, host.weight * factor, rtol=1e-6, atol=0)


def test_a_gain_of_mhc_is_where_a_starts() -> None:
    for gain, start in ((None, 0.01), (0.2, 0.2)):
        model = build(residual="mhc", residual_gain=gain)
        scales = [w for name, w in model.named_parameters() if name.endswith(".a")]
        assert scales and all(one.tolist() == pytest.approx([start] * 3) for one in scales)


def test_numbers_of_a_config_may_be_text() -> None:
    """As hydra takes quoted ones."""
    assert build(residual="rezero", residual_gain="0.5").decoder.layers[0].final_layer_norm.a == 0.5
    layers = build(residual="mix", residual_post_fraction="0.5").encoder.layers
    assert [layer.final_layer_norm.is_pre for layer in layers] == [False, True]


@pytest.mark.parametrize("shared", [True, False])
def test_embeddings_of_tfixup(shared: bool) -> None:
    sizes = {"encoder_embed_dim": 128, "encoder_layers": 4, "decoder_layers": 2}
    model = build(residual="tfixup", share_all_embeddings=shared, **sizes)
    for stack, layers in (("encoder", 4), ("decoder", 4 if shared else 2)):
        table = getattr(model, stack).embed_tokens.weight
        words = torch.cat((table[:PAD], table[PAD + 1 :]))
        assert words.std().item() == pytest.approx(128**-0.5 * (9 * layers) ** -0.25, rel=0.05)
        assert not table[PAD].any()
    table = build_lm(residual="tfixup", decoder_layers=3).decoder.embed_tokens.weight
    assert table.std().item() == pytest.approx(8**-0.5 * 27**-0.25, rel=0.2)


def test_embeddings_from_a_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.txt"
    words = [symbol for symbol in task().source_dictionary.symbols if not symbol.startswith("<")]
    lines = "".join(f"{word} {' '.join(['7.5'] * 8)}\n" for word in words)
    path.write_text(f"{len(words)} 8\n{lines}")
    model = build(residual="tfixup", encoder_embed_path=str(path))
    index = task().source_dictionary.index(words[0])
    assert (model.encoder.embed_tokens.weight[index] == 7.5).all()
    assert not (model.decoder.embed_tokens.weight == 7.5).any()
    shared = build(
        residual="tfixup", encoder_embed_path=str(path), share_all_embeddings=True,
        share_decoder_input_output_embed=True,
    )  # fmt: skip
    assert (shared.decoder.embed_tokens.weight[index] == 7.5).all()


def test_queries_keys_and_values_of_unlike_widths_are_drawn_each_for_itself() -> None:
    """As fairseq, today's and the older: the factor 1 / sqrt(2) is that of one matrix of three."""
    sizes = {"encoder_embed_dim": 128, "decoder_embed_dim": 64, "decoder_output_dim": 64}
    attention = build(residual="admin", **sizes).decoder.layers[0].encoder_attn
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        weight = getattr(attention, name).weight
        assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)


def test_mhc_weighs_large_streams_in_float16() -> None:
    connection = next(
        one for one in build(residual="mhc").modules() if getattr(one, "phi", None) is not None
    )
    connection.a.data.fill_(1)
    h = 1000 * torch.randn(3, 4, 8)
    expected = connection.logits(h, 0, 0, 4)
    actual = connection.half().logits(h.half(), 0, 0, 4)
    assert expected.abs().max() > 0.3
    assert_close(actual.float(), expected, tolerance=1e-2)


@pytest.mark.parametrize("kind", ["hyper", "mhc"])
def test_streams_that_have_weights_of_their_own_take_no_other(kind: str) -> None:
    with pytest.raises(ResDualError, match=f"--scale-resids weights .* --residual {kind} has"):
        build(residual=kind, scale_resids=True)


@pytest.mark.parametrize("case", ["hyper", "hyper static", "hyper of two"])
def test_hyper_connections_start_as_pre_ln(case: str) -> None:
    """A stack's output is LN_out of n times the stream, whose eps counts n^2 times less."""
    model, pre = build(**options_of(case)).eval(), build(residual="pre").eval()
    for stack in (pre.encoder, pre.decoder):
        stack.layer_norm.eps /= CASES[case][1].get("residual_streams", 4) ** 2
    model.load_state_dict(pre.state_dict(), strict=False)
    assert_close(forward(model, sample()), forward(pre, sample()), tolerance=1e-6)


@pytest.mark.parametrize(("fraction", "layers", "post"), [(0.25, 3, 0), (0.25, 7, 1), (0.7, 10, 7)])
def test_the_first_layers_of_mix_ln_are_post_ln(fraction: float, layers: int, post: int) -> None:
    model = build(residual="mix", residual_post_fraction=fraction, decoder_layers=layers)
    is_pre = [layer.final_layer_norm.is_pre for layer in model.decoder.layers]
    assert is_pre == [False] * post + [True] * (layers - post)
    place = Place(1, 100, 29, 50, "ffn")
    options = ResidualOptions(kind="mix", post_fraction=0.58)
    assert not build_residual(options, 8, place).is_pre  # 0.58 * 50 is 28.999... in floats


def test_rezero_starts_as_the_embeddings() -> None:
    model = build(residual="rezero").eval()
    source = sample()["net_input"]["src_tokens"]
    states = model.encoder(source, return_all_hiddens=True)
    assert torch.equal(states["encoder_out"][0], states["encoder_states"][0])


@pytest.mark.parametrize(("layers", "start"), [(18, 0.1), (24, 1e-5), (25, 1e-6)])
def test_layerscale_starts_as_published(layers: int, start: float) -> None:
    model = build(residual="layerscale", decoder_layers=layers)
    assert model.decoder.layers[0].final_layer_norm.gamma[0].item() == pytest.approx(start)
    model = build(residual="layerscale", decoder_layers=layers, residual_gain=0.5)
    assert model.decoder.layers[0].final_layer_norm.gamma[0].item() == 0.5


def test_a_learned_alpha_starts_as_0_and_is_learned() -> None:
    fixed = build(residual_alpha=0.0)
    for option, size in (("learned", 8), ("learned-scalar", 1)):
        model = build(residual_alpha=option)
        model.load_state_dict(fixed.state_dict(), strict=False)
        assert model.decoder.layer_norm.learned_alpha.shape == (size,)
        expected, _ = output_and_gradients(fixed)
        actual, gradients = output_and_gradients(model)
        assert_close(actual, expected)
        for stack in ("encoder", "decoder"):
            gradient = gradients[f"{stack}.layer_norm.learned_alpha"]
            assert gradient is not None and bool(gradient.ne(0).all())


@pytest.mark.parametrize("case", CASES)
def test_activation_checkpointing(case: str) -> None:
    found = []
    for options in ({}, {"checkpoint_activations": True}):
        model = moved(case, dropout=0.2, **options).train()
        found.append(output_and_gradients(model, seed=2))
    assert_close(found[1][0], found[0][0])
    assert_same_gradients(found[1][1], found[0][1])


@pytest.mark.parametrize("case", WITH_LAYERDROP)
def test_layerdrop(case: str) -> None:
    """A dropped layer leaves what the streams hold; one that stays computes."""
    model = moved(case, encoder_layerdrop=0.5, decoder_layerdrop=0.5).train()
    outputs = {
        round(output_and_gradients(model, seed=seed)[0].sum().item(), 9) for seed in range(6)
    }
    assert len(outputs) > 1


@torch.no_grad()
@pytest.mark.parametrize(
    "case", [case for case in CASES if RESIDUALS[CASES[case][0]].can_be_pruned]
)
def test_a_pruned_model_leaves_layers_out(case: str) -> None:
    whole = moved(case, encoder_layers=3).eval()
    state = whole.state_dict()
    pruned = build(**options_of(case), encoder_layers=2, decoder_layers=3).eval()
    kept = {
        name.replace("encoder.layers.2.", "encoder.layers.1."): weight
        for name, weight in state.items()
        if not name.startswith("encoder.layers.1.")
    }
    pruned.load_state_dict(kept)
    del whole.encoder.layers[1]
    source = sample()["net_input"]["src_tokens"]
    expected, actual = (model.encoder(source)["encoder_out"][0] for model in (whole, pruned))
    assert_close(actual, expected, tolerance=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_decoding_step_by_step(case: str) -> None:
    """In the compiled library where it has the form, by torch's steps, and by the layers."""
    model = let_sentences_end(moved(case)).float()
    ready = prepared(model.eval())
    assert (ready.decoder.packed is None) == (CASES[case][0] in IN_TORCH)
    layers = by_layers(ready)
    words = sample()["net_input"]["prev_output_tokens"].masked_fill(
        sample()["net_input"]["prev_output_tokens"].eq(PAD), 9
    )
    memory = ready.encoder(sample()["net_input"]["src_tokens"])
    expected = layers.decoder(words, layers.encoder(sample()["net_input"]["src_tokens"]))[0]
    for one in (ready, layers):
        assert_close(torch.cat(step_by_step(one, words, memory), dim=1), expected, 1e-4)
    assert_same_hypotheses(search([ready], beam_size=2), search([layers], beam_size=2), 1e-4)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in ALIKE])
def test_torchscript(case: str) -> None:
    model = moved(case, export=True, encoder_layers=1, decoder_layers=1).float().eval()
    expected = forward(model, sample())
    assert_close(torch.jit.script(model)(**sample()["net_input"])[0], expected, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_in_16_bits(case: str, dtype: torch.dtype) -> None:
    """Forward and backward in the dtype of the weights, near to what wide numbers give."""
    model = moved(case)
    expected, _ = output_and_gradients(model)
    actual, gradients = output_and_gradients(model.to(dtype))
    assert actual.dtype == dtype
    assert all(g is not None and g.dtype == dtype for g in gradients.values())
    assert (actual.double() - expected).norm() / expected.norm() < 0.1


@pytest.mark.parametrize("case", WITH_SUM)
def test_a_sum_in_float32(case: str) -> None:
    """The stream that is a sum is wide in bf16, nothing changes in float64, and layers decode."""
    narrow, wide = moved(case), moved(case, residual_fp32=True)
    assert torch.equal(output_and_gradients(narrow)[0], output_and_gradients(wide)[0])
    wide.bfloat16()
    x, d = wide.decoder.layer_norm.init_streams(torch.randn(5, 3, 8, dtype=torch.bfloat16))
    for layer in wide.decoder.layers:
        x, d, _ = layer(x, d, torch.randn(4, 3, 8, dtype=torch.bfloat16))
        assert (x if d is None else d).dtype == torch.float32
    output, gradients = output_and_gradients(wide)
    assert output.dtype == torch.bfloat16
    assert all(g is not None and g.dtype == torch.bfloat16 for g in gradients.values())
    expected = forward(narrow.eval(), sample())
    assert (output.double() - expected).norm() / expected.norm() < 0.1


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_under_autocast(case: str) -> None:
    model = moved(case).float().eval()
    expected = forward(model, sample())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = forward(model, sample())
    assert (actual.float() - expected).norm() / expected.norm() < 0.1


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_language_models_decode_step_by_step(case: str) -> None:
    model = prepared(stir(build_lm(**options_of(case)), size=0.1).float().eval())
    tokens = sample()["net_input"]["prev_output_tokens"]
    tokens = tokens.masked_fill(tokens.eq(PAD), 9)
    expected = by_layers(model)(tokens)[0]
    assert_close(torch.cat(step_by_step(model, tokens), dim=1), expected, 1e-4)
    assert (model.decoder.packed is None) == (CASES[case][0] in IN_TORCH)


def test_parameters_have_names_of_their_own() -> None:
    """What each kind adds to Post-LN's state dict is part of the format of checkpoints."""
    plain = set(build(residual="post").state_dict())
    added: Dict[str, set] = {}
    for case in CASES:
        names = set(build(**options_of(case)).state_dict()) - plain
        layer = {n.split("final_layer_norm.")[1] for n in names if "0.final_layer_norm." in n}
        added[case] = layer | {n for n in names if n.startswith("encoder.layer_norm.")}
    closing = {"encoder.layer_norm.weight", "encoder.layer_norm.bias"}
    assert added["siamese bare"] == {
        *("dual_norm.weight", "dual_norm.bias"),
        *("encoder.layer_norm.dual_norm.weight", "encoder.layer_norm.dual_norm.bias"),
    }
    assert added["admin"] == {"omega"}
    assert added["layerscale"] == {"gamma", *closing}
    assert added["learned alpha"] == {"encoder.layer_norm.learned_alpha", *closing}
    assert added["b2t"] == added["deepnorm"] == added["admin flat-fixed"] == set()


@pytest.mark.parametrize("case", CASES)
def test_diagnostics_of_a_checkpoint(case: str) -> None:
    """Every block is measured; bounds, where a scheme has them, hold."""
    model = moved(case)
    criterion = LabelSmoothedCrossEntropyCriterion(task(), False, 0.1)
    rows = measure(model, criterion, [sample()], Label("own", case, 0), trained=True)
    blocks = len(blocks_of(model))
    counted = {name: sum(r.quantity == name and not r.matrix for r in rows) for name in (
        "gradient", "input_change", "effective_rank", "output_bound")}  # fmt: skip
    has_bounds = CASES[case][0] in ("deepnorm", "dsinit")
    bounded = blocks if has_bounds else 0
    assert counted == {
        "gradient": blocks, "input_change": blocks, "effective_rank": blocks + 2,
        "output_bound": bounded,
    }  # fmt: skip
    found = {(r.stack, r.block, r.quantity): r.value for r in rows if not r.matrix}
    for (stack, block, quantity), value in found.items():
        assert math.isfinite(value)
        if quantity == "output_bound":
            assert found[stack, block, "output_size"] <= value


@torch.no_grad()
@pytest.mark.parametrize("case", ["lnscale", "siamese", "siamese bare", "siamese paper-scale"])
def test_the_end_of_a_stack_is_read_as_its_blocks_read(case: str) -> None:
    """The probe compares the two, so the change of the last block is not one of the reading."""
    around_stack = build(**options_of(case)).eval().encoder.layer_norm
    options = ResidualOptions(kind=CASES[case][0], variant=around_stack.variant or None)
    next_block = build_residual(options, 8, Place(5, 8, 3, 4, "ffn")).double()
    x, d = torch.randn(5, 3, 8).double(), torch.randn(5, 3, 8).double()
    assert_close(around_stack.block_input(x, d), next_block.block_input(x, d))


def test_diagnostics_tell_what_a_checkpoints_connections_learned() -> None:
    def learned(case: str) -> List[Row]:
        criterion = LabelSmoothedCrossEntropyCriterion(task(), False, 0.1)
        rows = measure(moved(case), criterion, [sample()], Label("own", case, 0), trained=True)
        return [row for row in rows if row.quantity in LEARNED]

    alpha = moved("learned alpha").encoder.layer_norm.learned_alpha
    found = {row.quantity: row.value for row in learned("learned alpha") if row.stack == "encoder"}
    expected = [alpha.mean(), alpha.min(), alpha.max()]
    assert [found[quantity] for quantity in LEARNED] == [value.item() for value in expected]
    gains = learned("rezero")
    lines = learned_numbers(gains, 3)
    assert {row.matrix for row in gains} == {"a"} and len(lines) == 2
    values = [row.value for row in gains if row.stack == "decoder"]
    assert f"from {min(values):.3g} to {max(values):.3g}, at {len(values) // 3} con" in lines[1]
    assert learned("siamese") == []
